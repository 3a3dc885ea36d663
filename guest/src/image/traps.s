# Exception handlers, one every 64 bytes (descriptors.rs): a table for 64-bit code, and one for
# compatibility mode. They are short because a ring-0 instruction can cost a microsecond.

# Records the fault of an access in 64-bit code. The list of records goes on at r15, with the RSP that
# it had: `next` or `next_keyed` (stubs.s) writes these registers over the record, in ring 3 at no cost.
.macro record_fault vector
    mov dword ptr [rsp + 4], {FAULT_TAG} + \vector
    pop r9                              # tag, vector and error code
    pop r10                             # the saved RIP
    mov r11, cr2
    push r15
    iretq
.endm

# The same in compatibility mode, whose code does not reach r9 to r11. The RSP that the processor saved
# points just past the record.
.macro record_compatible_fault vector
    mov rbx, [rsp + 32]                 # the saved RSP; rcx, rsi and rdi may be operands
    or rbx, {WINDOW}                    # as ring 0 sees a record of ring 3
    mov dword ptr [rsp + 4], {FAULT_TAG} + \vector
    pop [rbx - 24]
    mov rax, cr2
    mov [rbx - 16], rax
    pop [rbx - 8]                       # the saved RIP
    push r15                            # continue with the next record
    iretq
.endm

.macro vector_handler vector, record, invalid_opcode
    .balign 64
    .if \vector == 6
        \invalid_opcode
    .elseif (\vector >= 12 && \vector <= 14) || \vector == 17
        \record \vector
    .else
        mov eax, {CONTROL} + {WINDOW}
        mov qword ptr [rax + {CONTROL_PANIC}], \vector + 1
        mov al, {PANIC}
        out {DOORBELL_PORT}, al
    3:
        hlt
        jmp 3b
    .endif
.endm

# #UD is how ring 3 enters ring 0, or an instruction that this processor lacks.
.macro invalid_opcode_64
    cmp qword ptr [rsp], offset enter_supervisor
    jne invalid_opcode
    jmp r8
.endm

.macro invalid_opcode_compatible
    cmp qword ptr [rsp], offset enter_supervisor_32
    jne 3f
    lea edx, [rdx + {WINDOW}]           # and clears the upper half, undefined after 32-bit code
    jmp rdx
3:
    push 0                              # #UD has no error code
    record_compatible_fault 6
.endm

.section .vectors, "ax"
.irp vector, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    vector_handler \vector, record_fault, invalid_opcode_64
.endr
.irp vector, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    vector_handler \vector, record_compatible_fault, invalid_opcode_compatible
.endr
.text

# This processor lacks an instruction of a stub, or a case fetched something other than code.
invalid_opcode:
    mov rdi, [rsp]
    sub rdi, r15
    cmp rdi, 16
    jae 2f
    lea r15, [rip + next]               # if next_keyed itself faults, do not repeat it
    test byte ptr [rsp + 8], 3          # the saved CS
    jz 2f
    sub r15, r14
2:
    push 0                              # #UD has no error code
    record_fault 6
