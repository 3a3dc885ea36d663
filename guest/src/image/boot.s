# From the first instruction to the ring-3 kernel, and the path of a batch through both rings.
#
# Symbols are user addresses. Code in ring 0 runs at symbol + WINDOW. It addresses its own data
# relative to RIP, and therefore through the supervisor window as well.

.equ PLAIN_RFLAGS, 0x2                  # only the bit that is always 1
.equ EFER, 0xc0000080
.equ PKRS, 0x6e1
.equ CR4_PGE, 0x80
.equ CR4_CET, 0x800000

.section .image_header, "a"
    .quad {MAGIC}
    .quad boot
    # The tables of stubs and of their accesses follow (stubs.s), and then what a player in 32-bit code needs.
.section .player_table, "a"
    .quad enter_other_mode
    .quad saved_header

.text
# The host starts the guest here: in ring 0, in long mode, on the guest's own page tables.
.global boot
boot:
    mov rsp, {FAULT_STACK}
    call report_vmx                     # vmx.s
    mov eax, offset kernel
# The kernel is at the address in rax; it finds rdi as it is.
.global boot_kernel
boot_kernel:
    lgdt [rip + GDT_POINTER]
    lidt [rip + IDT_POINTER]
    mov cx, {TASK_STATE}
    ltr cx
    mov rsp, {FAULT_STACK}
    push {USER_DATA}
    push {USER_STACK_TOP} - 8           # as after a CALL: RSP + 8 is a multiple of 16
    push PLAIN_RFLAGS
    push {USER_CODE}
    push rax
    iretq

# Saves the registers that a C function must preserve, before a path through ring 0 that ends at
# batch_done.
.macro save_registers
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov [rip + saved_rsp], rsp
.endm

# run_batch(rdi = header): the kernel calls it in ring 3.
.global run_batch
run_batch:
    save_registers
    mov [rip + saved_header], rdi
    lea r8, [rip + begin + {WINDOW}]
    jmp enter_supervisor

# ring_doorbell(edi = message): the kernel calls it in ring 3. Ring 0 writes to the port, since not
# every hypervisor without hardware support grants I/O privilege to ring 3.
.global ring_doorbell
ring_doorbell:
    lea r8, [rip + ring + {WINDOW}]
# The entry into ring 0: the handler of #UD jumps to r8 if the fault is at this address.
.global enter_supervisor
enter_supervisor:
    ud2
    ret

# In ring 0, on the frame of the #UD: notify the host, then return past the ud2.
ring:
    mov eax, edi
    out {DOORBELL_PORT}, al
    add qword ptr [rsp], 2
    iretq

# Back in ring 3 after both lists, or after a process has faulted.
batch_done:
    mov rsp, [rip + saved_rsp]
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

# In ring 0: load the batch's control state, then run the ring-3 list.
begin:
    mov rbx, [rip + saved_header]
    add rbx, {WINDOW}
    mov rax, [rbx + {HEADER_CR2}]
    mov cr2, rax
    cmp qword ptr [rbx + {HEADER_SWITCH}], {STAY}
    jne leave_four_level                # switch.s
    cmp qword ptr [rbx + {HEADER_KEEP_CONTROL}], 0
    jne 2f
    mov eax, [rbx + {HEADER_EFER}]
    xor edx, edx
    mov ecx, EFER
    wrmsr
    mov rax, [rbx + {HEADER_CR0}]
    mov cr0, rax
    mov rax, [rbx + {HEADER_CR4}]       # first without PGE: drops global translations
    and rax, ~CR4_PGE
    mov cr4, rax
    mov rcx, [rbx + {HEADER_CR3}]       # drops the others
    mov cr3, rcx
    mov rax, [rbx + {HEADER_CR4}]
    mov cr4, rax
    test eax, CR4_CET
    jnz prepare_shadow_stacks           # shadow_stacks.s
    jmp load_key_rights
2:
    mov rax, [rbx + {HEADER_CR3}]
    mov cr3, rax
# In ring 0, in the long mode of the batch, with the address of its header in rbx.
.global load_key_rights
load_key_rights:
    cmp qword ptr [rbx + {HEADER_LOADS_PKRS}], 0
    je run_lists
    mov eax, [rbx + {HEADER_PKRS}]
    xor edx, edx
    mov ecx, PKRS
    wrmsr
run_lists:
    cmp qword ptr [rbx + {HEADER_VIRTUALIZER}], 0
    jne run_nested                      # nested.s
    cmp qword ptr [rbx + {HEADER_COMPATIBILITY}], 0
    jne run_compatible_lists            # compatibility.s
    lea r13, [rip + fetch_done - {WINDOW}]
    mov r14, {WINDOW}
    lea r15, [rip + next - {WINDOW}]
    mov rsp, {FAULT_STACK}
    push {USER_DATA}
    push [rbx + {HEADER_USER_RECORDS}]
    push PLAIN_RFLAGS
    push {USER_CODE}
    push r15
    iretq

# In ring 0 again, after the ring-3 list: run the ring-0 list.
.global begin_supervisor
begin_supervisor:
    mov rbx, [rip + saved_header]
    add rbx, {WINDOW}
    lea r13, [rip + fetch_done]
    lea r15, [rip + next]
    cmp qword ptr [rbx + {HEADER_KEEPS_FRAMES}], 0
    jne 2f
    lea r15, [rip + next_without_frame]
2:
    mov rsp, [rbx + {HEADER_SUPERVISOR_RECORDS}]
    ret

# In ring 0, after the ring-0 list: back to ring 3, in 4-level paging.
.global end_supervisor
end_supervisor:
    mov rsp, {FAULT_STACK}
    lidt [rip + IDT_POINTER]            # after compatibility mode, or with shadow stacks
    mov rbx, [rip + saved_header]
    add rbx, {WINDOW}
    cmp qword ptr [rbx + {HEADER_SWITCH}], {STAY}
    jne leave_five_level                # switch.s
    mov rax, [rbx + {HEADER_CR4}]
    test eax, CR4_CET
    jz 2f
    and rax, ~CR4_CET                   # the next batch may have CR0.WP=0
    mov cr4, rax
2:
    mov eax, {OWN_TABLES}               # the kernel may have to rewrite the tables of the batch
    mov cr3, rax
.global to_user
to_user:
    push {USER_DATA}
    push {USER_STACK_TOP} - 8           # batch_done loads the right value
    push PLAIN_RFLAGS
    push {USER_CODE}
    push offset batch_done
    iretq

.data
saved_rsp: .quad 0
.global saved_header
saved_header: .quad 0
