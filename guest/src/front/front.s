# The entries of an image that boots by itself, and the way to the guest. All of it is position-dependent: a
# loader puts it at LOAD.
#
# The guest's image, its own tables and the control page go where they belong (layout.rs). Then the guest starts as
# under a host: in long mode, on its own tables, in ring 0. A processor without long mode gets the player in
# 32-bit code (player32.s).

.equ MULTIBOOT_MAGIC, 0x1badb002
.equ MULTIBOOT_FLAGS, 0x00010003        # pages aligned, memory information, and the addresses below

.equ OWN_CR0, 0x80010011                # PG WP ET PE
.equ OWN_CR4, 0x620                     # OSXMMEXCPT OSFXSR PAE
.equ EFER, 0xc0000080
.equ EFER_LME, 1 << 8
.equ EFER_NXE, 1 << 11
.equ HAS_NX, 20                         # CPUID 80000001h, EDX
.equ HAS_LONG_MODE, 29                  # the same

.equ CODE_32, 0x08
.equ DATA, 0x10
.equ CODE_64, 0x18

.equ COM1, 0x3f8
.equ COM1_STATUS, COM1 + 5
.equ ROOM, 0x20                         # in the status: a byte, or a whole FIFO, can be written
.equ SILENCE, 0x40                      # in the status: everything was sent
.equ PATIENCE, 0x1000000                # polls of a port that does not answer

# A far jump with a 32-bit offset.
.macro far_jump selector, target
    .byte 0xea
    .long \target
    .word \selector
.endm

.section .front, "awx"
.code32
.global front
front:
    .long MULTIBOOT_MAGIC, MULTIBOOT_FLAGS, -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)
    # Its own address, where to load the file from here on, where that ends, where the memory that it uses ends
    # (the maker of the image knows both), and the entry.
    .long front, front, 0, 0, entry_32

    .org front + {PARAMETERS_AT}
.global parameters
parameters:
    .space {PARAMETERS_SIZE}

    .org front + {ENTRY_32_AT}
.global entry_32
entry_32:
    jmp start_32

    .org front + {ENTRY_64_AT}
.code64
.global entry_64
entry_64:
    jmp start_64

.balign 8
.global front_gdt
front_gdt:
    .quad 0
    .quad 0x00cf9b000000ffff            # CODE_32: base 0, limit 4 GiB
    .quad 0x00cf93000000ffff            # DATA
    .quad 0x00af9b000000ffff            # CODE_64
    .quad 0, 0, 0
    # As in the image's own table, whose code the player in 32-bit code enters: code, and data behind it.
    .quad 0x00cf9b000000ffff
    .quad 0x00cf93000000ffff
front_gdt_end:
.global front_gdt_pointer
front_gdt_pointer:
    .word front_gdt_end - front_gdt - 1
    .long front_gdt, 0

# In 32-bit code: copies bytes from where a parameter says.
.macro copy_32 to, from, bytes
    mov edi, \to
    mov esi, [parameters + \from]
    mov ecx, \bytes
    rep movsb
.endm

# In protected mode without paging.
.code32
start_32:
    cli
    cld
    lgdt [front_gdt_pointer]
    far_jump CODE_32, 2f
2:
    mov ax, DATA
    mov ds, ax
    mov es, ax
    mov fs, ax
    mov gs, ax
    mov ss, ax
    mov esp, offset stack_top
    push 2                              # no flags: neither NT nor AC
    popfd

    call open_serial_port
    mov edi, {IMAGE}
    mov ecx, {IMAGE_SIZE} / 4
    xor eax, eax
    rep stosd
    copy_32 {IMAGE}, {AT_IMAGE}, [parameters + {AT_IMAGE_BYTES}]
    copy_32 {OWN_TABLES}, {AT_OWN_TABLES}, {OWN_TABLES_SIZE}
    copy_32 {CONTROL}, {AT_CONTROL}, 0x1000

    mov eax, 0x80000000
    cpuid
    cmp eax, 0x80000001
    jb 3f
    mov eax, 0x80000001
    cpuid
    bt edx, HAS_LONG_MODE
    jc 4f
3:
    jmp play_32                         # player32.s
4:
    mov eax, OWN_CR4
    mov cr4, eax
    mov eax, {OWN_TABLES}
    mov cr3, eax
    mov eax, EFER_LME
    bt edx, HAS_NX
    jnc 5f
    or eax, EFER_NXE
5:
    xor edx, edx
    mov ecx, EFER
    wrmsr
    mov eax, OWN_CR0
    mov cr0, eax
    far_jump CODE_64, in_long_mode

.code64
in_long_mode:
    mov eax, {ENTRY}
    mov rax, [rax]
    add rax, {WINDOW}
    jmp rax

# In long mode, on tables of the loader that map all of this to its own addresses.
start_64:
    cli
    cld
    mov esp, offset stack_top
    push 2
    popfq
    lgdt [front_gdt_pointer]
    push CODE_64
    push offset in_own_segments
    retfq
in_own_segments:
    mov ax, DATA
    mov ds, ax
    mov es, ax
    mov ss, ax

    # The code below works in both modes, but for its operands' size.
    call open_serial_port_64
    mov edi, {IMAGE}
    mov ecx, {IMAGE_SIZE} / 4
    xor eax, eax
    rep stosd
    mov edi, {IMAGE}
    mov esi, [parameters + {AT_IMAGE}]
    mov ecx, [parameters + {AT_IMAGE_BYTES}]
    rep movsb
    mov edi, {OWN_TABLES}
    mov esi, [parameters + {AT_OWN_TABLES}]
    mov ecx, {OWN_TABLES_SIZE}
    rep movsb
    mov edi, {CONTROL}
    mov esi, [parameters + {AT_CONTROL}]
    mov ecx, 0x1000
    rep movsb

    mov eax, OWN_CR4
    mov cr4, rax
    mov eax, 0x80000001
    cpuid
    mov ecx, EFER
    mov eax, EFER_LME | 0x400           # with LMA
    bt edx, HAS_NX
    jnc 3f
    or eax, EFER_NXE
3:
    xor edx, edx
    wrmsr
    mov eax, {OWN_TABLES}
    mov cr3, rax
    mov eax, OWN_CR0
    mov cr0, rax
    jmp in_long_mode

# Sets the first serial port to 115200 baud, 8 bits, with a FIFO if it has one.
.macro open_port
    mov edx, COM1 + 1
    xor eax, eax
    out dx, al                          # no interrupts
    mov edx, COM1 + 3
    mov al, 0x80
    out dx, al                          # the divisor
    mov edx, COM1
    mov al, 1
    out dx, al
    inc edx
    xor eax, eax
    out dx, al
    mov edx, COM1 + 3
    mov al, 3
    out dx, al                          # 8 bits, no parity
    mov edx, COM1 + 2
    mov al, 0xc7
    out dx, al                          # the FIFO
    mov edx, COM1 + 4
    mov al, 3
    out dx, al
    mov edx, COM1 + 2
    in al, dx
    mov ecx, 1
    and al, 0xc0
    cmp al, 0xc0                        # a FIFO that works
    jne 99f
    mov ecx, 16
99:
    mov [parameters + {AT_BURST}], ecx
    ret
.endm

.code32
open_serial_port:
    open_port
.code64
open_serial_port_64:
    open_port

.bss
.balign 16
stack:
    .space 0x1000
.global stack_top
stack_top:
.text
