# More stubs of 64-bit code, behind the others in the table: those of instructions whose registers are operands
# that move, and of some that are wider than others. They are never keyed.

.text

# LoadOperands
    table_entry
    makes_no_access
    pop rdi
    pop rcx
    ret

# StoreOperands
    table_entry
    makes_no_access
    mov [rsp - 8], rcx                  # AccessRecord.stub
    mov [rsp], rsi                      # AccessRecord.address
    mov [rsp + 8], rdi                  # AccessRecord.value
    add rsp, 16
    ret

# Forms with a source. LoadOperands has loaded RDI and RCX, and StoreOperands tells what becomes of them,
# whether the instruction completes or faults.
.macro string_stub instruction:vararg
    table_entry
    pop rsi
    pop rbx
    makes_access \instruction
    ret
.endm

    string_stub movsb
    string_stub movsw
    string_stub movsd
    string_stub movsq

# The result is whether the operands are equal, and whether the first is below the second. rbx is 0.
.macro compare_strings instruction
    table_entry
    pop rsi
    pop rbx
    makes_access \instruction
    setz bl
    setb bh
    mov [rsp - 8], rbx
    ret
.endm

    compare_strings cmpsb
    compare_strings cmpsw
    compare_strings cmpsd
    compare_strings cmpsq

    string_stub rep movsb

# RSP is an operand, which rdi has before and after. So the list waits in rdx, and a fault comes back here
# first.
.macro on_stack instruction, before, after
    table_entry
    pop rsi
    pop rbx
    \before
    mov rdx, rsp
    mov r8, r15
    lea r15, [rip + 778f]
    mov rsp, rdi
    makes_access \instruction
    mov rdi, rsp
    mov rsp, rdx
    mov r15, r8
    \after
    ret
778:
    mov rdi, rsp
    mov rsp, rdx
    mov r15, r8
    \after
    jmp r15
.endm

    on_stack "push word ptr [rsi]"
    on_stack "push qword ptr [rsi]"
    on_stack "pop word ptr [rsi]"
    on_stack "pop qword ptr [rsi]"

# As `failing_compare`, with the value in both halves.
    table_entry
    pop rsi
    pop rbx
    mov rax, rbx
    mov rdx, rbx
    makes_access lock cmpxchg16b [rsi]
    mov [rsp - 8], rax
    ret

# ENTER has rbp as an operand, for which rsi stands.
    on_stack "enter 0, 2", "mov rbp, rsi", "mov rsi, rbp"

    table_entry
    pop rsi
    pop rbx
    makes_access fxsave [rsi]
    ret

# CALL through memory. Its pointer is what the case has stored before, the address behind the call itself, so
# that this is where the call goes and what it pushes. A case names the address: it does not change with the
# image (layout.rs, link.ld).
.pushsection .call, "ax"
    .org {CALL_OFFSET} - 20
    on_stack "call qword ptr [rsi]"
.popsection
