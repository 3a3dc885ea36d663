# Out of 4-level paging and back. CR4.LA57 cannot change in long mode (MODE-2), and 32-bit and PAE
# paging are outside long mode, so all switches lead through 32-bit code without paging, which runs
# at its physical address ("flat"). On the way ebx holds the user address of the header.
#
# All of this code is in a page of its own, which is a supervisor page even at its physical address
# (layout.rs), so that SMEP can stay on. In PAE paging nothing here changes SMEP, PGE or PSE, since
# that would load the PDPTEs again (PDPTE-1), after the case may have edited them or the processor
# set flags in them.

.equ CR0_PG, 0x80000000
.equ ALL_BUT_PG, 0x7fffffff
.equ EFER_LME, 1 << 8
.equ EFER_LMA, 1 << 10
.equ OWN_CR0, 0x80010011                # PG WP ET PE
.equ OWN_CR4, 0x620                     # OSXMMEXCPT OSFXSR PAE
.equ CR4_LA57, 1 << 12
# The bits that may be set while paging changes: PSE PAE PGE OSFXSR OSXMMEXCPT LA57 SMEP. SMAP would
# forbid access to the data in user pages.
.equ SAFE_CR4, 0x1016b0

# Clears the busy bit of a task-state segment and loads it, since LTR refuses a busy one.
.macro load_task_state selector, segment
    and byte ptr \segment:[{GDT} + \selector + 5], 0xfd
    mov ax, \selector
    ltr ax
.endm

.macro flat_data
    mov ax, {SUPERVISOR_DATA}
    mov ds, ax
    mov es, ax
    mov ss, ax
.endm

# Makes gs the segment of the guest's own data, which follows the code segment in use.
.macro own_data
    mov eax, cs
    add eax, 8
    mov gs, ax
.endm

# In 32-bit code: continues at a label in another code segment.
.macro far_jump selector, label
    .byte 0xea
    .long \label
    .word \selector
.endm

# In 64-bit code: continues at a label in flat 32-bit code.
.macro to_flat_code label
    flat_data
    push {FLAT_CODE_32}
    push offset \label
    retfq
.endm

.section .switch, "ax"
# From `begin` (boot.s): in ring 0, with the supervisor address of the header in rbx.
.global leave_four_level
leave_four_level:
    mov r13, [rbx + {HEADER_NESTED_BACK}] # 32-bit code cannot load it
    mov eax, OWN_CR4
    mov cr4, rax
    sub rbx, {WINDOW}
    to_flat_code enter_other_mode

.code32
.global enter_other_mode
enter_other_mode:
    mov eax, cr0
    and eax, ALL_BUT_PG
    mov cr0, eax
    mov esp, {FAULT_STACK} - {WINDOW}
    lgdt [FLAT_GDT_POINTER]
    lidt [FLAT_IDT_32_POINTER]
    own_data
    load_task_state {FLAT_TASK_STATE_32}, gs
    cmp dword ptr cs:[{CONTROL} + {CONTROL_LACKS_EFER}], 0
    jne 4f
    mov eax, [ebx + {HEADER_EFER}]
    and eax, ~EFER_LMA                  # the processor sets it
    xor edx, edx
    mov ecx, EFER
    wrmsr
4:
    mov eax, [ebx + {HEADER_CR4}]
    and eax, SAFE_CR4
    mov cr4, eax
    mov eax, [ebx + {HEADER_CR3}]
    mov cr3, eax
    mov ecx, [ebx + {HEADER_SWITCH}]    # the tables of a process may not map the header
    mov eax, [ebx + {HEADER_CR0}]
# This loads PAE's PDPTEs. The handler of #GP recognizes a fault here (PDPTE-2).
.global load_paging
load_paging:
    mov cr0, eax
    test eax, CR0_PG
    jz lists_32
    lgdt [GDT_POINTER]
    cmp ecx, {FIVE_LEVEL}
    je enter_five_level
    lidt [WINDOW_IDT_32_POINTER]
    far_jump {WINDOW_CODE_32}, behind_window
behind_window:
    own_data
    mov esp, {FAULT_STACK}
    load_task_state {WINDOW_TASK_STATE_32}, gs

