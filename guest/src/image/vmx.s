# VMX: the part of a nested batch (nested.s) that uses it, and the report about it. L1 is in 64-bit code.
#
# There is one VMCS, which VMCLEAR makes ready for each record, so that each is launched. The state of L1 in it is
# written once; everything else comes from the record's list of fields.

.equ CR4_VMXE_BIT, 13
.equ FEATURE_CONTROL, 0x3a
.equ LOCKED_WITH_VMX, 5                 # the lock, and VMX outside SMX
.equ INVEPT_GLOBAL, 2

# Encodings of fields (SDM "Field Encoding in VMCS").
.equ VM_INSTRUCTION_ERROR, 0x4400
.equ HOST_ES, 0xc00
.equ HOST_CS, 0xc02
.equ HOST_SS, 0xc04
.equ HOST_DS, 0xc06
.equ HOST_FS, 0xc08
.equ HOST_GS, 0xc0a
.equ HOST_TR, 0xc0c
.equ HOST_EFER, 0x2c02
.equ HOST_SYSENTER_CS, 0x4c00
.equ HOST_CR0, 0x6c00
.equ HOST_CR3, 0x6c02
.equ HOST_CR4, 0x6c04
.equ HOST_FS_BASE, 0x6c06
.equ HOST_GS_BASE, 0x6c08
.equ HOST_TR_BASE, 0x6c0a
.equ HOST_GDTR_BASE, 0x6c0c
.equ HOST_IDTR_BASE, 0x6c0e
.equ HOST_SYSENTER_ESP, 0x6c10
.equ HOST_SYSENTER_EIP, 0x6c12
.equ HOST_RSP, 0x6c14
.equ HOST_RIP, 0x6c16

# Writes a field of the VMCS.
.macro write_field field, value
    mov ecx, \field
    mov eax, \value
    vmwrite rcx, rax
.endm

# Puts the physical address of a VMX region of the arena into a word, and the processor's revision into the region.
.macro prepare_region offset, pointer
    mov eax, [rip + saved_header]
    add eax, \offset
    mov [rip + \pointer], rax
    mov ecx, [REPORT + {VMX_BASIC} * 8]
    btr ecx, 31
    mov [rax + {WINDOW}], ecx
.endm

.text
# From `run_nested` (nested.s), with the first record in nested_record.
run_vmx:
    mov ecx, FEATURE_CONTROL
    rdmsr
    bt eax, 0
    jc 2f
    or eax, LOCKED_WITH_VMX
    wrmsr
2:
    mov rax, cr0
    or rax, [REPORT + {VMX_CR0_FIXED} * 8]
    mov cr0, rax
    mov rax, cr4
    or rax, [REPORT + {VMX_CR0_FIXED} * 8 + 16]
    bts rax, CR4_VMXE_BIT
    mov cr4, rax
    prepare_region {VMXON_REGION}, vmx_pointer
    vmxon [rip + vmx_pointer]
    jbe end_without_vmx                 # no record has run then
    prepare_region {VMCS}, vmx_pointer
    vmclear [rip + vmx_pointer]
    vmptrld [rip + vmx_pointer]
    call write_host_state

next_vmx:
    mov rbx, [rip + nested_record]
    cmp qword ptr [rbx + {NESTED_BLOCK}], 0
    je end_vmx
    vmclear [rip + vmx_pointer]
    vmptrld [rip + vmx_pointer]
    mov rsi, [rbx + {NESTED_BLOCK}]
    call write_fields
    jbe vmx_failed
    mov [rip + fields_to_read], rsi
    call load_nested_keys
    mov eax, INVEPT_GLOBAL              # without VPIDs, an entry drops everything else
    invept rax, [rip + no_context]
    xor eax, eax
    mov cr2, rax
    xor ecx, ecx
    xor edx, edx
    mov rax, [rbx + {NESTED_RAX}]
    mov rbp, [rbx + {NESTED_BACK}]
    mov r13, rbp
    vmlaunch
vmx_failed:
    mov rbx, [rip + nested_record]
    mov eax, 0                          # without a VMCS there is no error
    jc 3f
    mov ecx, VM_INSTRUCTION_ERROR
    vmread rax, rcx
3:
    mov dword ptr [rbx + {NESTED_END}], eax
    mov dword ptr [rbx + {NESTED_END} + 4], {NESTED_FAILED}
    jmp after_vmx

# Where L1 goes on after an exit, on its own stack.
vmx_exit:
    mov rbx, [rip + nested_record]
    mov [rbx + {NESTED_RAX}], rax
    mov [rbx + {NESTED_RCX}], rcx
    mov rax, cr2
    mov [rbx + {NESTED_CR2}], rax
    mov qword ptr [rbx + {NESTED_END}], {NESTED_EXITED}
    mov rsi, [rip + fields_to_read]
    call read_fields
