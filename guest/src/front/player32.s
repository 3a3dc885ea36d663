# The player for processors without long mode: what image/player does in Rust. There is no compiler for 32-bit code
# at hand. It runs flat, without paging, from where the loader has put it, and the image's switch.s returns to it after
# each batch instead of entering long mode.
#
# Words of a batch, its text and its order are those of tape/mod.rs. 32-bit code keeps no frames of faults, so that
# the words are all.

.equ HAS_EFER, 0x20100800               # CPUID 80000001h, EDX: long mode, NX or SYSCALL
.equ HAS_FXSR, 24                       # CPUID 1, EDX
.equ HAS_SSE, 25
.equ OSFXSR, 0x200
.equ OSXMMEXCPT, 0x400
.equ FLAT_CODE, 0x38                    # as in the image's own table (descriptors.rs)
.equ LANE_WORDS, 0x2000 / 4
.equ PAGE_WORDS, 0x1000 / 4
.equ PART, 128                          # words that are compared at once
.equ RED_ZONE, 128                      # of the buffer of text: more than a line

.code32
play_32:
    mov eax, [parameters + {AT_TEXT}]
    mov [text_at], eax
    call read_features
    call prepare_control_page

    mov esi, [parameters + {AT_HEAD}]
    mov ecx, [parameters + {AT_HEAD_BYTES}]
2:
    lodsb
    call put_character
    call make_room
    dec ecx
    jnz 2b
    call flush

    call report_control_page
    call fill_frames
    test eax, eax
    jnz no_memory

    mov esi, [parameters + {AT_BLOCKS}]
    mov ecx, [parameters + {AT_BLOCK_COUNT}]
next_block:
    test ecx, ecx
    jz end_of_tape
    push ecx
    mov [block], esi
    mov eax, [esi + {BLOCK_NEEDS}]
    mov edx, [features]
    not edx
    and eax, edx
    mov edx, [address_bits]
    cmp edx, [esi + {BLOCK_MAX_BITS}]
    jbe 2f
    or eax, {TOO_WIDE}
2:
    test eax, eax
    jnz 3f
    call play_block
    jmp 4f
3:
    push eax
    mov al, '-'
    call put_token
    mov esi, [block]
    mov eax, [esi + {BLOCK_NUMBER}]
    call put_digits
    pop eax
    call put_digits
    call end_line
4:
    mov esi, [block]
    mov eax, [esi + {BLOCK_FRAMES}]
    mov edx, [esi + {BLOCK_STREAM}]
    lea esi, [esi + eax * 4 + {BLOCK_SIZE}]
    add esi, edx
    pop ecx
    dec ecx
    jmp next_block

end_of_tape:
    mov al, '!'
    call put_token
    call end_line
    call flush
    jmp switch_off_32

# There is no memory at eax.
no_memory:
    push eax
    mov al, '?'
    call put_token
    pop eax
    call put_digits
    call end_line
    call flush
    jmp switch_off_32

# ------------------------------------------------------------------------------ a batch

# Runs the batch of [block], and prints what it changed.
play_block:
    mov esi, [block]
    mov eax, [esi + {BLOCK_ARENA}]
    and eax, 1
    mov [arena_index], eax
    shl eax, 21
    add eax, {FIRST_ARENA}
    mov [arena], eax

    # If the batch kills the machine, the log says in which one it was.
    mov al, '@'
    call put_token
    mov eax, [esi + {BLOCK_NUMBER}]
    call put_digits
    call end_line
    call flush

    call decode
    call mask_cr4
    mov esi, [parameters + {AT_SCRATCH}]
    mov edi, [arena]
    mov ecx, {TAPED_BYTES} / 4
    rep movsd

    mov edx, offset fill_further_frame
    call for_further_frames

    # The tables, from their images.
    mov ebx, [arena]
    mov ecx, [ebx + {HEADER_TABLES}]
    shl ecx, 10
    lea esi, [ebx + {TABLE_IMAGES}]
    lea edi, [ebx + {TABLES}]
    rep movsd

    mov eax, [ebx + {HEADER_CR2}]
    mov cr2, eax
    mov edi, [{IMAGE} + {AT_SAVED_HEADER}]
    mov [edi], ebx
    mov [saved_stack], esp
    push FLAT_CODE
    push dword ptr [{IMAGE} + {AT_ENTER_OTHER_MODE}]
    retf

