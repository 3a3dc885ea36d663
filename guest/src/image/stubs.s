# The stubs, in the order of Stub::index (stub.rs). RSP walks a list of records: `ret` enters the
# stub of the next record. The stub pops its address and value, makes its access, and returns into
# the next stub. While the access runs, RSP is already past the record. Both rings use the same
# stubs.
#
# r12: PKRU of keyed accesses. r13: where fetched code returns to. r14: the supervisor window. r15: where
# execution continues after a fault.

# Each stub has its address in one table, and that of the instruction that makes the access in another.
.macro table_entry
777:
    .pushsection .stub_table, "a"
    .quad 777b
    .popsection
.endm

.macro makes_access instruction:vararg
775:
    \instruction
    .pushsection .access_table, "a"
    .quad 775b
    .popsection
.endm

.macro makes_no_access
    .pushsection .access_table, "a"
    .quad 0
    .popsection
.endm

# PKRU is 0 except during a keyed access, because the list itself is in user pages.
.macro write_pkru_zero
    xor eax, eax
    xor ecx, ecx
    xor edx, edx
    wrpkru
.endm

.macro write_pkru_if keyed
    .if \keyed
        mov eax, r12d
        xor ecx, ecx
        xor edx, edx
        wrpkru
    .endif
.endm

.macro stub_start base, keyed
    table_entry
    pop \base
    pop rbx
    write_pkru_if \keyed
.endm

.macro stub_end keyed, has_result
    .if \keyed
        write_pkru_zero
    .endif
    .if \has_result
        mov [rsp - 8], rbx              # AccessRecord.value
    .endif
    ret
.endm

.macro load base, value, other, keyed
    stub_start \base, \keyed
    makes_access mov \value, [\base]
    stub_end \keyed, 1
.endm

.macro store base, value, other, keyed
    stub_start \base, \keyed
    makes_access mov [\base], \value
    stub_end \keyed, 0
.endm

.macro exchange base, value, other, keyed
    stub_start \base, \keyed
    makes_access xadd [\base], \value
    stub_end \keyed, 1
.endm

.macro locked_exchange base, value, other, keyed
    stub_start \base, \keyed
    makes_access lock xadd [\base], \value
    stub_end \keyed, 1
.endm

# The value differs from the contents of memory, so the comparison fails and returns the old value
# in rax.
.macro failing_compare base, value, other, keyed
    stub_start \base, \keyed
    mov rax, rbx
    makes_access lock cmpxchg [\base], \other
    mov rbx, rax
    stub_end \keyed, 1
.endm

.macro four_sizes form, base, keyed
    \form \base, bl, dl, \keyed
    \form \base, bx, dx, \keyed
    \form \base, ebx, edx, \keyed
    \form \base, rbx, rdx, \keyed
.endm

.macro all_accesses keyed
    .irp form, load, store, exchange, locked_exchange, failing_compare
        four_sizes \form, rsi, \keyed
        four_sizes \form, rbp, \keyed
    .endr
    stub_start rsi, \keyed
    makes_access clflush [rsi]
    stub_end \keyed, 0
    stub_start rbp, \keyed
    makes_access clflush [rbp]
    stub_end \keyed, 0
    stub_start rsi, \keyed
    makes_access jmp rsi
    segment_limit \keyed
    segment_load \keyed
.endm

# Ring 3 only. Ring 0 makes the address the base of the local descriptor table, whose first
# descriptor the processor then reads of its own accord. The result is the limit found, or -1.
.macro segment_limit keyed
    table_entry
    pop rsi
    pop rbx
    lea r8, [rip + move_local_table + {WINDOW}]
    lea r9, [rip + 778f]
    jmp enter_supervisor
778:
    write_pkru_if \keyed
    mov eax, 4 | 3                      # first descriptor of the local table, RPL 3
    mov rbx, -1
    makes_access lsl ebx, eax
    stub_end \keyed, 1
.endm

# The same for a load of es, which sets the accessed bit of the descriptor.
.macro segment_load keyed
    table_entry
    pop rsi
    pop rbx
    lea r8, [rip + move_local_table + {WINDOW}]
    lea r9, [rip + 776f]
    jmp enter_supervisor
776:
    write_pkru_if \keyed
    mov eax, 4 | 3                      # first descriptor of the local table, RPL 3
    makes_access mov es, eax
    mov eax, {USER_DATA}
    mov es, eax
    stub_end \keyed, 0
.endm

.text
    all_accesses 0
    all_accesses 1

# SetFlags: loads RFLAGS from the address field.
    table_entry
    makes_no_access
    popfq
    pop rax
    ret

# SetPkru: keyed stubs follow.
    table_entry
    makes_no_access
    pop r12
    pop rax
    lea r13, [rip + fetch_done_keyed]
    lea r15, [rip + next_keyed]
    ret

# ClearPkru. Ring 3 begins with it after IRET.
    table_entry
    makes_no_access
    pop rax
    pop rax
    lea r13, [rip + fetch_done]
    lea r15, [rip + next]
    ret

# UserEnd
    table_entry
    makes_no_access
    lea r8, [rip + begin_supervisor + {WINDOW}]
    jmp enter_supervisor

# SupervisorEnd
    table_entry
    makes_no_access
    jmp end_supervisor

# EnterSupervisor: ring 3 does all it can, since ring 0 may be emulated.
    table_entry
    makes_no_access
    lea r9, [rsp + r14 + 16]            # the next record
    lea r13, [rip + fetch_done + {WINDOW}]
    lea r15, [rip + next + {WINDOW}]
    lea r8, [rip + in_supervisor + {WINDOW}]
    jmp enter_supervisor
in_supervisor:
    mov rsp, r9
    ret

# EnterUser: the frame is in the list.
    table_entry
    makes_no_access
    iretq

