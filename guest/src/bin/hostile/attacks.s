# What code in ring 0 can do to a machine. Every behaviour starts where the genuine guest starts: in
# ring 0, in long mode, in the supervisor window, without a stack and without descriptor tables.

.macro behaviour name
    .global hostile_\name
hostile_\name:
.endm

# Writes a byte, a word or a doubleword to a port.
.macro port_write port, value, register=al
    mov eax, \value
    mov dx, \port
    out dx, \register
.endm

# Lets every exception and interrupt lead to \handler, with a descriptor table and a stack in the memory
# after the image, and the genuine guest's GDT.
.macro take_exceptions handler
    lgdt [rip + GDT_POINTER]
    lea rax, [rip + \handler]
    mov rcx, rax
    and eax, 0xffff
    shr ecx, 16
    shl rcx, 48
    or rax, rcx
    mov rcx, 0x8e0000080000             # an interrupt gate to ring-0 code
    or rax, rcx
    mov edi, 0x150000 + {WINDOW}
    mov esp, edi
    mov ecx, 255
8:  mov [rdi], rax
    mov qword ptr [rdi + 8], 0
    add rdi, 16
    dec ecx
    jnz 8b
    mov word ptr [rdi], 0xfef           # the table's limit, then its address
    mov eax, 0x150000 + {WINDOW}
    mov [rdi + 2], rax
    lidt [rdi]
.endm

# Maps a GiB of physical memory at 2 GiB, in pages of 2 MiB, through a page directory in the memory after
# the image.
.macro map_gigabyte physical
    mov eax, 0x151000 + {WINDOW}
    mov ecx, \physical + 0x83
    mov edx, 512
8:  mov [rax], rcx
    add rax, 8
    add rcx, 0x200000
    dec edx
    jnz 8b
    mov eax, {OWN_TABLES}
    mov rax, [rax]
    and rax, -4096                      # the page-directory-pointer table
    mov ecx, {WINDOW}
    add rax, rcx
    mov qword ptr [rax + 16], 0x151003
    mov rcx, cr3
    mov cr3, rcx
.endm

.text

### Ways to end

# Never reports that it has booted.
behaviour loops_at_boot
    jmp hostile_loops_at_boot

# Waits for an interrupt that cannot come.
behaviour halts_at_boot
    cli
    hlt
    jmp hostile_halts_at_boot

# An exception without a descriptor table.
behaviour triple_faults_at_boot
    ud2

# Runs what is at address 0: nothing is mapped there.
behaviour jumps_to_address_zero
    xor eax, eax
    jmp rax

# Turns paging off, from code that is at the same physical address. Long mode has no such state.
behaviour turns_paging_off
    lea rax, [rip + 1f]
    mov ecx, {WINDOW}
    sub rax, rcx
    jmp rax
1:
    mov rax, cr0
    btr rax, 31
    mov cr0, rax
    ud2

# Loads a root without memory.
behaviour loads_a_root_outside_memory
    mov rax, 0xa0000000
    mov cr3, rax
    ud2

# Sets a bit of CR4 that no processor has.
behaviour sets_reserved_control_bits
    mov rax, cr4
    bts rax, 63
    mov cr4, rax
    ud2

# Every page fault leads to the next.
behaviour faults_for_ever
    take_exceptions 1f
    mov rax, [0]
1:  add rsp, 8
    iretq

# A breakpoint whose handler is a breakpoint, until the stack has no memory.
behaviour nests_breakpoints
    take_exceptions 1f
1:  int3

### Its own memory

# Overwrites the image while it runs.
behaviour overwrites_its_image
    mov edi, 0x100000 + {WINDOW}
    mov ecx, 0x80000
    mov al, 0xcc                        # int3
    rep stosb
    ud2

# Fills all low memory: the image, its page tables, the mailbox, both arenas.
behaviour fills_all_memory
    mov edi, 0x100000 + {WINDOW}
    mov ecx, 0xe0000
    mov rax, -1
    rep stosq
    ud2

# Takes its own page tables away.
behaviour clears_its_page_tables
    mov edi, {OWN_TABLES}
    xor eax, eax
    mov [rdi], rax
    mov rax, cr3
    mov cr3, rax
    ud2

# Descriptor tables of nonsense, then an exception.
behaviour loads_nonsense_descriptors
    mov edi, 0x150000 + {WINDOW}
    mov rax, -1
    mov [rdi], rax
    mov [rdi + 8], rax
    lgdt [rdi]
    lidt [rdi]
    int3

# Runs what is at an address without memory, up to where nothing is mapped.
behaviour runs_outside_memory
    map_gigabyte 0x60000000
    mov eax, 0xbffffff0
    jmp rax

# Writes to an address without memory.
behaviour writes_outside_memory
    map_gigabyte 0x80000000
    mov eax, 0xa0000000
    mov [rax], rax
    jmp boot

### Instructions of other rings and modes

# Enters a guest of its own, under SVM, from a control block of ones.
behaviour runs_a_guest_of_its_own
    mov ecx, 0xc0000080                 # EFER
    rdmsr
    or eax, 0x1000                      # SVME
    wrmsr
    mov edi, 0x150000 + {WINDOW}
    mov ecx, 512
    mov rax, -1
    rep stosq
    mov eax, 0x150000
    vmrun
    ud2

# Leaves VMX operation, in which it is not.
behaviour leaves_vmx
    vmxoff
    ud2

# Calls a hypervisor.
behaviour calls_a_hypervisor
    vmcall
    ud2