# From switch.s, with paging off, in flat 32-bit code of the image's own table.
player_back:
    xor eax, eax
    mov cr4, eax
    lgdt cs:[front_gdt_pointer]
    far_jump CODE_32, in_front
in_front:
    mov ax, DATA
    mov ds, ax
    mov es, ax
    mov fs, ax
    mov gs, ax
    mov ss, ax
    mov esp, [saved_stack]
    push 2
    popfd
    cld

    call start_data
    mov esi, [arena]
    mov edi, [parameters + {AT_SCRATCH}]
    mov ecx, {ARENA_WORDS}
    call compare

    mov ebx, [arena]
    mov eax, [parameters + {AT_SCRATCH}]
    mov ecx, [eax + {HEADER_TABLES}]
    shl ecx, 10
    lea esi, [ebx + {TABLES}]
    lea edi, [eax + {TABLE_IMAGES}]
    mov eax, {TABLE_WORDS}
    sub eax, ecx
    push eax
    call compare
    pop eax
    add [skipped], eax

    xor ebp, ebp                        # the lane
2:
    mov eax, [arena_index]
    call frames_of_lane
    mov esi, eax
    call original_of_lane
    mov edi, eax
    mov ecx, LANE_WORDS
    call compare_and_restore
    inc ebp
    cmp ebp, {MAX_LANES}
    jb 2b

    mov edx, offset compare_further_frame
    call for_further_frames
    call end_words

    mov esi, [block]
    mov eax, [esi + {BLOCK_NUMBER}]
    mov edx, [esi + {BLOCK_DIGEST}]
    jmp end_data

# Calls edx for each further frame of the block, with its address in eax.
for_further_frames:
    mov esi, [block]
    mov ecx, [esi + {BLOCK_FRAMES}]
    add esi, {BLOCK_SIZE}
2:
    test ecx, ecx
    jz 3f
    lodsd
    pushad
    call edx
    popad
    dec ecx
    jmp 2b
3:
    ret

fill_further_frame:
    mov edi, eax
    mov ecx, PAGE_WORDS / 2
    jmp fill

compare_further_frame:
    mov edi, [parameters + {AT_SCRATCH}]
    add edi, {TAPED_BYTES}              # where there is room for a frame
    push eax
    push edi
    mov ecx, PAGE_WORDS / 2
    call fill
    pop edi
    pop esi
    mov ecx, PAGE_WORDS
    jmp compare_and_restore

# Decodes the stream of [block] into the scratch memory.
decode:
    mov edi, [parameters + {AT_SCRATCH}]
    mov ecx, {TAPED_BYTES} / 4
    xor eax, eax
    rep stosd

    mov esi, [block]
    mov eax, [esi + {BLOCK_FRAMES}]
    lea esi, [esi + eax * 4 + {BLOCK_SIZE}]
    mov edi, [parameters + {AT_SCRATCH}]
2:
    call take_number
    lea edi, [edi + eax * 4]
    call take_number
    test eax, eax
    jz 3f
    stosd
    jmp 2b
3:
    ret

# eax = the number at esi, which moves on.
take_number:
    push ebx
    push ecx
    push edx
    xor ebx, ebx
    xor ecx, ecx
2:
    movzx eax, byte ptr [esi]
    inc esi
    mov edx, eax
    and edx, 0x7f
    shl edx, cl
    or ebx, edx
    add ecx, 7
    test al, 0x80
    jnz 2b
    mov eax, ebx
    pop edx
    pop ecx
    pop ebx
    ret

