# Text to the first serial port, and the end: what a player needs of ring 0. As in boot.s, ring 3 enters ring 0
# through the #UD at `enter_supervisor`.

.equ COM1, 0x3f8
.equ COM1_STATUS, COM1 + 5
.equ ROOM, 0x20                         # in the status: a byte, or a whole FIFO, can be written
.equ SILENCE, 0x40                      # in the status: everything was sent
.equ PATIENCE, 0x1000000                # polls of a port that does not answer

# write_out(rdi = supervisor address of the text, esi = its length, edx = bytes that the port takes at once)
.global write_out
write_out:
    mov ecx, esi
    mov r9d, edx
    lea r8, [rip + send + {WINDOW}]
    jmp enter_supervisor

# Sends rcx bytes at rdi, in bursts of r9 bytes.
send:
    mov rsi, rdi
    mov r10, rcx
2:
    mov r11d, PATIENCE
    mov edx, COM1_STATUS
3:
    in al, dx
    test al, ROOM
    jnz 4f
    dec r11d
    jnz 3b
4:
    mov edx, COM1
    mov rcx, r9
    cmp r10, rcx
    jae 5f
    mov rcx, r10
5:
    sub r10, rcx
    rep outsb
    test r10, r10
    jnz 2b
    add qword ptr [rsp], 2
    iretq

# offer(rdi = supervisor address of the text, esi = its length, which the port takes at once): sends it only if there is
# room for it now, and returns whether there was, as a number other than 0.
.global offer
offer:
    mov ecx, esi
    lea r8, [rip + send_at_once + {WINDOW}]
    jmp enter_supervisor

send_at_once:
    mov rsi, rdi
    mov edx, COM1_STATUS
    in al, dx
    and eax, ROOM
    jz 2f
    mov edx, COM1
    rep outsb
2:
    add qword ptr [rsp], 2
    iretq

# power_off(edi = 1 on top of a hypervisor or an emulator that shows itself): it does not return.
.global power_off
power_off:
    lea r8, [rip + switch_off + {WINDOW}]
    jmp enter_supervisor

# Waits until everything was sent. Then: the exit device of QEMU's tests, the power button of QEMU's PC, and the port
# at which Bochs expects "Shutdown".
switch_off:
    mov r11d, PATIENCE
    mov edx, COM1_STATUS
2:
    in al, dx
    test al, SILENCE
    jnz 3f
    dec r11d
    jnz 2b
3:
    mov edx, 0x8900
.irp letter, 'S', 'h', 'u', 't', 'd', 'o', 'w', 'n'
    mov al, \letter
    out dx, al
.endr
    test edi, edi
    jz 4f
    xor eax, eax
    out 0xf4, al
    mov edx, 0x604
    mov eax, 0x2000
    out dx, ax
4:
    cli
    hlt
    jmp 4b
