# The lists in compatibility mode: the 32-bit stubs in long mode. Exceptions arrive in 64-bit code, in
# handlers of their own (traps.s), which find r14 and r15 as they were: compatibility mode preserves r8
# to r15 (SDM "General-Purpose Registers in 64-Bit Mode").
#
# In ring 0 the code segment and gs have the window as their base; all other segments have base 0.

# In ring 0, in 64-bit code: continues in 32-bit code of a segment, on a list of records.
.macro enter_list code, data, records
    mov eax, {USER_DATA}
    mov ds, eax
    mov es, eax
    mov ebp, offset fetch_done_32
    mov r15d, offset next_32
    mov rsp, {FAULT_STACK}
    push \data
    push [rbx + \records]
    push PLAIN_RFLAGS
    push \code
    push r15
    iretq
.endm

.text
# From `run_lists` (boot.s), with the supervisor address of the header in rbx: run the ring-3 list.
run_compatible_lists:
    lidt [rip + COMPATIBLE_IDT_POINTER]
    mov r14, {WINDOW}                   # handlers add it to the address of a ring-3 record
    enter_list {USER_CODE_32}, {USER_DATA}, {HEADER_USER_RECORDS}

# From the handler of #UD, after the ring-3 list: run the ring-0 list. The exception has made SS null.
begin_compatible_supervisor:
    mov rbx, [rip + saved_header]
    add rbx, {WINDOW}
    mov eax, {WINDOW_DATA_32}
    mov gs, eax
    xor r14d, r14d                      # ring-0 records are supervisor addresses already
    enter_list {WINDOW_CODE_32}, {SUPERVISOR_DATA}, {HEADER_SUPERVISOR_RECORDS}

# After the ring-0 list.
.code32
end_compatible_supervisor:
    far_jump {SUPERVISOR_CODE}, "end_supervisor + {WINDOW}"
.code64
