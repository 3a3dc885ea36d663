//! Every behaviour of the hostile guest, with the right result of a run: stated by hand.

/// How a run ends that has a hostile guest.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Right {
    /// Exit 0: what the guest did makes no difference.
    Agrees,
    /// Exit 1: the lie is a finding.
    Disagrees,
    /// Exit 0 or 1: the lie is a finding if the guest comes to it in time.
    MayDisagree,
    /// Exit 3: no case could be run.
    ComparesNothing,
    /// Exit 3, with one of these phrases in the error.
    Dies(&'static [&'static str]),
    /// Whatever it is, the run ends in time.
    Ends,
}

/// A behaviour of the hostile guest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hostile {
    /// Its label in the image, without `hostile_`.
    pub(crate) name: &'static str,
    /// What it does: a sentence without its subject.
    pub(crate) does: &'static str,
    pub(crate) on_kvm: Right,
    pub(crate) on_qemu: Right,
}

use Right::Dies;

const AGREES: Right = Right::Agrees;
const DISAGREES: Right = Right::Disagrees;
const MAY_DISAGREE: Right = Right::MayDisagree;
const COMPARES_NOTHING: Right = Right::ComparesNothing;
const ANY: Right = Right::Ends;
const HANGS: Right = Dies(&["did not come back"]);
const HALTS: Right = Dies(&["stopped in an unexpected way: Hlt", "did not come back"]);
const TRIPLE_FAULTS: Right = Dies(&["triple-faulted"]);
const RESETS: Right = Dies(&["reset the machine or turned it off"]);
const HANGS_OR_RESETS: Right = Dies(&["did not come back", "reset the machine or turned it off"]);
/// An access to a port ends a KVM's run, since there are no devices.
const LEAVES: Right = Dies(&["stopped in an unexpected way: Io"]);
/// What ends the run depends on the KVM, and on what it emulates.
pub(crate) const ENDS: &[&str] = &[
    "triple-faulted",
    "stopped in an unexpected way",
    "ran an instruction that KVM cannot emulate",
    "where there is no memory",
    "did not come back",
];
const NO_EXCEPTION: Right = Dies(&["nonsense into the mailbox: it reports an exception as"]);
const BAD_COMPLETION: Right = Dies(&["nonsense into the mailbox: it reports command"]);
const BAD_RECORD: Right = Dies(&["nonsense into the mailbox: record"]);
const BAD_FRAME: Right = Dies(&["nonsense into the mailbox: a fault of record"]);
const BAD_LOAD_FAULT: Right = Dies(&["nonsense into the mailbox: it reports the fault of a load"]);

const ENDS_RUN: Right = Dies(ENDS);

const fn row(name: &'static str, does: &'static str, on_kvm: Right, on_qemu: Right) -> Hostile {
    Hostile { name, does, on_kvm, on_qemu }
}

