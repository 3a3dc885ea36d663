# From the reset vector to the payload of a medium (tape/payload.rs) that is the first IDE disk, without firmware. As in
# rom/reset.s, symbols are addresses below 1 MiB, where the ROM appears a second time.

.equ CODE_32, 0x08
.equ DATA, 0x10

# The ports of the first IDE channel (ATA, "I/O registers").
.equ IDE_DATA, 0x1f0
.equ IDE_COUNT, 0x1f2
.equ IDE_LBA_0, 0x1f3
.equ IDE_DRIVE, 0x1f6
.equ IDE_COMMAND, 0x1f7
.equ LBA, 0xe0                          # in the drive register: the first drive, with addresses of 28 bits
.equ READ_SECTORS, 0x20
.equ BUSY, 0x80                         # in the status
.equ HAS_DATA, 0x08
.equ FAILED, 0x21                       # an error, or a fault of the drive

.equ SECTOR_SIZE, 512

# A far jump with a 32-bit offset. The assembler's own form takes two symbols, or only 16 bits.
.macro far_jump selector, target
    .byte 0xea
    .long \target
    .word \selector
.endm

.section .rom, "ax"
.code16
.global start
start:
    cli
    lgdtd cs:[gdt_pointer - {ROM}]
    mov eax, cr0
    or eax, 1
    mov cr0, eax
    .byte 0x66                          # a 32-bit offset in 16-bit code
    far_jump CODE_32, protected

.code32
protected:
    mov ax, DATA
    mov ds, ax
    mov es, ax
    mov ss, ax
    cld

    # The boot sector has the size of the payload.
    mov edi, {LOAD}
    xor ebx, ebx
    mov esi, offset with_size
    jmp read_sector
with_size:
    mov ebp, [{LOAD} + {BYTES_AT}]

    mov edi, {LOAD}
    mov ebx, {PAYLOAD} / SECTOR_SIZE
    mov esi, offset next_sector
next_sector:
    sub ebp, SECTOR_SIZE
    jae read_sector
    mov ecx, {ENTRY}
    jmp ecx

# Reads sector ebx to edi, moves both on, and goes to esi. Without the drive or the sector it stops.
read_sector:
    mov edx, IDE_COMMAND
1:
    in al, dx
    test al, BUSY
    jnz 1b

    mov edx, IDE_DRIVE
    mov eax, ebx
    shr eax, 24
    or al, LBA
    out dx, al
    mov edx, IDE_COUNT
    mov al, 1
    out dx, al
    mov edx, IDE_LBA_0
    mov eax, ebx
    out dx, al
    inc edx
    shr eax, 8
    out dx, al
    inc edx
    shr eax, 8
    out dx, al
    mov edx, IDE_COMMAND
    mov al, READ_SECTORS
    out dx, al
2:
    in al, dx
    test al, BUSY
    jnz 2b
    test al, FAILED
    jnz failed
    test al, HAS_DATA
    jz 2b

    mov edx, IDE_DATA
    mov ecx, SECTOR_SIZE / 2
    rep insw
    inc ebx
    jmp esi

failed:
    hlt
    jmp failed

.balign 8
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff            # CODE_32: base 0, limit 4 GiB
    .quad 0x00cf93000000ffff            # DATA
gdt_end:
gdt_pointer:
    .word gdt_end - gdt - 1
    .long gdt

.section .reset, "ax"
.code16
    jmp start
.code64
