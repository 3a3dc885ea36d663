# The lists in compatibility mode: the 32-bit stubs in long mode. Exceptions arrive in 64-bit code, in
# handlers of their own (traps.s), which find r15 as it was: compatibility mode preserves r8 to r15
# (SDM "General-Purpose Registers in 64-Bit Mode").
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
    enter_list {USER_CODE_32}, {USER_DATA}, {HEADER_USER_RECORDS}

# From the handler of #UD, after the ring-3 list: run the ring-0 list. The exception has made SS null.
begin_compatible_supervisor:
    mov rbx, [rip + saved_header]
    add rbx, {WINDOW}
    mov eax, {WINDOW_DATA_32}
    mov gs, eax
    enter_list {WINDOW_CODE_32}, {SUPERVISOR_DATA}, {HEADER_SUPERVISOR_RECORDS}

# From the handler of #UD, on its frame, with the next record in ebx: continue in ring 0.
in_compatible_supervisor:
    mov eax, {WINDOW_DATA_32}
    mov gs, eax
    mov ebx, ebx                        # the upper half is undefined after 32-bit code
    mov [rsp], r15                      # next_32, in either code segment
    mov qword ptr [rsp + 8], {WINDOW_CODE_32}
    mov [rsp + 24], rbx
    mov qword ptr [rsp + 32], {SUPERVISOR_DATA}
    iretq

# From EnterUser (stubs32.s), in ring 0, with the next record in esi: continue in ring 3.
.code32
enter_compatible_user:
    far_jump {SUPERVISOR_CODE}, "enter_compatible_user_64 + {WINDOW}"
.code64
enter_compatible_user_64:
    mov esi, esi
    mov rsp, {FAULT_STACK}
    push {USER_DATA}
    push rsi
    push PLAIN_RFLAGS
    push {USER_CODE_32}
    push r15
    iretq

# After the ring-0 list.
.code32
end_compatible_supervisor:
    far_jump {SUPERVISOR_CODE}, "end_supervisor + {WINDOW}"
.code64
