//! Lies on top of genuine results: the genuine guest boots, runs every batch, and then something
//! changes what it found out, before it reports that the batch is complete.

#![allow(improper_ctypes_definitions, reason = "both ends of these calls are in this file")]

use crate::kernel::{report_processor, run_batch_at, serve};
use crate::results::{Results, make_fault, read, write};
use core::mem::offset_of;
use crosswalk_guest::layout::{Arena, CONTROL, DATA_BASE, OWN_TABLES};
use crosswalk_guest::mailbox::{CPUID_LEAVES, Control, FAULT_TAG, Header};
use mmu_core::Vector;
use mmu_core::x86::format::EntryBits;

/// A kernel that lies about every batch of a run, and about nothing else. `boot_kernel` enters it.
extern "C" fn liar(lie: fn(&Results)) -> ! {
    report_processor();
    serve(|place| {
        run_batch_at(place);
        let results = Results::at(place);
        if !results.are_of_a_probe() {
            lie(&results);
        }
    })
}

/// A kernel that lies about every batch, probes included.
extern "C" fn liar_from_the_start(lie: fn(&Results)) -> ! {
    report_processor();
    serve(|place| {
        run_batch_at(place);
        lie(&Results::at(place));
    })
}

/// A kernel that lies about its processor, and about nothing else.
extern "C" fn braggart(lie: fn(&mut Control)) -> ! {
    report_processor();
    let mut control = read(CONTROL);
    lie(&mut control);
    write(CONTROL, control);
    serve(run_batch_at)
}

/// Makes a behaviour of a kernel and each of these lies.
macro_rules! behaviours {
    ($kernel:ident tells $($lie:ident)+) => {
        $(core::arch::global_asm!(
            concat!(".global hostile_", stringify!($lie)),
            concat!("hostile_", stringify!($lie), ":"),
            "mov edi, offset {lie}",
            "mov eax, offset {kernel}",
            "jmp boot_kernel",
            lie = sym $lie,
            kernel = sym $kernel,
        );)+
    };
}

behaviours!(liar tells
    claims_faults_everywhere claims_one_fault_in_a_thousand claims_no_faults claims_wrong_addresses
    claims_distant_addresses claims_wrong_error_codes claims_reserved_error_codes
    claims_protection_faults claims_unknown_vectors claims_breakpoints claims_that_the_load_failed
    claims_a_nonsense_load_fault claims_other_data claims_data_of_a_neighbour claims_faults_where_nothing_is_accessed
    marks_untouched_entries clears_marks rewrites_entries rewrites_other_entries rewrites_data
    changes_the_header loops_after_a_batch changes_what_is_being_read loses_some_instructions
    claims_another_ring claims_another_stack claims_changed_registers claims_nonsense_selectors
);
behaviours!(liar_from_the_start tells
    claims_faults_even_in_probes lacks_every_instruction
);
behaviours!(braggart tells
    has_no_address_bits has_one_address_bit has_more_address_bits_than_any has_all_address_bits
    has_every_feature has_no_feature commands_the_terminal has_an_unknown_vendor reads_no_descriptor
);

fn claims_faults_everywhere(results: &Results) {
    results.change_accesses(|record| make_fault(record, Vector::PageFault as u8, 4));
}

fn claims_faults_even_in_probes(results: &Results) {
    claims_faults_everywhere(results);
}

/// In one case of a batch, which has some hundreds.
fn claims_one_fault_in_a_thousand(results: &Results) {
    let mut is_told = false;
    results.change_where(false, |record| {
        if !is_told {
            make_fault(record, Vector::PageFault as u8, 5);
        }
        is_told = true;
    });
}

/// The records of faults become those of loads.
fn claims_no_faults(results: &Results) {
    let mut stub = 0;
    results.change_where(false, |record| stub = record.stub);
    results.change_where(true, |record| record.stub = stub);
}

/// CR2 is one page off.
fn claims_wrong_addresses(results: &Results) {
    results.change_where(true, |record| record.address ^= 0x1000);
}