/// The behaviours, in groups with a heading.
pub(crate) const GROUPS: [(&str, &[Hostile]); 8] = [
    (
        "Before the first word",
        &[
            row("loops_at_boot", "never reports that it has booted", HANGS, HANGS),
            row("halts_at_boot", "halts with interrupts disabled", HALTS, HANGS),
            row(
                "triple_faults_at_boot",
                "takes an exception without a descriptor table",
                TRIPLE_FAULTS,
                RESETS,
            ),
            row("jumps_to_address_zero", "runs what is at address 0", TRIPLE_FAULTS, RESETS),
            row("turns_paging_off", "turns paging off in long mode", ENDS_RUN, RESETS),
            row(
                "loads_a_root_outside_memory",
                "loads CR3 with an address without memory",
                ENDS_RUN,
                RESETS,
            ),
            row(
                "sets_reserved_control_bits",
                "sets a reserved bit of CR4",
                TRIPLE_FAULTS,
                HANGS_OR_RESETS,
            ),
            row("faults_for_ever", "repeats a page fault for ever", HANGS, HANGS),
            row(
                "nests_breakpoints",
                "runs breakpoints in the handler of breakpoints",
                ENDS_RUN,
                RESETS,
            ),
            row("overwrites_its_image", "overwrites its code while it runs", ENDS_RUN, RESETS),
            row(
                "fills_all_memory",
                "fills all low memory: code, page tables, mailbox",
                ENDS_RUN,
                RESETS,
            ),
            row("clears_its_page_tables", "clears its page tables", ENDS_RUN, RESETS),
            row(
                "loads_nonsense_descriptors",
                "loads descriptor tables of nonsense",
                ENDS_RUN,
                RESETS,
            ),
            row("runs_outside_memory", "runs code where there is no memory", ENDS_RUN, RESETS),
            row("writes_outside_memory", "writes where there is no memory", ENDS_RUN, AGREES),
        ],
    ),
    (
        "Instructions of other rings and modes",
        &[
            row(
                "runs_a_guest_of_its_own",
                "runs a guest under SVM, from a control block of ones",
                ENDS_RUN,
                RESETS,
            ),
            row("leaves_vmx", "leaves VMX operation", ENDS_RUN, RESETS),
            row("calls_a_hypervisor", "calls a hypervisor", ENDS_RUN, RESETS),
            row(
                "leaves_system_management",
                "returns from system management mode",
                ENDS_RUN,
                RESETS,
            ),
            row(
                "writes_unknown_registers",
                "writes an unknown model-specific register",
                ENDS_RUN,
                RESETS,
            ),
            row(
                "writes_registers_of_the_system",
                "writes nonsense to LSTAR, the base of GS and the base of the APIC",
                ENDS_RUN,
                RESETS,
            ),
        ],
    ),
    (
        "Devices",
        &[
            row("resets_by_port_cf9", "resets the machine through port 0xcf9", LEAVES, RESETS),
            row(
                "resets_by_the_keyboard",
                "resets it through the keyboard controller",
                LEAVES,
                RESETS,
            ),
            row("resets_by_port_92", "resets it through port 0x92", LEAVES, RESETS),
            row("turns_the_power_off", "turns the power off", LEAVES, RESETS),
            row(
                "leaves_by_a_debug_port",
                "writes to the exit devices of emulators",
                LEAVES,
                AGREES,
            ),
            row(
                "floods_the_serial_port",
                "floods serial and parallel ports and the debug console",
                LEAVES,
                AGREES,
            ),
            row(
                "starts_the_timer",
                "programs the timer and the interrupt controller",
                LEAVES,
                AGREES,
            ),
            row(
                "takes_interrupts_unprepared",
                "enables interrupts without a descriptor table",
                LEAVES,
                HANGS_OR_RESETS,
            ),
            row("programs_dma", "programs a DMA transfer over its image", LEAVES, AGREES),
            row("scribbles_on_the_pci_bus", "writes ones to every PCI register", LEAVES, AGREES),
            row(
                "reads_the_firmware_interface",
                "uses the firmware interface, with DMA",
                LEAVES,
                AGREES,
            ),
            row(
                "writes_device_memory",
                "writes to graphics memory, the ROM and the I/O APIC",
                ENDS_RUN,
                AGREES,
            ),
            row("sends_itself_nmis", "sends itself non-maskable interrupts", ENDS_RUN, RESETS),
            row("sends_itself_init", "sends itself INIT", ENDS_RUN, HANGS),
            row("sends_itself_startup", "sends itself a start-up", ENDS_RUN, AGREES),
            row("starts_the_apic_timer", "starts the timer of the APIC", ENDS_RUN, AGREES),
        ],
    ),
    (
        "The mailbox at boot",
        &[
            row(
                "fails_its_self_test",
                "reports that its reference walk is wrong in every mode",
                Dies(&["right in 0 of 5 modes"]),
                Dies(&["right in 0 of 5 modes"]),
            ),
            row(
                "walks_too_many_modes",
                "reports more modes than there are",
                Dies(&["failed its self-test"]),
                Dies(&["failed its self-test"]),
            ),
            row(
                "reports_an_exception_at_boot",
                "reports a double fault",
                Dies(&["took exception 8"]),
                Dies(&["took exception 8"]),
            ),
            row(
                "reports_an_impossible_exception",
                "reports an exception that does not exist",
                NO_EXCEPTION,
                NO_EXCEPTION,
            ),
            row(
                "reports_no_exception",
                "rings for an exception and reports none",
                NO_EXCEPTION,
                DISAGREES,
            ),
            row("reports_its_boot_twice", "reports its boot twice", BAD_COMPLETION, DISAGREES),
            row(
                "completes_a_command_at_boot",
                "completes a command before one is given",
                HALTS,
                BAD_COMPLETION,
            ),
        ],
    ),
    (
        "The doorbell",
        &[
            row(
                "rings_before_it_has_booted",
                "rings before it has booted",
                Dies(&["failed its self-test"]),
                AGREES,
            ),
            row(
                "rings_with_an_unknown_message",
                "rings with an unknown message",
                Dies(&["rang the doorbell with 0x77"]),
                AGREES,
            ),
            row("rings_with_zero", "rings with 0", Dies(&["rang the doorbell with 0x0"]), AGREES),
            row("rings_with_a_word", "rings with two bytes", LEAVES, AGREES),
            row("rings_with_a_doubleword", "rings with four bytes", LEAVES, AGREES),
            row(
                "rings_with_a_string",
                "rings with a string of bytes",
                Dies(&["rang the doorbell with 0x0", "stopped in an unexpected way"]),
                AGREES,
            ),
            row("listens_at_the_doorbell", "reads from the doorbell", LEAVES, AGREES),
        ],
    ),
    (
        "Commands",
        &[
            row(
                "completes_a_later_command",
                "completes a command that was not given",
                BAD_COMPLETION,
                BAD_COMPLETION,
            ),
            row(
                "completes_an_earlier_command",
                "takes back what it has completed",
                BAD_COMPLETION,
                BAD_COMPLETION,
            ),
            row(
                "completes_the_last_of_all_commands",
                "completes command 2^64-1",
                BAD_COMPLETION,
                BAD_COMPLETION,
            ),
            row(
                "completes_without_doing_anything",
                "completes every command at once",
                DISAGREES,
                DISAGREES,
            ),
            row(
                "completes_everything_twice",
                "completes every command twice",
                BAD_COMPLETION,
                DISAGREES,
            ),
            row("rewrites_the_command", "changes the command that was given", DISAGREES, DISAGREES),
            row(
                "fills_the_mailbox",
                "fills the mailbox with ones",
                BAD_COMPLETION,
                Dies(&["wrote nonsense into the mailbox"]),
            ),
            row(
                "fills_the_arena",
                "fills records, tables and header with nonsense",
                BAD_LOAD_FAULT,
                BAD_LOAD_FAULT,
            ),
            row("fills_the_records", "fills the records with nonsense", BAD_RECORD, BAD_RECORD),
            row(
                "breaks_the_own_tables",
                "writes nonsense over the genuine guest's page tables",
                DISAGREES,
                DISAGREES,
            ),
            row("loops_in_a_command", "loops in a command", HANGS, HANGS),
            row("halts_in_a_command", "halts in a command", HALTS, HANGS),
            row(
                "triple_faults_in_a_command",
                "takes an exception in a command",
                TRIPLE_FAULTS,
                RESETS,
            ),
            row(
                "gives_up_slowly",
                "makes a KVM that emulates ring 0 give up access by access, slowly",
                ANY,
                RESETS,
            ),
        ],
    ),
    (
        "Results, changed by an otherwise genuine guest",
        &[
            row(
                "claims_faults_everywhere",
                "claims that every access faults",
                DISAGREES,
                DISAGREES,
            ),
            row(
                "claims_faults_even_in_probes",
                "claims it in the probes as well",
                Dies(&["none of these modes can be run here"]),
                Dies(&["none of these modes can be run here"]),
            ),
            row(
                "claims_one_fault_in_a_thousand",
                "claims one fault in a batch",
                DISAGREES,
                DISAGREES,
            ),
            row("claims_no_faults", "claims that no access faults", BAD_RECORD, BAD_RECORD),
            row("claims_wrong_addresses", "claims another page in CR2", DISAGREES, DISAGREES),
            row(
                "claims_distant_addresses",
                "claims a CR2 that is not canonical",
                DISAGREES,
                DISAGREES,
            ),
            row(
                "claims_another_ring",
                "claims that faults saved the CS of the other ring",
                DISAGREES,
                DISAGREES,
            ),
            row(
                "claims_another_stack",
                "claims that faults saved another RSP",
                DISAGREES,
                DISAGREES,
            ),
            row(
                "claims_changed_registers",
                "claims that instructions that faulted have changed RBX",
                DISAGREES,
                DISAGREES,
            ),
            row(
                "claims_nonsense_selectors",
                "claims that faults saved 32 bits as CS",
                BAD_FRAME,
                BAD_FRAME,
            ),
            row("claims_wrong_error_codes", "claims that reads are writes", DISAGREES, DISAGREES),
            row(
                "claims_reserved_error_codes",
                "claims reserved bits of the error code",
                DISAGREES,
                DISAGREES,
            ),
            row("claims_protection_faults", "claims #GP instead of #PF", DISAGREES, DISAGREES),
            row("claims_unknown_vectors", "claims vector 255", BAD_RECORD, BAD_RECORD),
            row("claims_breakpoints", "claims #BP", BAD_RECORD, BAD_RECORD),
            row(
                "claims_faults_where_nothing_is_accessed",
                "claims a fault in a record that accesses nothing",
                BAD_RECORD,
                BAD_RECORD,
            ),
            row(
                "claims_that_the_load_failed",
                "claims that the control registers could not be loaded",
                DISAGREES,
                DISAGREES,
            ),
            row(
                "claims_a_nonsense_load_fault",
                "claims that the load ended with vector 255",
                BAD_LOAD_FAULT,
                BAD_LOAD_FAULT,
            ),
            row("claims_other_data", "claims to have read ones", DISAGREES, DISAGREES),
            row(
                "claims_data_of_a_neighbour",
                "claims the data of another case",
                DISAGREES,
                DISAGREES,
            ),
            row(
                "loses_some_instructions",
                "claims #UD for every access",
                COMPARES_NOTHING,
                COMPARES_NOTHING,
            ),
            row(
                "lacks_every_instruction",
                "claims it in the probes as well",
                Dies(&["none of these modes can be run here"]),
                Dies(&["none of these modes can be run here"]),
            ),
            row(
                "marks_untouched_entries",
                "sets A and D where nothing was accessed",
                DISAGREES,
                DISAGREES,
            ),
            row("clears_marks", "clears A and D", DISAGREES, DISAGREES),
            row("rewrites_entries", "changes the entries of cases", DISAGREES, DISAGREES),
            row("rewrites_other_entries", "changes an entry of no case", DISAGREES, DISAGREES),
            row("rewrites_data", "changes a byte of a data frame", DISAGREES, DISAGREES),
            row("changes_the_header", "changes what only the guest reads", AGREES, AGREES),
            // QEMU is stopped while it has nothing to run, so the host mostly reads undisturbed.
            row(
                "changes_what_is_being_read",
                "changes records while the host reads them, where it can",
                AGREES,
                MAY_DISAGREE,
            ),
            row("loops_after_a_batch", "completes a batch, then loops", HANGS, HANGS),
        ],
    ),
    (
        "A processor that cannot be. On KVM the host's CPUID counts",
        &[
            row("has_no_address_bits", "has a MAXPHYADDR of 0", AGREES, DISAGREES),
            row("has_one_address_bit", "has a MAXPHYADDR of 1", AGREES, DISAGREES),
            row("has_more_address_bits_than_any", "has a MAXPHYADDR of 53", AGREES, DISAGREES),
            row("has_all_address_bits", "has a MAXPHYADDR of 255", AGREES, DISAGREES),
            row("has_every_feature", "has every CPUID bit", AGREES, DISAGREES),
            row("has_no_feature", "has no CPUID bit", AGREES, DISAGREES),
            row("has_an_unknown_vendor", "has a vendor of control characters", AGREES, AGREES),
            row("commands_the_terminal", "has a name of terminal commands", AGREES, AGREES),
            row("reads_no_descriptor", "reads no descriptor of its own", AGREES, AGREES),
        ],
    ),
];
