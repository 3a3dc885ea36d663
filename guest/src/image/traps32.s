# Exception handlers of 32-bit code, one every 64 bytes (descriptors.rs), at the same offsets in the
# flat code segment and in the one in the window.
#
# In ring 0 the processor pushes the frame onto the list of records itself, over the end of the
# record of the access: error code, EIP, CS, EFLAGS. The frame ends where ESP was, just past the
# record.

# ECX, ESI and EDI stay as the instruction left them: they may be its operands.
#
# Both ways of recording a fault write the tag, vector and error code over AccessRecord.stub, CR2 over
# AccessRecord.address, and the saved EIP over AccessRecord.value.
.macro record_fault_32 vector
    mov edx, {FAULT_TAG} + \vector
    test byte ptr [esp + 8], 3          # CS
    jnz record_user_fault_32
    jmp record_supervisor_fault_32
.endm

.macro vector_handler_32 vector
    .balign 64
    .if \vector == 6
        push 0                          # #UD has no error code
        cmp dword ptr [esp + 4], offset enter_supervisor_32
        jne 3f
        jmp edi
    3:
        record_fault_32 \vector
    .elseif \vector == 13
        cmp dword ptr [esp + 4], offset load_paging
        je load_failed
        record_fault_32 \vector
    .elseif \vector == 12 || \vector == 14 || \vector == 17
        record_fault_32 \vector
    .else
        own_data
        mov dword ptr gs:[{CONTROL} + {CONTROL_PANIC}], \vector + 1
        mov al, {PANIC}
        out {DOORBELL_PORT}, al
    4:
        hlt
        jmp 4b
    .endif
.endm

.section .vectors32, "ax"
.code32
.irp vector, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    vector_handler_32 \vector
.endr

# From ring 0, with the tag and the vector in edx.
record_supervisor_fault_32:
    pop eax                             # the error code
    mov [esp - 12], eax
    mov [esp - 8], edx
    mov eax, cr2
    mov [esp - 4], eax
    xor eax, eax
    mov [esp + 8], eax
    xchg [esp], eax                     # EIP; the high half of the address becomes 0
    mov [esp + 4], eax
    add esp, 12
    ret                                 # continue with the next record

# From ring 3: the frame ends with ESP and SS.
record_user_fault_32:
    own_data
    mov ebx, [esp + 16]                 # the saved ESP
    mov gs:[ebx - 20], edx
    pop dword ptr gs:[ebx - 24]
    mov eax, cr2
    mov gs:[ebx - 16], eax
    mov dword ptr gs:[ebx - 12], 0
    pop dword ptr gs:[ebx - 8]          # the saved EIP
    mov dword ptr gs:[ebx - 4], 0
    mov eax, offset next_32
    push eax
    iretd
.code64
.text