# Returns from system management mode, in which it is not.
behaviour leaves_system_management
    rsm
    ud2

# Reads and writes model-specific registers that may or may not exist; a fault resets the machine.
behaviour writes_unknown_registers
    mov ecx, 0x12345678
    rdmsr
    not eax
    wrmsr
    ud2

# Points system calls, the task state and the debug store at nonsense.
behaviour writes_registers_of_the_system
    mov ecx, 0xc0000082                 # LSTAR
    mov eax, -1
    mov edx, -1
    wrmsr
    mov ecx, 0xc0000101                 # the base of GS
    wrmsr
    mov ecx, 0x1b                       # the APIC's base
    wrmsr
    ud2

### Devices

# The reset control register of a chipset.
behaviour resets_by_port_cf9
    port_write 0xcf9, 6
    jmp boot

# The reset line of the keyboard controller.
behaviour resets_by_the_keyboard
    port_write 0x64, 0xfe
    jmp boot

# The fast reset of system control port A.
behaviour resets_by_port_92
    port_write 0x92, 1
    jmp boot

# The power management of a PC, at the ports where firmware puts it: first it enables them.
behaviour turns_the_power_off
    port_write 0xcf8, 0x80000b40, eax
    port_write 0xcfc, 0xb001, eax
    port_write 0xcf8, 0x80000b80, eax
    port_write 0xcfc, 1, al
    port_write 0xb004, 0x2000, ax
    port_write 0x604, 0x2000, ax
    jmp boot

# The exit devices of emulators.
behaviour leaves_by_a_debug_port
    port_write 0x501, 0x31
    port_write 0xf4, 0x10
    port_write 0x8900, 0x53
    jmp boot

# Fills the serial ports, the parallel port and the debug console.
behaviour floods_the_serial_port
    mov esi, 5000
1:  port_write 0x3f8, 0x1b
    port_write 0x2f8, 0x9b
    port_write 0x378, 0x07
    port_write 0xe9, 0x0a
    dec esi
    jnz 1b
    jmp boot

# Programs the timer and the interrupt controllers, with interrupts on their way to no handler.
behaviour starts_the_timer
    port_write 0x43, 0x34
    port_write 0x40, 0
    port_write 0x40, 1
    port_write 0x20, 0x11
    port_write 0x21, 0
    port_write 0x21, 4
    port_write 0x21, 1
    port_write 0x21, 0
    jmp boot

# The same, with interrupts enabled and no descriptor table for them.
behaviour takes_interrupts_unprepared
    port_write 0x43, 0x34
    port_write 0x40, 0
    port_write 0x40, 1
    port_write 0x20, 0x11
    port_write 0x21, 0x20
    port_write 0x21, 4
    port_write 0x21, 1
    port_write 0x21, 0
    sti
1:  jmp 1b

# A DMA transfer over the image.
behaviour programs_dma
    port_write 0x0d, 0
    port_write 0x04, 0
    port_write 0x04, 0
    port_write 0x81, 0x10
    port_write 0x05, 0xff
    port_write 0x05, 0xff
    port_write 0x0b, 0x49
    port_write 0x0a, 2
    port_write 0x09, 6
    jmp boot

# Turns every register of every PCI device.
behaviour scribbles_on_the_pci_bus
    mov esi, 0x80000000
1:  mov eax, esi
    mov dx, 0xcf8
    out dx, eax
    mov dx, 0xcfc
    mov eax, -1
    out dx, eax
    add esi, 4
    cmp esi, 0x80002000
    jb 1b
    jmp boot

# Asks the firmware interface for everything it has, and has it write to memory.
behaviour reads_the_firmware_interface
    mov esi, 0x40
1:  mov eax, esi
    mov dx, 0x510
    out dx, ax
    mov dx, 0x511
    in al, dx
    dec esi
    jnz 1b
    port_write 0x514, 0, eax
    port_write 0x518, 0x00003000, eax
    jmp boot

# Writes to the memory of devices: the graphics adapter, the ROM, the I/O APIC.
behaviour writes_device_memory
    map_gigabyte 0
    mov edi, 0x800a0000
    mov ecx, 0x4000
    mov rax, -1
    rep stosq
    mov edi, 0x800ff000
    mov ecx, 0x200
    rep stosq
    map_gigabyte 0xc0000000
    mov eax, 0xbec00000
    mov [rax], eax
    mov [rax + 16], eax
    jmp boot

# Maps the local APIC, turns it on, and loads its address into rbx.
.macro map_apic
    map_gigabyte 0xc0000000
    mov ebx, 0xbee00000                 # 0xfee00000
    mov dword ptr [rbx + 0xf0], 0x1ff
.endm

# Non-maskable interrupts to itself, one after the other.
behaviour sends_itself_nmis
    map_apic
1:  mov dword ptr [rbx + 0x300], 0x44400
    jmp 1b

# INIT to itself: the processor waits for a start-up that nobody sends.
behaviour sends_itself_init
    map_apic
    mov dword ptr [rbx + 0x300], 0x44500
1:  jmp 1b

# A start-up to itself, at its own image.
behaviour sends_itself_startup
    map_apic
    mov dword ptr [rbx + 0x300], 0x44610
    jmp boot

# The timer of the APIC, a thousand times a second.
behaviour starts_the_apic_timer
    map_apic
    mov dword ptr [rbx + 0x3e0], 0xb
    mov dword ptr [rbx + 0x320], 0x20040
    mov dword ptr [rbx + 0x380], 1000000
    jmp boot
