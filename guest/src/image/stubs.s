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

.macro reload_cr3
    mov rax, cr3
    mov cr3, rax
.endm

    privileged invlpg [rsi]
    privileged reload_cr3
    privileged mov cr0, rsi

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

# After a fault, with what the handler found in r9 to r11 (traps.s).
next_keyed:
    write_pkru_zero
.global next
next:
    mov [rsp - 24], r9                  # AccessRecord.stub: tag, vector and error code
    mov [rsp - 16], r11                 # AccessRecord.address: CR2
    mov [rsp - 8], r10                  # AccessRecord.value: the saved RIP
    ret