# Stac
    table_entry
    makes_no_access
    stac
    add rsp, 16
    ret

# Clac
    table_entry
    makes_no_access
    clac
    add rsp, 16
    ret

# Changes that only ring 0 may make, between the accesses of a sequence: one stub for ring 3, which
# enters ring 0 through the #UD, and one for ring 0.
.macro privileged change:vararg
    table_entry
    makes_no_access
    pop rsi
    pop rbx
    lea r8, [rip + 779f + {WINDOW}]
    jmp enter_supervisor
779:
    \change
    lea rax, [rip + changed - {WINDOW}]
    mov [rsp], rax
    iretq
    table_entry
    makes_no_access
    pop rsi
    pop rbx
    \change
    ret
.endm

    privileged invlpg [rsi]

# The same for a change that may fault: `write` makes it, with the label 775 at its instruction, and `read`
# puts what the register holds afterwards into rax. The stub has two records, since a fault fills the first
# one; the second one gets rax. It runs in ring 0 on the list itself, through the supervisor window, so that
# a fault leaves the frame of the #UD alone.
.macro observed_change write, read
    table_entry                         # from ring 3
    changes_at_775
    pop rsi
    add rsp, 32                         # past both records
    lea r8, [rip + 779f + {WINDOW}]
    jmp enter_supervisor
779:                                    # in ring 0, on the frame of the #UD
    mov rsp, [rsp + 24]
    add rsp, r14
    lea rdi, [rip + to_user_list]
    jmp 776f
    table_entry                         # from ring 0
    changes_at_775
    pop rsi
    add rsp, 32
    lea rdi, [rip + changed]
776:
    mov r8, r15
    lea r15, [rip + 778f]
    \write
    jmp 774f
778:                                    # after a fault
    mov [rsp - 48], r9
    mov [rsp - 40], r11
    mov [rsp - 32], r10
774:
    \read
    mov [rsp - 8], rax
    mov r15, r8
    jmp rdi
.endm

.macro changes_at_775
    .pushsection .access_table, "a"
    .quad 775f
    .popsection
.endm

.macro write_cr register
775:
    mov \register, rsi
.endm

.macro read_cr register
    mov rax, \register
.endm

.macro write_efer
    mov eax, esi
    mov rdx, rsi
    shr rdx, 32
    mov ecx, EFER
775:
    wrmsr
.endm

.macro read_efer
    mov ecx, EFER
    rdmsr
    shl rdx, 32
    or rax, rdx
.endm

.macro invalidate
775:
    invlpg [rsi]
.endm

# The descriptor is in the second record.
.macro invalidate_pcid
775:
    invpcid rsi, [rsp - 16]
.endm

    observed_change "write_cr cr0", "read_cr cr0"
    observed_change "write_cr cr3", "read_cr cr3"
    observed_change "write_cr cr4", "read_cr cr4"
    observed_change write_efer, read_efer
    observed_change invalidate, "xor eax, eax"
    observed_change invalidate_pcid, "xor eax, eax"

# In ring 0, on the list of ring 3: goes on with it in ring 3, with EFLAGS.AC as it was.
to_user_list:
    mov rax, rsp
    sub rax, r14
    lea rcx, [rip + changed - {WINDOW}]
    mov rsp, {FAULT_STACK}
    push {USER_DATA}
    push rax
    pushfq
    push {USER_CODE}
    push rcx
    iretq

# In ring 0, on the frame of the #UD: moves the local descriptor table to rsi, and continues at r9.
move_local_table:
    mov edi, {GDT} + {WINDOW} + {LOCAL_TABLE}
    mov eax, esi
    mov [rdi + 2], ax                   # base 15:0
    shr eax, 16
    mov [rdi + 4], al                   # base 23:16
    mov [rdi + 7], ah                   # base 31:24
    mov rax, rsi
    shr rax, 32
    mov [rdi + 8], eax                  # base 63:32
    mov eax, {LOCAL_TABLE}
    lldt ax
    mov [rsp], r9
    iretq

# Fetched code has loaded its constant into rcx.
.global fetch_done
fetch_done:
    mov [rsp - 8], rcx
changed:                                # in ring 3 again, after a privileged change
    ret

fetch_done_keyed:
    mov rbx, rcx
    write_pkru_zero
    mov [rsp - 8], rbx
    ret

.macro record_fault_found
    mov [rsp - 24], r9                  # AccessRecord.stub: tag, vector and error code
    mov [rsp - 16], r11                 # AccessRecord.address: CR2
    mov [rsp - 8], r10                  # AccessRecord.value: the saved RIP
.endm

# After a fault, with what the handler found in r9 to r11 (traps.s). The rest of the frame is still on the
# fault stack, and the registers are as the fault left them.
next_keyed:
    mov r8, rax
    write_pkru_zero
    jmp 2f
.global next
next:
    mov r8, rax
2:
    record_fault_found
    mov r9d, [rip + fault_stack_top - 32]       # CS
    mov r10d, [rip + fault_stack_top - 24]      # RFLAGS
    mov r11, [rip + fault_stack_top - 16]       # RSP
    mov [rsp - 24 + {FRAME_DISTANCE}], r10d
    mov [rsp - 20 + {FRAME_DISTANCE}], r9d
    mov [rsp - 16 + {FRAME_DISTANCE}], r11
    mov [rsp - 8 + {FRAME_DISTANCE}], r8
    mov [rsp - 24 + {REGISTERS_DISTANCE}], rbx
    mov [rsp - 16 + {REGISTERS_DISTANCE}], rsi
    mov [rsp - 8 + {REGISTERS_DISTANCE}], rbp
    ret

# The same without frame and registers, which would take ring 0 long.
.global next_without_frame
next_without_frame:
    record_fault_found
    ret
