# Shadow-stack accesses (RIGHT-7): their stubs, behind all others of 64-bit code in the table, and what handles the
# faults of a batch with CR4.CET=1. Shadow stacks are on during the access alone, since lists go on by RET, which
# would pop them, and handlers return to where they were not called from.

.equ U_CET, 0x6a0
.equ S_CET, 0x6a2
.equ PL3_SSP, 0x6a7
.equ INTERRUPT_SSP_TABLE, 0x6a8
.equ ON, 3                              # SH_STK_EN and WR_SHSTK_EN

.macro write_msr msr, value
    mov ecx, \msr
    mov eax, \value
    xor edx, edx
    wrmsr
.endm

# `turn_on` does so for ring 3, which enters ring 0 for it. rax is 1 at the instruction, but for a store of ring 0.
.macro on_shadow_stack turn_on, instruction:vararg
    table_entry
    pop rsi
    pop rbx
    mov eax, cs
    test al, 3
    jnz 773f
    # A fault of ring 0 goes on with the shadow stack of its interrupt stack, whose token must not be busy (SDM
    # "Supervisor Shadow Stack Token").
    write_msr S_CET, ON
    mov eax, {SHADOW_TOKEN}
    wrssq [rax], rax
    jmp 772f
773:
    lea r8, [rip + \turn_on + {WINDOW}]
    lea r9, [rip + 772f]
    jmp enter_supervisor
772:
    makes_access \instruction
    mov eax, cs
    test al, 3
    jz 771f
    lea r8, [rip + shadow_stacks_off + {WINDOW}]
    jmp enter_supervisor
771:
    write_msr S_CET, 0
    ret
.endm

.text
    on_shadow_stack shadow_stacks_on, wrssd [rsi], ebx
    on_shadow_stack shadow_stacks_on, wrssq [rsi], rbx
# Ring 3 alone: IRET loads SSP from an MSR.
    on_shadow_stack shadow_stack_at_rsi, incsspd eax
    on_shadow_stack shadow_stack_at_rsi, incsspq rax

# In ring 0, on the frame of the #UD: turn them on, and continue at r9.
shadow_stack_at_rsi:
    mov ecx, PL3_SSP
    mov eax, esi
    mov rdx, rsi
    shr rdx, 32
    wrmsr
shadow_stacks_on:
    write_msr U_CET, ON
    mov [rsp], r9
    mov eax, 1
    iretq

# The same: turn them off, and go on with the list.
shadow_stacks_off:
    write_msr U_CET, 0
    lea rax, [rip + changed - {WINDOW}]
    mov [rsp], rax
    iretq

# In ring 0, when CR4.CET has been set (boot.s).
prepare_shadow_stacks:
    lidt [rip + SHADOW_IDT_POINTER]
    write_msr INTERRUPT_SSP_TABLE, "offset shadow_stack_table + {WINDOW}"
    jmp load_key_rights

# The handlers of the faults of an access, in the order of descriptors.rs: as `record_fault` (traps.s), with shadow
# stacks off again.
.macro shadow_fault vector
    .balign 64
    mov dword ptr [rsp + 4], {FAULT_TAG} + \vector
    pop r9
    pop r10
    mov r11, cr2
    jmp end_shadow_fault
.endm

.section .shadow_vectors, "ax"
    shadow_fault 12
    shadow_fault 13
    shadow_fault 14
    shadow_fault 17
.text
end_shadow_fault:
    push rax
    push rcx
    push rdx
    write_msr S_CET, 0
    write_msr U_CET, 0
    pop rdx
    pop rcx
    pop rax
    push r15
    iretq

.data
# The shadow stacks of the interrupt stacks. Handlers of accesses have the first.
shadow_stack_table: .quad 0, {SHADOW_TOKEN}