after_vmx:
    call unload_nested_keys
    add qword ptr [rip + nested_record], {NESTED_RECORD_SIZE}
    jmp next_vmx

end_vmx:
    vmclear [rip + vmx_pointer]
    vmxoff
    lgdt [rip + GDT_POINTER]            # an exit has made the limits 0xffff
    lidt [rip + IDT_POINTER]
end_without_vmx:
    mov rax, cr4
    btr rax, CR4_VMXE_BIT
    mov cr4, rax
    jmp end_supervisor                  # boot.s

# Writes the fields of the list at rsi, which is behind it then. CF or ZF is set if one cannot be written.
write_fields:
    mov rcx, [rsi]
    add rsi, 16
    cmp rcx, -1
    je 4f
    vmwrite rcx, [rsi - 8]
    ja write_fields
    ret
4:
    test rsi, rsi                       # neither CF nor ZF
    ret

# Reads the fields of the list at rsi into it.
read_fields:
    mov rcx, [rsi]
    cmp rcx, -1
    je 5f
    vmread [rsi + 8], rcx
    add rsi, 16
    jmp read_fields
5:
    ret

# Writes the state in which L1 goes on after an exit.
write_host_state:
    write_field HOST_CS, {SUPERVISOR_CODE}
    write_field HOST_SS, {SUPERVISOR_DATA}
    write_field HOST_DS, {SUPERVISOR_DATA}
    write_field HOST_ES, {SUPERVISOR_DATA}
    write_field HOST_FS, 0
    write_field HOST_GS, 0
    write_field HOST_TR, {TASK_STATE}
    write_field HOST_FS_BASE, 0
    write_field HOST_GS_BASE, 0
    write_field HOST_TR_BASE, {TASK_STATE_ADDRESS}
    write_field HOST_SYSENTER_CS, 0
    write_field HOST_SYSENTER_ESP, 0
    write_field HOST_SYSENTER_EIP, 0
    write_field HOST_RSP, {FAULT_STACK}
    mov ecx, HOST_RIP
    lea rax, [rip + vmx_exit]
    vmwrite rcx, rax
    mov ecx, HOST_GDTR_BASE
    vmwrite rcx, [rip + GDT_POINTER + 2]
    mov ecx, HOST_IDTR_BASE
    vmwrite rcx, [rip + IDT_POINTER + 2]
    mov ecx, HOST_CR0
    mov rax, cr0
    vmwrite rcx, rax
    mov ecx, HOST_CR3
    mov rax, cr3
    vmwrite rcx, rax
    mov ecx, HOST_CR4
    mov rax, cr4
    vmwrite rcx, rax
    mov ecx, EFER
    rdmsr
    shl rdx, 32
    or rax, rdx
    mov ecx, HOST_EFER
    vmwrite rcx, rax
    ret

# Once, at boot: reports what CPUID does not say about VMX, if there is VMX.
.equ HAS_VMX, 5
# Bits of the upper halves.
.equ HAS_SECONDARY_CONTROLS, 31
.equ HAS_EPT_OR_VPID, 1 << 1 | 1 << 5
.equ HAS_TRUE_CONTROLS, 23
.equ REPORT, {CONTROL} + {WINDOW} + {CONTROL_VMX_MSRS}

.macro report_msrs first, last
    mov ebx, \first
2:
    mov ecx, ebx
    rdmsr
    mov [REPORT + rbx * 8 - {VMX_FIRST} * 8], eax
    mov [REPORT + rbx * 8 - {VMX_FIRST} * 8 + 4], edx
    inc ebx
    cmp ebx, \last
    jbe 2b
.endm

report_vmx:
    mov eax, 1
    cpuid
    bt ecx, HAS_VMX
    jnc 9f
    report_msrs {VMX_FIRST}, {VMX_FIRST} + 10
    bt dword ptr [REPORT + {VMX_PROCESSOR_BASED} * 8 + 4], HAS_SECONDARY_CONTROLS
    jnc 3f
    report_msrs {VMX_FIRST} + {VMX_SECONDARY}, {VMX_FIRST} + {VMX_SECONDARY}
    test edx, HAS_EPT_OR_VPID
    jz 3f
    report_msrs {VMX_FIRST} + {VMX_EPT_VPID}, {VMX_FIRST} + {VMX_EPT_VPID}
3:
    bt dword ptr [REPORT + {VMX_BASIC} * 8 + 4], HAS_TRUE_CONTROLS
    jnc 4f
    report_msrs {VMX_FIRST} + 13, {VMX_FIRST} + 16
4:
    mov ecx, {VMX_FEATURE_CONTROL_MSR}
    rdmsr
    mov [REPORT + {VMX_FEATURE_CONTROL} * 8], eax
    mov [REPORT + {VMX_FEATURE_CONTROL} * 8 + 4], edx
9:
    ret

.data
vmx_pointer: .quad 0
fields_to_read: .quad 0
no_context: .quad 0, 0
.text