# Takes the bits away that this processor lacks and that no translation depends on.
mask_cr4:
    mov eax, 1
    cpuid
    mov eax, -1
    bt edx, HAS_FXSR
    jc 2f
    and eax, ~OSFXSR
2:
    bt edx, HAS_SSE
    jc 3f
    and eax, ~OSXMMEXCPT
3:
    mov ecx, [parameters + {AT_SCRATCH}]
    and [ecx + {HEADER_CR4}], eax
    ret

# ------------------------------------------------------------------------------ what changed

# The next words: ecx words at esi that differ from those at edi, in parts of which few differ.
compare:
    test ecx, ecx
    jz 3f
2:
    call compare_part
    sub ecx, PART
    jnz 2b
3:
    ret

# The words of a part. Returns whether any differs in eax; esi and edi move on.
compare_part:
    push ecx
    mov ecx, PART
    call are_equal
    jnz 2f
    add dword ptr [skipped], PART
    add esi, PART * 4
    add edi, PART * 4
    pop ecx
    xor eax, eax
    ret
2:
    mov eax, [esi]
    xor eax, [edi]
    call put_word
    add esi, 4
    add edi, 4
    dec ecx
    jnz 2b
    pop ecx
    mov eax, 1
    ret

# Sets ZF if ecx words, a multiple of 8, are the same. Most of the time of a batch goes here on an emulator, whose
# string instructions take an order of magnitude longer than these.
are_equal:
    push esi
    push edi
    push ecx
    shr ecx, 3
3:
    mov eax, [esi]
    xor eax, [edi]
.irp word, 1, 2, 3, 4, 5, 6, 7
    mov edx, [esi + 4 * \word]
    xor edx, [edi + 4 * \word]
    or eax, edx
.endr
    jnz 4f
    add esi, 32
    add edi, 32
    dec ecx
    jnz 3b
4:
    pop ecx
    pop edi
    pop esi
    ret

# The same as `compare`, and makes the words as they were.
compare_and_restore:
    call compare_part
    test eax, eax
    jz 2f
    push esi
    push edi
    push ecx
    lea eax, [esi - PART * 4]
    lea esi, [edi - PART * 4]
    mov edi, eax
    mov ecx, PART
    rep movsd
    pop ecx
    pop edi
    pop esi
2:
    sub ecx, PART
    jnz compare_and_restore
    ret

# The next word.
put_word:
    test eax, eax
    jnz 2f
    inc dword ptr [skipped]
    ret
2:
    push eax
    mov eax, [skipped]
    call put_number
    pop eax
    call put_number
    mov dword ptr [skipped], 0
    ret

end_words:
    xor eax, eax
    call put_number
    xor eax, eax
# 7 bits a byte, the lowest first.
put_number:
    push edx
    mov edx, eax
2:
    mov al, dl
    and al, 0x7f
    shr edx, 7
    jz 3f
    or al, 0x80
    call put_data
    jmp 2b
3:
    call put_data
    pop edx
    ret

start_data:
    xor eax, eax
    mov [skipped], eax
    mov [data_len], eax
    mov [group], eax
    mov [in_group], eax
    mov [in_line], eax
    mov dword ptr [checksum], {FNV_START}
    ret

# The next byte of data, in al.
put_data:
    pushad
    inc dword ptr [data_len]
    movzx ebx, al
    mov eax, [checksum]
    xor eax, ebx
    imul eax, eax, {FNV_PRIME}
    mov [checksum], eax

    cmp dword ptr [in_line], 0
    jne 2f
    mov al, ':'
    call put_token
2:
    inc dword ptr [in_line]
    mov eax, [group]
    shl eax, 8
    or eax, ebx
    mov [group], eax
    inc dword ptr [in_group]
    cmp dword ptr [in_group], 3
    jne 3f
    call end_group
3:
    cmp dword ptr [in_line], {LINE_BYTES}
    jne 4f
    call end_data_line
