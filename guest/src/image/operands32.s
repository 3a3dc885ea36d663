# The stubs of 32-bit code whose registers are operands that move, behind its others in the table. None has ESP
# as one: in ring 0 an exception pushes its frame there.

.code32
# LoadOperands
    table_entry
    makes_no_access
    add esp, 4
    pop edi
    add esp, 4
    pop ecx
    add esp, 4
    ret

# StoreOperands
    table_entry
    makes_no_access
    xor eax, eax
    mov [esp - 4], ecx                  # AccessRecord.stub
    mov [esp], eax
    mov [esp + 4], esi                  # AccessRecord.address
    mov [esp + 8], eax
    mov [esp + 12], edi                 # AccessRecord.value
    mov [esp + 16], eax
    add esp, 20
    ret

.macro string_stub_32 instruction:vararg
    stub_start_32
    makes_access \instruction
    ret
.endm

    string_stub_32 movsb
    string_stub_32 movsw
    string_stub_32 movsd

# As `compare_strings`.
.macro compare_strings_32 instruction
    stub_start_32
    makes_access \instruction
    setz bl
    setb bh
    mov [esp - 8], ebx
    ret
.endm

    compare_strings_32 cmpsb
    compare_strings_32 cmpsw
    compare_strings_32 cmpsd

    string_stub_32 rep movsb
.code64