/// CR2 is not canonical.
fn claims_distant_addresses(results: &Results) {
    results.change_where(true, |record| record.address ^= 1 << 62);
}

/// Reads are writes, and writes are reads.
fn claims_wrong_error_codes(results: &Results) {
    results.change_where(true, |record| record.stub ^= 2);
}

/// Every fault saved the CS of the other ring: 0x08 and 0x23.
fn claims_another_ring(results: &Results) {
    results.change_frames(|frame, _| frame.cs ^= 0x2b);
}

/// RSP is off by a word.
fn claims_another_stack(results: &Results) {
    results.change_frames(|frame, _| frame.rsp = frame.rsp.wrapping_add(8));
}

/// Every instruction that faulted has changed RBX.
fn claims_changed_registers(results: &Results) {
    results.change_frames(|_, registers| registers.rbx ^= 1 << 40);
}

/// A selector of 32 bits.
fn claims_nonsense_selectors(results: &Results) {
    results.change_frames(|frame, _| frame.cs = u32::MAX);
}

/// Every reserved bit of the error code.
fn claims_reserved_error_codes(results: &Results) {
    results.change_where(true, |record| record.stub |= 0xffff_0000);
}

/// Page faults are general-protection faults.
fn claims_protection_faults(results: &Results) {
    results.change_where(true, |record| make_fault(record, Vector::GeneralProtection as u8, 0));
}

fn claims_unknown_vectors(results: &Results) {
    results.change_accesses(|record| make_fault(record, 0xff, u32::MAX));
}

/// A vector that exists, but that no access of ours can cause.
fn claims_breakpoints(results: &Results) {
    results.change_accesses(|record| make_fault(record, 3, 0));
}

/// The control registers could not be loaded, so that no case ran.
fn claims_that_the_load_failed(results: &Results) {
    change_header(results, |header| header.load_fault = u64::from(FAULT_TAG | 13) << 32);
}

/// The same, with a vector that nothing has.
fn claims_a_nonsense_load_fault(results: &Results) {
    change_header(results, |header| {
        header.load_fault = u64::from(FAULT_TAG | 0xff) << 32 | u64::from(u32::MAX);
        header.cr2 = u64::MAX;
    });
}

/// Every access reads nothing but ones.
fn claims_other_data(results: &Results) {
    results.change_where(false, |record| record.value = u64::MAX);
}

/// Every access reads what the one before it read.
fn claims_data_of_a_neighbour(results: &Results) {
    let mut before = 0;
    results.change_where(false, |record| core::mem::swap(&mut record.value, &mut before));
}

/// Not the records of accesses, but those that end the lists.
fn claims_faults_where_nothing_is_accessed(results: &Results) {
    results.change_ends(|record| make_fault(record, Vector::PageFault as u8, 4));
}

/// A and D in entries that no case has.
fn marks_untouched_entries(results: &Results) {
    for_each_entry(results, 3, |_, entry| if entry == 0 { 0x60 } else { entry });
}

/// Neither A nor D where the processor has set them.
fn clears_marks(results: &Results) {
    for_each_entry(results, 3, |_, entry| entry & !0x60);
}

/// The entries of all cases.
fn rewrites_entries(results: &Results) {
    for_each_entry(results, 3, |_, entry| entry ^ 2);
}

/// The last entry of the root, which no lane has.
fn rewrites_other_entries(results: &Results) {
    write(results.arena.table(0) + 511 * 8, u64::MAX);
}

/// A byte of a data frame, through a mapping that the guest is not given.
fn rewrites_data(results: &Results) {
    const DIRECTORY: u64 = 0x0015_0000;
    const PAGE: u64 = EntryBits::P.union(EntryBits::RW).union(EntryBits::US).bits();

    let table: u64 = read::<u64>(OWN_TABLES) & EntryBits::ADDRESS;
    write(DIRECTORY, DATA_BASE | PAGE | EntryBits::PS.bits());
    write(table + 3 * 8, DIRECTORY | PAGE);
    let frame = 0xc000_0000 + (results.arena.data_frames(0) - DATA_BASE);
    write(frame + 0x800, !read::<u8>(frame + 0x800));
}

