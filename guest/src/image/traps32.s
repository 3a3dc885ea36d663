# Exception handlers of 32-bit code, one every 64 bytes (descriptors.rs), at the same offsets in the
# flat code segment and in the one in the window.
#
# In ring 0 the processor pushes the frame onto the list of records itself, over the end of the
# record of the access: error code, EIP, CS, EFLAGS. The frame ends where ESP was, just past the
# record.

# Writes the tag, vector and error code over AccessRecord.stub, and CR2 over AccessRecord.address.
.macro record_fault_32 vector
    test byte ptr [esp + 8], 3          # CS
    jnz 3f
    pop eax
    mov [esp - 12], eax
    mov dword ptr [esp - 8], {FAULT_TAG} + \vector
    mov eax, cr2
    mov [esp - 4], eax
    mov dword ptr [esp], 0
    add esp, 12
    ret                                 # continue with the next record
3:
    mov ecx, \vector
    jmp record_user_fault_32
.endm

.macro vector_handler_32 vector
    .balign 64
    .if \vector == 6
        push 0                          # #UD has no error code
        cmp dword ptr [esp + 4], offset enter_supervisor_32
        je begin_supervisor_32
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

# From ring 3, with the vector in ecx: the frame ends with ESP and SS.
record_user_fault_32:
    own_data
    mov edi, [esp + 16]                 # the saved ESP
    add ecx, {FAULT_TAG}
    mov gs:[edi - 20], ecx
    pop dword ptr gs:[edi - 24]
    mov eax, cr2
    mov gs:[edi - 16], eax
    mov dword ptr gs:[edi - 12], 0
    mov dword ptr [esp], offset next_32
    iretd
.code64
.text