4:
    popad
    ret

# Three bytes as four characters.
end_group:
    mov ebx, [group]
    mov ecx, 18
2:
    mov eax, ebx
    shr eax, cl
    and al, 0x3f
    add al, {FIRST_CHARACTER}
    call put_character
    sub ecx, 6
    jns 2b
    xor eax, eax
    mov [group], eax
    mov [in_group], eax
    ret

end_data_line:
    mov dword ptr [in_line], 0
    jmp end_line

# Ends the data of batch eax, whose digest is edx.
end_data:
    push edx
    push eax
    cmp dword ptr [in_group], 0
    je 3f
2:
    shl dword ptr [group], 8
    inc dword ptr [in_group]
    cmp dword ptr [in_group], 3
    jb 2b
    call end_group
3:
    cmp dword ptr [in_line], 0
    je 4f
    call end_data_line
4:
    mov al, '='
    call put_token
    pop eax
    call put_digits
    mov eax, [data_len]
    call put_digits
    mov eax, [checksum]
    call put_digits
    pop eax
    call put_digits
    jmp end_line

# ------------------------------------------------------------------------------ text

# The beginning of a line, whose third character is in al.
put_token:
    push eax
    mov al, {PREFIX_0}
    call put_character
    mov al, {PREFIX_1}
    call put_character
    pop eax
put_character:
    push edi
    mov edi, [text_at]
    stosb
    mov [text_at], edi
    pop edi
    ret

# eax as eight digits.
put_digits:
    push ecx
    push edx
    mov edx, eax
    mov ecx, 8
2:
    rol edx, 4
    mov al, dl
    and al, 0xf
    add al, '0'
    cmp al, '9'
    jbe 3f
    add al, 'a' - '9' - 1
3:
    call put_character
    dec ecx
    jnz 2b
    pop edx
    pop ecx
    ret

end_line:
    mov al, 10
    call put_character
make_room:
    push eax
    mov eax, [text_at]
    sub eax, [parameters + {AT_TEXT}]
    cmp eax, {TEXT_BYTES} - RED_ZONE
    pop eax
    ja flush
    ret

# Sends the text in the buffer.
flush:
    pushad
    mov esi, [parameters + {AT_TEXT}]
    mov ebx, [text_at]
    mov [text_at], esi
    sub ebx, esi
    jz 5f
2:
    mov edi, PATIENCE
    mov edx, COM1_STATUS
3:
    in al, dx
    test al, ROOM
    jnz 4f
    dec edi
    jnz 3b
4:
    mov edx, COM1
    mov ecx, [parameters + {AT_BURST}]
    cmp ebx, ecx
    jae 6f
    mov ecx, ebx
6:
    sub ebx, ecx
    rep outsb
    test ebx, ebx
    jnz 2b
5:
    popad
    ret

# ------------------------------------------------------------------------------ memory and processor

# eax = the first data frame of lane ebp, in the arena with the index eax (layout.rs).
frames_of_lane:
    push ecx
    push edx
    push eax
    imul eax, ebp, 89
    add eax, 17
    xor edx, edx
    mov ecx, 127
    div ecx                             # edx: the spread
    shl edx, 14
    pop eax
    shl eax, 13
    add edx, eax
    mov eax, ebp
    shl eax, 21
    lea eax, [eax + edx + {DATA}]
    pop edx
    pop ecx
    ret

# eax = the original contents of the frames of lane ebp, in [arena_index].
original_of_lane:
    imul eax, dword ptr [arena_index], {MAX_LANES}
    add eax, ebp
    shl eax, 13
    add eax, [parameters + {AT_PRISTINE}]
    ret

# Fills all data frames. Returns the first address where the contents do not stay, or 0.
fill_frames:
    mov dword ptr [arena_index], 0
2:
    xor ebp, ebp
