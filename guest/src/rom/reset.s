# From the reset vector into long mode (SDM "Processor Management and Initialization").
#
# Symbols are addresses below 1 MiB, where the ROM appears a second time. The first instructions run
# just below 4 GiB, in a segment whose base changes with the first far jump.

.equ CODE_32, 0x08
.equ DATA, 0x10
.equ CODE_64, 0x18

.equ BOOT_CR0, 0x80010011               # PG, WP, ET, PE; neither CD nor NW
.equ BOOT_CR4, 0x620                    # OSXMMEXCPT, OSFXSR, PAE
.equ EFER, 0xc0000080
.equ LME, 1 << 8
.equ NXE, 1 << 11
.equ HAS_NX, 1 << 20                    # CPUID 80000001h, EDX

.equ STAGE_SIZE, 64
.equ GDT_SIZE, 32

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
    mov fs, ax
    mov gs, ax
    mov ss, ax

    # The guest's tables do not map the ROM. The step into long mode therefore runs from a copy,
    # with its descriptors, in memory that the tables map at its physical address: the bottom of a
    # stack that is not in use yet.
    mov esi, offset stage
    mov edi, {STAGE}
    mov ecx, STAGE_SIZE
    cld
    rep movsb
    lgdt [stage_gdt_pointer]

    mov eax, BOOT_CR4
    mov cr4, eax
    mov eax, {OWN_TABLES}
    mov cr3, eax
    mov eax, 0x80000001
    cpuid
    mov eax, LME
    test edx, HAS_NX
    jz 1f
    or eax, NXE
1:
    xor edx, edx
    mov ecx, EFER
    wrmsr
    mov eax, BOOT_CR0
    mov ecx, {STAGE}
    jmp ecx

stage:
    mov cr0, eax
    far_jump CODE_64, {STAGE}+long_mode-stage
.code64
long_mode:
    mov eax, {ENTRY}
    mov rax, [rax]
    add rax, {WINDOW}
    jmp rax
    .org stage + STAGE_SIZE - GDT_SIZE
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff            # CODE_32: base 0, limit 4 GiB
    .quad 0x00cf93000000ffff            # DATA
    .quad 0x00af9b000000ffff            # CODE_64

.balign 8
gdt_pointer:
    .word GDT_SIZE - 1
    .long gdt
stage_gdt_pointer:
    .word GDT_SIZE - 1
    .long {STAGE}+gdt-stage

.section .reset, "ax"
.code16
    jmp start
.code64
