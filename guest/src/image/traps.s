# Exception handlers, one every 64 bytes (descriptors.rs). They are short because a ring-0
# instruction can cost a microsecond.

# Records the fault of an access: the RSP that the processor saved points just past the record.
# Writes the tag, vector and error code over AccessRecord.stub, and CR2 over AccessRecord.address.
.macro record_fault vector
    mov rdi, [rsp + 32]                 # the saved RSP
    mov dword ptr [rsp + 4], {FAULT_TAG} + \vector
    pop [rdi + r14 - 24]
    mov rax, cr2
    mov [rdi + r14 - 16], rax
    mov [rsp], r15                      # continue with the next record
    iretq
.endm

.macro vector_handler vector
    .balign 64
    .if \vector == 6
        cmp qword ptr [rsp], offset enter_supervisor
        jne invalid_opcode
        jmp r8
    .elseif (\vector >= 12 && \vector <= 14) || \vector == 17
        record_fault \vector
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

.section .vectors, "ax"
.irp vector, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    vector_handler \vector
.endr
.text

# This processor lacks an instruction of a stub, or a case fetched something other than code.
invalid_opcode:
    cmp qword ptr [rsp], offset enter_supervisor_32
    je begin_compatible_supervisor      # compatibility.s
    mov rdi, [rsp]
    sub rdi, r15
    cmp rdi, 16
    jae 2f
    lea r15, [rip + next]               # if next_keyed itself faults, do not repeat it
    sub r15, r14
2:
    push 0                              # #UD has no error code
    record_fault 6
