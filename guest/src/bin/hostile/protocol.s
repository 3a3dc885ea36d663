# Guests that are nothing but a few words in the mailbox. None of them makes an access.

# Reports a successful boot, as a genuine guest does, with the address of the control page in rax.
.macro report_boot modes=5
    mov eax, {CONTROL}
    mov qword ptr [rax + {MODES_WALKED}], \modes
    # Last: with QEMU the host continues as soon as it sees this.
    mov qword ptr [rax + {COMPLETED}], 0
    ring {DONE}
.endm

# Rings the doorbell, which QEMU does not have.
.macro ring message
    mov al, \message
    out {DOORBELL_PORT}, al
    mov eax, {CONTROL}
.endm

# Waits for the command after that in r9. Returns its number in r9, and in rbx the address of its arena.
.macro take_command
9:  cmp [rax + {COMMAND}], r9
    je 9b
    inc r9
    mov ecx, r9d
    and ecx, {LAST_PLACE}
    mov rbx, [rax + rcx * 8 + {PLACES}]
    mov ecx, {WINDOW}
    add rbx, rcx
.endm

.macro report_completed number
    mov qword ptr [rax + {COMPLETED}], \number
    ring {DONE}
.endm

# Boots, and takes the first command.
.macro begin
    xor r9d, r9d
    report_boot
    take_command
.endm

.text

# Completes every command without a look at it: how a guest goes on that has done its harm.
complete_everything:
    report_completed r9
    take_command
    jmp complete_everything

### At boot

# Its reference walk is right in no mode.
behaviour fails_its_self_test
    report_boot modes=0
1:  jmp 1b

# Its reference walk is right in more modes than there are.
behaviour walks_too_many_modes
    report_boot modes=-1
1:  jmp 1b

# An exception at boot.
behaviour reports_an_exception_at_boot
    mov eax, {CONTROL}
    mov qword ptr [rax + {PANIC}], 8 + 1
    ring {EXCEPTION}
1:  jmp 1b

# An exception with a number that no vector has.
behaviour reports_an_impossible_exception
    mov eax, {CONTROL}
    mov qword ptr [rax + {PANIC}], -1
    ring {EXCEPTION}
1:  jmp 1b

# The message of an exception, without one.
behaviour reports_no_exception
    begin
    ring {EXCEPTION}
    jmp complete_everything

# Reports its boot twice.
behaviour reports_its_boot_twice
    report_boot
    begin
    jmp complete_everything

# Reports the completion of a command that was not given instead of its boot.
behaviour completes_a_command_at_boot
    mov eax, {CONTROL}
    mov qword ptr [rax + {MODES_WALKED}], 5
    report_completed 1
1:  hlt
    jmp 1b

### The doorbell. QEMU has none, and the guest that goes on is the genuine one.

# Rings before it has booted.
behaviour rings_before_it_has_booted
    ring {DONE}
    jmp boot

# Rings with a message that does not exist.
behaviour rings_with_an_unknown_message
    ring 0x77
    jmp boot

# Rings with nothing.
behaviour rings_with_zero
    ring 0
    jmp boot

# Two bytes to the port of the doorbell.
behaviour rings_with_a_word
    mov ax, {DONE}
    out {DOORBELL_PORT}, ax
    jmp boot

# Four bytes.
behaviour rings_with_a_doubleword
    mov eax, {DONE}
    out {DOORBELL_PORT}, eax
    jmp boot

# A string of bytes: what is in the image.
behaviour rings_with_a_string
    mov esi, 0x100000 + {WINDOW}
    mov dx, {DOORBELL_PORT}
    mov ecx, 100
    rep outsb
    jmp boot

# Reads from the doorbell.
behaviour listens_at_the_doorbell
    in al, {DOORBELL_PORT}
    jmp boot

### Commands

# Completes a command that was not given.
behaviour completes_a_later_command
    begin
    lea rcx, [r9 + 1]
    report_completed rcx
1:  jmp 1b

# Completes the last of all numbers.
behaviour completes_the_last_of_all_commands
    begin
    mov rcx, -1
    report_completed rcx
1:  jmp 1b

# Takes back what it has completed.
behaviour completes_an_earlier_command
    begin
    report_completed r9
    take_command
    lea rcx, [r9 - 2]
    report_completed rcx
1:  jmp 1b

# Completes every command at once, without a look at it.
behaviour completes_without_doing_anything
    begin
    jmp complete_everything

# Completes every command twice.
behaviour completes_everything_twice
    begin
1:  report_completed r9
    ring {DONE}
    take_command
    jmp 1b

# Changes what the command names that the host has given.
behaviour rewrites_the_command
    begin
1:  mov ecx, r9d
    and ecx, {LAST_PLACE}
    mov qword ptr [rax + rcx * 8 + {PLACES}], -1
    report_completed r9
    take_command
    jmp 1b

# A mailbox that is nothing but ones.
behaviour fills_the_mailbox
    begin
    mov edi, {CONTROL}
    mov ecx, 512
    mov rax, -1
    rep stosq
    ring {DONE}
1:  jmp 1b

### Results

# Records, tables and header of nonsense.
behaviour fills_the_arena
    begin
1:  mov rdi, rbx
    mov ecx, 0x200000 / 8
    mov rax, 0xa5a5a5a5a5a5a5a5
    rep stosq
    mov eax, {CONTROL}
    report_completed r9
    take_command
    jmp 1b

# Records of nonsense.
behaviour fills_the_records
    begin
1:  lea rdi, [rbx + {USER_RECORDS}]
    mov ecx, 0x3000
    mov al, 0xa5
    rep stosb
    mov eax, {CONTROL}
    report_completed r9
    take_command
    jmp 1b

# Nonsense over the page tables that map the genuine guest; it runs on a root of its own.
behaviour breaks_the_own_tables
    mov edi, {OWN_TABLES}
    mov rdx, [rdi]
    mov ecx, 0x150000 + {WINDOW}
    mov [rcx], rdx
    mov ecx, 0x150000
    mov cr3, rcx
    begin
1:  mov edi, {OWN_TABLES}
    mov rdx, 0x000ffffffffff007
    mov [rdi], rdx
    report_completed r9
    take_command
    jmp 1b

### Ways not to come back from a command

# Takes a command, and works on it for ever.
behaviour loops_in_a_command
    begin
1:  jmp 1b

# Takes a command, and waits for an interrupt that cannot come.
behaviour halts_in_a_command
    begin
    cli
    hlt
1:  jmp 1b

# Takes a command, and an exception without a descriptor table.
behaviour triple_faults_in_a_command
    begin
    ud2

# From the first batch of the run on, works on the first access for a long time, and then leaves it to a
# KVM that emulates ring 0 to give up: on this access, then on the next. Others continue.
behaviour gives_up_slowly
    begin
1:  cmp r9, {PROBES}
    jb 4f
    lea rdi, [rbx + {USER_RECORDS}]
2:  mov esi, {STUBS} + {WINDOW}
    xor ecx, ecx
3:  mov rdx, [rdi]
    cmp rdx, [rsi + 8 * rcx]
    je 5f
    inc ecx
    cmp ecx, {ACCESS_STUBS}
    jb 3b
    add rdi, 24
    cmp qword ptr [rdi], 0
    jne 2b
    jmp 4f
5:  mov ecx, {WINDOW}
    sub rdi, rcx
    lea rsp, [rdi + 24]                 # where the host finds the record
    mov ecx, 100000
6:  dec ecx
    jnz 6b
    vzeroall
4:  mov eax, {CONTROL}
    report_completed r9
    take_command
    jmp 1b