3:
    mov eax, [arena_index]
    call frames_of_lane
    push eax
    call original_of_lane
    mov edi, eax
    pop eax
    push eax
    push edi
    mov ecx, LANE_WORDS / 2
    call fill
    pop esi
    pop edi
    mov ecx, LANE_WORDS
    rep movsd
    inc ebp
    cmp ebp, {MAX_LANES}
    jb 3b
    inc dword ptr [arena_index]
    cmp dword ptr [arena_index], 2
    jb 2b

    # Only now: memory may repeat.
    mov dword ptr [arena_index], 0
4:
    xor ebp, ebp
5:
    call original_of_lane
    mov edi, eax
    mov eax, [arena_index]
    call frames_of_lane
    mov esi, eax
    mov ecx, LANE_WORDS
    repe cmpsd
    jne 6f
    inc ebp
    cmp ebp, {MAX_LANES}
    jb 5b
    inc dword ptr [arena_index]
    cmp dword ptr [arena_index], 2
    jb 4b
    xor eax, eax
6:
    ret

# Puts the contents of ecx pairs of words from the physical address eax on to edi (contents.rs). Only ebp stays.
fill:
    push eax
    push ecx
    push edi
    call content
    pop edi
    mov [edi], eax
    mov [edi + 4], edx
    add edi, 8
    pop ecx
    pop eax
    add eax, 8
    dec ecx
    jnz fill
    ret

# edx:eax = the 8 bytes at the physical address eax.
content:
    mov esi, eax
    call scramble
    mov ebx, esi
    and ebx, 0xfff
    jz content_of_start
    cmp ebx, 0xff8
    je content_of_end
    cmp ebx, 0x800
    jb 2f
    cmp ebx, 0xa00
    jb content_of_code
    cmp ebx, 0xc00
    jb content_of_descriptor
2:
    ret

# The name of the frame, and the end of the code that crosses into it: 41 ff e5.
content_of_start:
    and edx, 0xffffff00
    or edx, 0xe5
    call name_of_frame
    or eax, 0xff410000
    ret

# The start of that code: 48 b9 66 b9, the name of the frame, 66 b8.
content_of_end:
    call name_of_frame
    mov edx, eax
    or edx, 0xb8660000
    mov eax, 0xb966b948
    ret

# b9, four bytes, 41 ff e5.
content_of_code:
    mov edx, eax
    shr edx, 24
    or edx, 0xe5ff4100
    shl eax, 8
    mov al, 0xb9
    ret

# A descriptor: its limit is the name of the frame and its place there, its base a scramble.
content_of_descriptor:
    mov edi, eax
    call short_name
    shl eax, 9
    shr ebx, 3
    or eax, ebx                         # 20 bits of limit
    mov edx, eax
    and edx, 0xf0000
    mov ecx, edi
    shr ecx, 16
    and ecx, 0xff
    or edx, ecx
    or edx, 0xf300
    and eax, 0xffff
    shl edi, 16
    or eax, edi
    ret

# eax = the name of the frame of esi, in 11 bits.
short_name:
    mov eax, esi
    sub eax, {DATA}
    shr eax, 21
    and eax, 0x1ff
    shl eax, 2
    mov ecx, esi
    shr ecx, 12
    and ecx, 3
    or eax, ecx
    ret

# eax = the same, spread over 16 bits.
name_of_frame:
    call short_name
    imul eax, eax, 0x9e35
    and eax, 0xffff
    ret

# edx:eax = the finalizer of SplitMix64 of eax.
scramble:
    mov ecx, eax
    shr ecx, 30
    xor eax, ecx
    mov ebx, eax
    imul ebx, ebx, 0xbf58476d
    mov ecx, 0x1ce4e5b9
    mul ecx
    add edx, ebx

    mov ebx, eax
    mov ecx, edx
    shrd ebx, ecx, 27
    shr ecx, 27
    xor eax, ebx
    xor edx, ecx

    mov ebx, eax
    imul ebx, ebx, 0x94d049bb
    mov ecx, 0x133111eb
    imul edx, ecx
    add ebx, edx
    mul ecx
    add edx, ebx

    mov ebx, eax
    mov ecx, edx
    shrd ebx, ecx, 31
    shr ecx, 31
    xor eax, ebx
    xor edx, ecx
    ret

