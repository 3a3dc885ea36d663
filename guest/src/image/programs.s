# The programs that processes run (system/program.rs), in ring 3. They run at another address than
# the one for which they are linked, so the code is position-independent. Arguments are in edi, ecx
# and edx. A call of the kernel is a `hlt` with its number in eax.
#
# One source is assembled as 64-bit code and as 32-bit code, since addresses are below 4 GiB. Only
# the player is written twice.

.macro call_kernel number
    mov eax, \number
    hlt
.endm

# Compares the 8 bytes at [edi] with the low half in esi and the high half in edx.
.macro compare
    cmp dword ptr [edi], esi
    jne 5f
    cmp dword ptr [edi + 4], edx
    je 6f
5:
    mov ebx, [edi]
    mov ebp, ecx
    mov ecx, [edi + 4]
    call_kernel {CALL_MISMATCH}
    mov ecx, ebp
6:
.endm

.macro programs
# Stores 8 bytes at both ends of each page: the address, with the number of the writer in the upper
# 16 bits.
52: # fill
    shl edx, 16
2:
    mov [edi], edi
    mov [edi + 4], edx
    lea esi, [edi + 0xff8]
    mov [esi], esi
    mov [esi + 4], edx
    add edi, 0x1000
    dec ecx
    jnz 2b
    call_kernel {CALL_EXIT}

53: # check
    shl edx, 16
2:
    mov esi, edi
    compare
    add edi, 0xff8
    mov esi, edi
    compare
    add edi, 8
    dec ecx
    jnz 2b
    call_kernel {CALL_EXIT}

# The node of page p links to that of page (p + edx) mod ecx. Then it follows the links that it
# loads. After as many links as there are pages it must be back at the first node.
54: # list
    shl ecx, 12
    shl edx, 12
    mov ebx, edi                        # the first node
    xor esi, esi                        # the offset of a node
2:
    add esi, edx
    cmp esi, ecx
    jb 3f
    sub esi, ecx
3:
    lea eax, [ebx + esi]
    mov [edi], eax
    mov dword ptr [edi + 4], 0
    mov edi, eax
    test esi, esi
    jnz 2b
4:
    mov eax, [edi]
    mov edi, [edi + 4]                  # loaded like the rest, and 0
    add edi, eax
    sub ecx, 0x1000
    jnz 4b
    cmp edi, ebx
    je 4f
    xchg ebx, edi                       # the address found, and the one expected
    call_kernel {CALL_MISMATCH}
4:
    call_kernel {CALL_EXIT}

# Writes one word per page, downwards from edi, and compares them on the way up.
55: # calls
    mov esp, edi
    mov ebx, ecx
2:
    lea eax, [esp - 8]
    mov [esp - 8], eax
    mov dword ptr [esp - 4], 0
    sub esp, 0x1000
    dec ebx
    jnz 2b
    xor edx, edx
2:
    add esp, 0x1000
    lea edi, [esp - 8]
    mov esi, edi
    compare
    dec ecx
    jnz 2b
    call_kernel {CALL_EXIT}
.endm

# The offset of each program, in the order of GuestProgram::ALL.
.macro program_table name
    .pushsection .rodata
    .global \name
    \name:
    .quad 56b - programs_start, 52b - programs_start, 53b - programs_start
    .quad 54b - programs_start, 55b - programs_start
    .popsection
.endm

# In a player: jumps to the code for the kind of step in eax.
.macro go_to_step
    cmp eax, {STEP_READ}
    je 3f
    cmp eax, {STEP_WRITE}
    je 4f
    cmp eax, {STEP_FETCH}
    je 7f
    cmp eax, {STEP_YIELD}
    je 8f
    call_kernel {CALL_EXIT}
.endm

.section .programs, "ax"
programs_start:
.code64
56: # play: rdi is the script
    mov rsi, rdi
    lea r13, [rip + 27f]
2:
    mov eax, [rsi]
    mov rdi, [rsi + 8]
    mov rdx, [rsi + 16]
    add rsi, 24
    go_to_step
3:
    mov rbx, [rdi]
22:
    cmp rbx, rdx
    je 2b
    mov rcx, rbx
    shr rcx, 32
    call_kernel {CALL_MISMATCH}
    jmp 2b
4:
    mov [rdi], rdx
    jmp 2b
7:
    jmp rdi
27: # fetched code returns here
    mov ebx, ecx
    jmp 22b
8:
    call_kernel {CALL_YIELD}
    jmp 2b
    programs
    program_table PROGRAMS_64

.code32
57: # fetched code returns here, with ecx incremented
    dec ecx
    cmp ecx, ebx
    je 2f
    mov ebx, ecx
    xor ecx, ecx
    jmp 23f
.set fetched_in_process, 57b - programs_start + {PROGRAMS}

56: # play: edi is the script
    mov esi, edi
    mov ebp, offset fetched_in_process
2:
    mov eax, [esi]
    mov edi, [esi + 8]
    mov ebx, [esi + 16]
    mov edx, [esi + 20]
    add esi, 24
    go_to_step
3:
    cmp [edi], ebx
    jne 22f
    cmp [edi + 4], edx
    je 2b
22:
    mov ebx, [edi]
    mov ecx, [edi + 4]
23:
    call_kernel {CALL_MISMATCH}
    jmp 2b
4:
    mov [edi], ebx
    mov [edi + 4], edx
    jmp 2b
7:
    jmp edi
8:
    call_kernel {CALL_YIELD}
    jmp 2b
    programs
    program_table PROGRAMS_32
.code64
.text