/// What the host has written for the guest, and never reads.
fn changes_the_header(results: &Results) {
    change_header(results, |header| {
        *header = Header { load_fault: header.load_fault, ..Header::default() };
    });
}

/// Completes the first batch of the run, then none.
fn loops_after_a_batch(results: &Results) {
    while results.arena == Arena::ALL[1] {
        core::hint::spin_loop();
    }
}

/// Reports the batch as complete, and goes on changing its records: with QEMU, while the host reads them.
fn changes_what_is_being_read(results: &Results) {
    /// Enough for a host to read them meanwhile.
    const CHANGES: usize = 200;

    let command = read::<Control>(CONTROL).completed.wrapping_add(1);
    write(CONTROL + offset_of!(Control, completed) as u64, command);
    for _ in 0..CHANGES {
        results.change_accesses(|record| record.value ^= u64::MAX);
    }
}

/// Every access ends in #UD: the machine lacks the instruction.
fn lacks_every_instruction(results: &Results) {
    results.change_accesses(|record| make_fault(record, 6, 0));
}

/// The same, in the run only.
fn loses_some_instructions(results: &Results) {
    lacks_every_instruction(results);
}

fn change_header(results: &Results, change: impl FnOnce(&mut Header)) {
    let mut header = read(results.arena.base());
    change(&mut header);
    write(results.arena.base(), header);
}

/// Changes the entries of a table, as words of 8 bytes.
fn for_each_entry(results: &Results, table: usize, change: impl Fn(u64, u64) -> u64) {
    for index in 0..512 {
        let place = results.arena.table(table) + index * 8;
        write(place, change(index, read(place)));
    }
}

fn has_no_address_bits(control: &mut Control) {
    set_address_bits(control, 0);
}

fn has_one_address_bit(control: &mut Control) {
    set_address_bits(control, 1);
}

/// One more than a page-table entry has room for.
fn has_more_address_bits_than_any(control: &mut Control) {
    set_address_bits(control, 53);
}

fn has_all_address_bits(control: &mut Control) {
    set_address_bits(control, 255);
}

/// MAXPHYADDR: CPUID 80000008 EAX[7:0].
fn set_address_bits(control: &mut Control, bits: u32) {
    let [eax, ..] = leaf(control, 0x8000_0008);
    *eax = *eax & !0xff | bits;
}

fn has_every_feature(control: &mut Control) {
    control.cpuid = [[u32::MAX; 4]; CPUID_LEAVES.len()];
}

fn has_no_feature(control: &mut Control) {
    control.cpuid = [[0; 4]; CPUID_LEAVES.len()];
}

/// A name that clears the screen, sets the title, and looks like HTML.
fn commands_the_terminal(control: &mut Control) {
    let name = b"\x1b[2J\r\n\x1b]0;x\x07<script>alert(1)</script>\x9b31m\xe2\x80\xae\0";
    let words = name.chunks(4).map(|part| {
        let mut word = [0; 4];
        word[..part.len()].copy_from_slice(part);
        u32::from_le_bytes(word)
    });
    for (number, word) in words.enumerate().take(12) {
        leaf(control, 0x8000_0002 + number as u32 / 4)[number % 4] = word;
    }
}

fn has_an_unknown_vendor(control: &mut Control) {
    let [_, ebx, ecx, edx] = leaf(control, 0);
    (*ebx, *ecx, *edx) = (0x1b5b_324a, 0x0a0d_0007, 0xffff_ffff);
}

/// Nothing at the descriptor of the probe.
fn reads_no_descriptor(control: &mut Control) {
    control.descriptor_limit = 0;
}

fn leaf(control: &mut Control, number: u32) -> &mut [u32; 4] {
    let index = CPUID_LEAVES.iter().position(|known| *known == (number, 0));
    &mut control.cpuid[index.unwrap_or(0)]
}