# In ring 0, in 32-bit code, in the window if paging is on: run the ring-3 list.
lists_32:
    mov eax, gs:[ebx + {HEADER_CR4}]
    mov cr4, eax
    cmp dword ptr gs:[ebx + {HEADER_ENTERS_PROCESS}], 0
    jne enter_process_32                # processes.s
    cmp dword ptr gs:[ebx + {HEADER_VIRTUALIZER}], 0
    jne run_nested_32                   # nested.s
    cmp dword ptr gs:[ebx + {HEADER_EDITS_PDPTES}], 0
    je 3f
    mov edi, cr3
    and edi, ~31
    xor ecx, ecx
2:
    mov eax, gs:[ebx + ecx * 4 + {HEADER_PDPTES}]
    mov gs:[edi + ecx * 4], eax
    inc ecx
    cmp ecx, 8
    jb 2b
3:
    mov ebp, offset fetch_done_32
    mov eax, {USER_DATA}
    mov ds, ax
    mov es, ax
    push eax
    push dword ptr gs:[ebx + {HEADER_USER_RECORDS}]
    push PLAIN_RFLAGS
    push {USER_CODE_32}
    mov eax, offset next_32
    push eax
    iretd

# In ring 0 again, after the ring-3 list, on the frame of its last #UD: run the ring-0 list.
.global begin_supervisor_32
begin_supervisor_32:
    own_data
    mov ebx, gs:[saved_header]
    mov esp, gs:[ebx + {HEADER_SUPERVISOR_RECORDS}]
    mov ebp, offset fetch_done_32
    ret

# From the handler of #GP, on its frame, which starts with the error code: CR0 was not loaded.
.global load_failed
load_failed:
    pop eax
    mov [ebx + {HEADER_LOAD_FAULT}], eax
    mov dword ptr [ebx + {HEADER_LOAD_FAULT} + 4], {FAULT_TAG} + 13
    mov eax, cr2
    mov [ebx + {HEADER_CR2}], eax
    jmp back_to_four_level

# After the ring-0 list.
.global end_supervisor_32
end_supervisor_32:
    mov ebx, gs:[saved_header]
    cmp dword ptr gs:[ebx + {HEADER_COMPATIBILITY}], 0
    jne end_compatible_supervisor       # compatibility.s
    far_jump {FLAT_CODE_32}, back_to_four_level

# In flat 32-bit code, after a batch or a process.
.global back_to_four_level
back_to_four_level:
    mov eax, cr0
    and eax, ALL_BUT_PG
    mov cr0, eax
    mov ecx, cs:[{CONTROL} + {CONTROL_FLAT_RETURN}]
    test ecx, ecx
    jz 5f
    jmp ecx                             # a player in 32-bit code
5:
    # PAE before LME: QEMU 7.2 cannot leave an SVM guest that has LME set without PAE, as it loads
    # the host's CR0 while the guest's CR4 and EFER are in effect.
    mov eax, OWN_CR4
    mov cr4, eax
    mov eax, EFER_LME
    xor edx, edx
    mov ecx, EFER
    wrmsr
    mov eax, {OWN_TABLES}
    mov cr3, eax
    mov eax, OWN_CR0
    mov cr0, eax
    far_jump {SUPERVISOR_CODE}, in_four_level

.code64
in_four_level:
    lea rax, [rip + 2f + {WINDOW}]
    jmp rax
2:
    mov esp, {FAULT_STACK}
    call own_tables_64
    jmp to_user

# With 5-level paging on, still in compatibility mode and at a physical address.
.code32
enter_five_level:
    far_jump {SUPERVISOR_CODE}, in_five_level

.code64
in_five_level:
    lea rax, [rip + 2f + {WINDOW}]
    jmp rax
2:
    mov esp, {SWITCH_STACK}
    mov ebx, ebx                        # the upper half is undefined after 32-bit code
    add rbx, {WINDOW}
    call own_tables_64
    mov rax, [rbx + {HEADER_CR4}]
    mov cr4, rax
    cmp qword ptr [rbx + {HEADER_ENTERS_PROCESS}], 0
    jne enter_process                   # processes.s
    jmp load_key_rights

# From `end_supervisor` (boot.s) or from a process: in ring 0, in 5-level paging.
.global leave_five_level
leave_five_level:
    mov eax, OWN_CR4 | CR4_LA57
    mov cr4, rax
    to_flat_code back_to_four_level

# Loads the descriptor tables and the task-state segment of 64-bit code.
own_tables_64:
    lgdt [rip + GDT_POINTER]
    lidt [rip + IDT_POINTER]
    and byte ptr [{GDT} + {WINDOW} + {TASK_STATE} + 5], 0xfd
    mov ax, {TASK_STATE}
    ltr ax
    ret
.text