# Which of the features that batches need the processor has, and its MAXPHYADDR.
read_features:
    xor ebp, ebp
    mov esi, offset {NEEDS}
    xor edi, edi
2:
    mov eax, [esi]                      # the leaf, if there is one
    and eax, 0x80000000
    cpuid
    cmp eax, [esi]
    jb 3f
    mov eax, [esi]
    xor ecx, ecx
    cpuid
    mov [registers], eax
    mov [registers + 4], ebx
    mov [registers + 8], ecx
    mov [registers + 12], edx
    mov eax, [esi + 4]
    mov eax, [registers + eax * 4]
    mov ecx, [esi + 8]
    bt eax, ecx
    jnc 3f
    bts ebp, edi
3:
    add esi, 12
    inc edi
    cmp edi, {NEEDS_COUNT}
    jb 2b
    mov [features], ebp

    mov eax, 0x80000000
    cpuid
    cmp eax, 0x80000008
    mov eax, 36
    jb 4f
    mov eax, 0x80000008
    cpuid
    and eax, 0xff
4:
    mov [address_bits], eax
    ret

# CPUID, and how the image is to return here. The host recognizes this player by the latter.
prepare_control_page:
    mov edi, {CONTROL} + {CONTROL_CPUID}
    mov esi, offset {CPUID_LEAVES}
    mov ebp, {CPUID_LEAF_COUNT}
2:
    mov eax, [esi]
    mov ecx, [esi + 4]
    cpuid
    mov [edi], eax
    mov [edi + 4], ebx
    mov [edi + 8], ecx
    mov [edi + 12], edx
    add esi, 8
    add edi, 16
    dec ebp
    jnz 2b

    mov dword ptr [{CONTROL} + {CONTROL_FLAT_RETURN}], offset player_back
    mov eax, 0x80000000
    cpuid
    cmp eax, 0x80000001
    jb 3f
    mov eax, 0x80000001
    cpuid
    test edx, HAS_EFER
    jnz 4f
3:
    mov dword ptr [{CONTROL} + {CONTROL_LACKS_EFER}], 1
4:
    ret

# Sends the control page as block 0.
report_control_page:
    mov al, '@'
    call put_token
    xor eax, eax
    call put_digits
    call end_line

    mov edi, [parameters + {AT_SCRATCH}]
    push edi
    mov ecx, PAGE_WORDS
    xor eax, eax
    rep stosd
    call start_data
    mov esi, {CONTROL}
    pop edi
    mov ecx, PAGE_WORDS
    call compare
    call end_words
    xor eax, eax
    xor edx, edx
    jmp end_data

# The end, as in image/serial.s.
switch_off_32:
    mov edi, PATIENCE
    mov edx, COM1_STATUS
2:
    in al, dx
    test al, SILENCE
    jnz 3f
    dec edi
    jnz 2b
3:
    mov edx, 0x8900
.irp letter, 'S', 'h', 'u', 't', 'd', 'o', 'w', 'n'
    mov al, \letter
    out dx, al
.endr
    mov eax, 1
    cpuid
    bt ecx, 31                          # a hypervisor or an emulator shows itself
    jnc 4f
    xor eax, eax
    out 0xf4, al
    mov edx, 0x604
    mov eax, 0x2000
    out dx, ax
4:
    cli
    hlt
    jmp 4b
.code64

.bss
.balign 4
block: .space 4
arena: .space 4
arena_index: .space 4
saved_stack: .space 4
features: .space 4
address_bits: .space 4
registers: .space 16
text_at: .space 4
skipped: .space 4
data_len: .space 4
checksum: .space 4
group: .space 4
in_group: .space 4
in_line: .space 4
.text
