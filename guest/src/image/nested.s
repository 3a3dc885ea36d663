# A nested batch: ring 0 is a hypervisor (L1), and goes through records, each of which runs a guest of its own
# (L2) up to its exit. The host has written the control blocks, so that little is left to do here.
#
# L2 may leave anything in any register. So the record is kept in memory, and everything is loaded again after an
# exit: #VMEXIT itself brings back rsp, the control registers and the flat segments.

.equ VM_HSAVE_PA, 0xc0010117
.equ CR4_PKE_BIT, 22
.equ A_FLAG, 1 << 5

.text
# From `run_lists` (boot.s), with the supervisor address of the header in rbx.
run_nested:
    mov rsp, {FAULT_STACK}
    mov rax, [rbx + {HEADER_NESTED_RECORDS}]
    mov [rip + nested_record], rax
    cmp qword ptr [rbx + {HEADER_VIRTUALIZER}], {SVM}
    jne run_vmx                         # vmx.s

    mov eax, [rip + saved_header]
    add eax, {HOST_SAVE_AREA}
    xor edx, edx
    mov ecx, VM_HSAVE_PA
    wrmsr
next_svm:
    mov rbx, [rip + nested_record]
    cmp qword ptr [rbx + {NESTED_BLOCK}], 0
    je end_svm
    call load_nested_keys
    mov rax, [rbx + {NESTED_BLOCK}]
    mov rbp, [rbx + {NESTED_BACK}]
    mov r13, rbp
    xor ecx, ecx
    xor edx, edx
    vmrun rax
    mov rbx, [rip + nested_record]
    mov [rbx + {NESTED_RCX}], rcx
    mov qword ptr [rbx + {NESTED_END}], {NESTED_EXITED}
    call unload_nested_keys
    add qword ptr [rip + nested_record], {NESTED_RECORD_SIZE}
    jmp next_svm
end_svm:
    stgi
    jmp end_supervisor                  # boot.s

# Loads the protection keys of L2 whose record is at rbx: neither SVM nor VMX does.
load_nested_keys:
    test byte ptr [rbx + {NESTED_LOADS}], {LOADS_PKRU}
    jz 2f
    mov esi, [rbx + {NESTED_PKRU}]
    call write_pkru
2:
    test byte ptr [rbx + {NESTED_LOADS}], {LOADS_PKRS}
    jz 3f
    mov eax, [rbx + {NESTED_PKRS}]
    xor edx, edx
    mov ecx, PKRS
    wrmsr
3:
    ret

# Makes them 0 again, since L1's own pages have key 0.
unload_nested_keys:
    test byte ptr [rbx + {NESTED_LOADS}], {LOADS_PKRU}
    jz 2f
    xor esi, esi
    call write_pkru
2:
    test byte ptr [rbx + {NESTED_LOADS}], {LOADS_PKRS}
    jz 3f
    xor eax, eax
    xor edx, edx
    mov ecx, PKRS
    wrmsr
3:
    ret

# PKRU = esi. L1 itself need not have CR4.PKE.
write_pkru:
    mov r8, cr4
    mov rax, r8
    bts eax, CR4_PKE_BIT
    mov cr4, rax
    mov eax, esi
    xor ecx, ecx
    xor edx, edx
    wrpkru
    mov cr4, r8
    ret

# The same in 32-bit code, for SVM: L1 in PAE or 32-bit paging makes the second level a table of that format.
# From `lists_32` (switch.s), with the user address of the header in ebx. All of the guest's own data is behind gs.
.code32
run_nested_32:
    mov eax, gs:[ebx + {HEADER_NESTED_RECORDS}]
    mov gs:[nested_record], eax
    mov eax, ebx
    add eax, {HOST_SAVE_AREA}
    xor edx, edx
    mov ecx, VM_HSAVE_PA
    wrmsr
next_svm_32:
    mov ebx, gs:[nested_record]
    cmp dword ptr gs:[ebx + {NESTED_BLOCK}], 0
    je end_svm_32
    mov esi, gs:[ebx + {NESTED_PKRU}]
    mov eax, gs:[ebx + {NESTED_PKRS}]
    call write_keys_32
    mov eax, gs:[ebx + {NESTED_BLOCK}]
    mov ebp, gs:[ebx + {NESTED_BACK}]
    xor ecx, ecx
    xor edx, edx
    # QEMU sets A in PDPTEs, where it is reserved, and a KVM on QEMU would not go back to L1. Everything that follows is
    # below 1 GiB, so the first PDPTE is last; an interrupt of the host may still let QEMU set it again.
    mov edi, cr3
    and byte ptr gs:[edi + 8], ~A_FLAG
    and byte ptr gs:[edi], ~A_FLAG
    vmrun eax
    own_data
    mov ebx, gs:[nested_record]
    mov gs:[ebx + {NESTED_RCX}], ecx
    mov dword ptr gs:[ebx + {NESTED_END}], {NESTED_EXITED}
    xor esi, esi
    xor eax, eax
    call write_keys_32
    add dword ptr gs:[nested_record], {NESTED_RECORD_SIZE}
    jmp next_svm_32
end_svm_32:
    stgi
    jmp end_supervisor_32               # stubs32.s

# PKRU = esi and IA32_PKRS = eax, where the record at ebx says so.
write_keys_32:
    test byte ptr gs:[ebx + {NESTED_LOADS}], {LOADS_PKRS}
    jz 3f
    xor edx, edx
    mov ecx, PKRS
    wrmsr
3:
    test byte ptr gs:[ebx + {NESTED_LOADS}], {LOADS_PKRU}
    jz 2f
    mov edi, cr4
    mov eax, edi
    bts eax, CR4_PKE_BIT
    mov cr4, eax
    mov eax, esi
    xor ecx, ecx
    xor edx, edx
    wrpkru
    mov cr4, edi
2:
    ret
.code64

.data
nested_record: .quad 0
.text
