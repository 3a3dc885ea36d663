# The way into a process and out of it. Its registers are in one page that every space maps
# (process_page.rs). As elsewhere, ring 0 runs at symbol + WINDOW.
#
# In 4-level paging the way out is a MOV to CR3 in this page. From other modes it leads through
# switch.s, as paging changes.

.equ EFER, 0xc0000080

# Handlers, one every 16 bytes (descriptors.rs): any exception in a process ends its turn.
.macro process_vector vector
    .balign 16
    .if \vector != 8 && (\vector < 10 || \vector > 14) && \vector != 17 && \vector != 21
        push 0                          # for the others the processor pushes an error code
    .endif
    push \vector
.endm

.section .process, "ax"
.irp vector, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    process_vector \vector
    jmp leave_process
.endr
.balign 16
.code32
.irp vector, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    process_vector \vector
    jmp leave_process_32
.endr
.balign 16

# In ring 0, in 32-bit code in the window, on the process's tables.
.global enter_process_32
enter_process_32:
    lidt gs:[PROCESS_IDT_32_POINTER]
    load_task_state {PROCESS_TASK_STATE_32}, gs
    mov eax, {USER_DATA}
    mov ds, ax
    mov es, ax
    mov esp, {FRAME_32}
    popad
    add esp, 8                          # vector and error code
    iretd

leave_process_32:
    pushad
    own_data
    mov eax, cr2
    mov gs:[{CR2} - {WINDOW}], eax
    far_jump {FLAT_CODE_32}, back_to_four_level

.code64
# From the kernel, through the handler of #UD: in ring 0, on the kernel's tables.
begin_process:
    mov ebx, {HEADER}
    cmp qword ptr [rbx + {HEADER_SWITCH}], {STAY}
    jne leave_four_level                # switch.s
    mov rax, [rbx + {HEADER_CR3}]
    mov rcx, cr3
    cmp rax, rcx
    je enter_process                    # the kernel is in its space: keep cached translations
    mov cr3, rax
# In ring 0, in 64-bit code, on the process's tables.
.global enter_process
enter_process:
    lidt [rip + PROCESS_IDT_POINTER]
    mov esp, {FRAME}
    .irp register, r15,r14,r13,r12,r11,r10,r9,r8,rbp,rdi,rsi,rdx,rcx,rbx,rax
        pop \register
    .endr
    add rsp, 16                         # vector and error code
    iretq

leave_process:
    .irp register, rax,rbx,rcx,rdx,rsi,rdi,rbp,r8,r9,r10,r11,r12,r13,r14,r15
        push \register
    .endr
    mov rax, cr2
    mov ebx, {HEADER}
    mov [{CR2}], rax
    cmp qword ptr [rbx + {HEADER_SWITCH}], {STAY}
    jne leave_five_level                # switch.s
    cmp qword ptr [{STAYS}], 0
    jne 2f
    mov eax, {OWN_TABLES}
    mov cr3, rax
2:
    lidt [rip + IDT_POINTER]
    mov esp, {FAULT_STACK}
    jmp to_user                         # boot.s

# In ring 0, on the frame of the #UD: loads the kernel's control registers, with EFER from edi. A
# batch may have left others.
load_own_control:
    mov eax, edi
    xor edx, edx
    mov ecx, EFER
    wrmsr
    mov eax, OWN_CR0
    mov cr0, rax
    mov eax, OWN_CR4
    mov cr4, rax
    add qword ptr [rsp], 2
    iretq

# Likewise: drops the translation of the page of the address in rdi.
invalidate_page:
    invlpg [rdi]
    add qword ptr [rsp], 2
    iretq

# Likewise: loads the root in rdi, which drops all translations.
load_root:
    mov cr3, rdi
    add qword ptr [rsp], 2
    iretq
.text

# C functions that the kernel calls in ring 3.
.macro ring_0 name, routine
    .global \name
    \name:
        lea r8, [rip + \routine + {WINDOW}]
        jmp enter_supervisor
.endm

ring_0 own_control, load_own_control
ring_0 forget_translation, invalidate_page
ring_0 load_cr3, load_root

# run_process(): runs the process until it faults.
.global run_process
run_process:
    save_registers
    lea r8, [rip + begin_process + {WINDOW}]
    jmp enter_supervisor
