# The first sector of a hard disk or USB stick, and the boot image of a CD: 512 bytes that a BIOS loads to 0x7c00 and
# enters in real mode. They load the payload, which lies PAYLOAD bytes into the medium, to LOAD, and enter it in
# protected mode. The BIOS reads to below 1 MiB; from there protected mode takes each piece up.

.equ MAX_SECTOR, 2048                   # of a CD
.equ PARAMETERS, 0x7e00                 # of the drive, as the BIOS reports them
.equ PARAMETERS_SIZE, 0x1e
.equ SECTOR_SIZE_AT, 24                 # in them
.equ BUFFER, 0x1000                     # the segment of a piece
.equ DATA_32, 0x08
.equ CODE_32, 0x10

.section .sector, "awx"
.code16
.global sector
sector:
    cli
    ljmp 0, offset in_segment_0
in_segment_0:
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x7c00
    sti
    mov [drive], dl

    # Address bit 20, by the BIOS or else by port 92h.
    mov ax, 0x2401
    int 0x15
    in al, 0x92
    test al, 2
    jnz 2f
    or al, 2
    and al, 0xfe
    out 0x92, al
2:
    # Bytes of a sector: 2048 of a CD, 512 of all others, whatever they report.
    mov word ptr [PARAMETERS], PARAMETERS_SIZE
    mov si, PARAMETERS
    mov dl, [drive]
    mov ah, 0x48
    int 0x13
    mov ax, 512
    jc 3f
    cmp word ptr [PARAMETERS + SECTOR_SIZE_AT], MAX_SECTOR
    jne 3f
    mov ax, MAX_SECTOR
3:
    movzx ebx, ax
    xor edx, edx
    mov eax, {PAYLOAD}
    div ebx
    mov [first_sector], eax
    mov eax, {PIECE}
    div ebx
    mov [sectors], ax
    movzx ebp, ax

next_piece:
    mov si, offset packet
    mov dl, [drive]
    mov ah, 0x42
    int 0x13
    jc failed
    add [first_sector], ebp

    # Up to LOAD: with a segment of 4 GiB that protected mode leaves behind in ds and es.
    cli
    push ds
    lgdt [gdt_pointer]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp in_protected_mode
in_protected_mode:
    mov bx, DATA_32
    mov ds, bx
    mov es, bx
    and al, 0xfe
    mov cr0, eax
    jmp in_real_mode
in_real_mode:
    mov esi, BUFFER << 4
    mov edi, cs:[place]
    mov ecx, {PIECE} / 4
    cld
    .byte 0x67                          # with 32-bit addresses
    rep movsd
    mov cs:[place], edi
    pop ds
    xor ax, ax
    mov es, ax
    sti
    sub dword ptr [bytes], {PIECE}
    ja next_piece

    cli
    lgdt [gdt_pointer]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    .byte 0x66, 0xea                    # a far jump with a 32-bit offset
    .long {ENTRY}
    .word CODE_32

# The BIOS cannot read the medium: say so on the screen and to the serial port.
failed:
    mov si, offset message
4:
    lodsb
    test al, al
    jz 5f
    mov dx, 0x3f8
    out dx, al
    mov ah, 0x0e
    mov bx, 7
    int 0x10
    jmp 4b
5:
    hlt
    jmp 5b

message:
    .asciz "crosswalk: cannot read\r\n"

.balign 8
gdt:
    .quad 0
    .quad 0x00cf93000000ffff            # DATA_32: base 0, limit 4 GiB
    .quad 0x00cf9b000000ffff            # CODE_32
gdt_end:
gdt_pointer:
    .word gdt_end - gdt - 1
    .long gdt

place:
    .long {LOAD}
# What to read: so many sectors from there into the buffer.
packet:
    .word 0x10
sectors:
    .word 0, 0, BUFFER
first_sector:
    .quad 0
drive:
    .byte 0

# The maker of the medium fills in the size of the payload, and the partition table behind it.
    .org sector + {BYTES_AT}
bytes:
    .long 0
    .org sector + 510
    .word 0xaa55
