# The stubs as 32-bit code, in the order of Stub::index (stub.rs). The fields of a record have eight
# bytes, of which `ret` and `pop` take four. SS is flat like DS; a prefix selects the segment.
#
# ebp: where fetched code returns to.

.macro stub_start_32
    table_entry
    add esp, 4
    pop esi
    add esp, 4
    pop ebx
    add esp, 4
.endm

.macro load_32 segment, value, other
    stub_start_32
    makes_access mov \value, \segment:[esi]
    mov [esp - 8], ebx                  # AccessRecord.value
    ret
.endm

.macro store_32 segment, value, other
    stub_start_32
    makes_access mov \segment:[esi], \value
    ret
.endm

.macro exchange_32 segment, value, other
    stub_start_32
    makes_access xadd \segment:[esi], \value
    mov [esp - 8], ebx
    ret
.endm

.macro locked_exchange_32 segment, value, other
    stub_start_32
    makes_access lock xadd \segment:[esi], \value
    mov [esp - 8], ebx
    ret
.endm

.macro failing_compare_32 segment, value, other
    stub_start_32
    mov eax, ebx
    makes_access lock cmpxchg \segment:[esi], \other
    mov [esp - 8], eax
    ret
.endm

.macro three_sizes form, segment
    \form \segment, bl, dl
    \form \segment, bx, dx
    \form \segment, ebx, edx
.endm

.code32
.irp form, load_32, store_32, exchange_32, locked_exchange_32, failing_compare_32
    three_sizes \form, ds
    three_sizes \form, ss
.endr
    stub_start_32
    makes_access clflush ds:[esi]
    ret
    stub_start_32
    makes_access clflush ss:[esi]
    ret
# In ring 0 the host has subtracted the base of the code segment from the address.
    stub_start_32
    xor eax, eax
    xor ecx, ecx
    makes_access jmp esi

# SetFlags
    table_entry
    makes_no_access
    add esp, 4
    popfd
    add esp, 12
    ret

# UserEnd
    table_entry
    makes_no_access
    mov edi, offset begin_supervisor_32
    mov edx, offset begin_compatible_supervisor
# The entry into ring 0: the handler of #UD continues at edi or, in compatibility mode, with the 64-bit
# code at edx, as seen through the window.
.global enter_supervisor_32
enter_supervisor_32:
    ud2

# SupervisorEnd
    table_entry
    makes_no_access
    jmp end_supervisor_32

# StoreEntry
    stub_start_32
    makes_no_access
    mov ecx, [esp - 4]
    mov eax, [esi]
    mov edx, [esi + 4]
2:
    lock cmpxchg8b [esi]
    jne 2b
    ret

# WritePkru
    stub_start_32
    makes_no_access
    mov eax, esi
    xor ecx, ecx
    xor edx, edx
    wrpkru
    ret

# EnterSupervisor: the next record as ring 0 sees it.
    table_entry
    makes_no_access
    lea ebx, [esp + {WINDOW} + 20]
    lea edi, [in_supervisor_32]
    lea edx, [in_compatible_supervisor]
    jmp enter_supervisor_32
in_supervisor_32:                       # on the frame of the #UD
    own_data
    mov esp, ebx
    ret

# EnterUser: the next record as ring 3 sees it.
    table_entry
    makes_no_access
    lea esi, [esp - {WINDOW} + 20]
    mov ebx, gs:[saved_header]
    cmp dword ptr gs:[ebx + {HEADER_COMPATIBILITY}], 0
    jne enter_compatible_user           # compatibility.s
    mov esp, {FAULT_STACK}
    push {USER_DATA}
    push esi
    push PLAIN_RFLAGS
    push {USER_CODE_32}
    mov eax, offset next_32
    push eax
    iretd

# Changes that only ring 0 may make: one stub for ring 3, which enters ring 0 through the #UD, and one
# for ring 0. On the frame of the #UD, 32-bit code makes the change in 32-bit and PAE paging, and
# 64-bit code in compatibility mode.
.macro privileged_32 change, change_64
    stub_start_32
    makes_no_access
    lea edi, [778f]
    lea edx, [779f]
    jmp enter_supervisor_32
778:
    \change
    pop eax                             # the error code, which the handler has pushed
    mov dword ptr [esp], offset next_32
    iretd
.code64
779:
    mov esi, esi                        # the upper half is undefined after 32-bit code
    \change_64
    mov eax, offset next_32
    mov [rsp], rax
    iretq
.code32
    stub_start_32
    makes_no_access
    \change
    ret
.endm

.macro reload_cr3_32
    mov eax, cr3
    mov cr3, eax
.endm

.macro reload_cr3_64
    mov rax, cr3
    mov cr3, rax
.endm

    privileged_32 "invlpg [esi]", "invlpg [rsi]"
    privileged_32 reload_cr3_32, reload_cr3_64
    privileged_32 "mov cr0, esi", "mov cr0, rsi"

# Fetched code has loaded its constants into ecx and eax, and has added 1 to ecx (contents.rs).
.global fetch_done_32
fetch_done_32:
    dec ecx
    mov [esp - 8], ecx
    mov [esp - 4], eax
.global next_32
next_32:
    ret
.code64
