//! A live guest that is inspected: when it was looked at, and how it was read.

use crate::report::style::count::Count;
use crate::report::style::number::with_commas;
use crosswalk_inspect::{
    KvmGuest, LiveGuest, MemoryAccess, RegisterOrigin, RegisterOrigins, SnapshotMoment,
};
use serde::Serialize;

/// How a guest of QEMU was read, for people: names and sentences.
pub(super) fn qemu_facts(
    guest: &LiveGuest,
    origins: RegisterOrigins,
) -> Vec<(&'static str, String)> {
    let meanwhile = match guest.run_state() {
        "running" => "stopped while its tables were read",
        _ => "left as it is",
    };
    let memory = match guest.access() {
        MemoryAccess::Process(process) => format!("that of process {process}"),
        MemoryAccess::SharedFile(path) => format!("the file {}", path.display()),
        MemoryAccess::Monitor(reason) => {
            format!("as the monitor prints it, a table in about a millisecond, since {reason}")
        }
    };

    let mut facts =
        vec![("run state", format!("{}, {meanwhile}", guest.run_state())), ("memory", memory)];
    if origins == RegisterOrigins::all(RegisterOrigin::Monitor) {
        facts.push(("registers", "as the monitor prints them (info registers)".to_owned()));
    }
    facts
}

/// The same of a guest of KVM.
pub(super) fn kvm_facts(guest: &KvmGuest, origins: RegisterOrigins) -> Vec<(&'static str, String)> {
    let moment = match guest.moment() {
        SnapshotMoment::Batch { number, record } => {
            format!("in batch {}, at record {record}", with_commas(number))
        }
        SnapshotMoment::Between { batches } => {
            format!("behind batch {}, in the guest's own kernel", with_commas(batches))
        }
        SnapshotMoment::AfterCase => "after the case".to_owned(),
    };
    let process = guest.process().map_or_else(String::new, |of| format!(" of process {of}"));
    let paused = guest.paused().as_secs_f64() * 1e3;
    let memory =
        format!("a copy of that{process}, for which the guest stood still for {paused:.1} ms");

    let mut facts = vec![("moment", moment), ("memory", memory)];
    if origins == RegisterOrigins::all(RegisterOrigin::Vcpu) {
        facts.push(("registers", "of the vCPU, as KVM has them".to_owned()));
    }
    if origins == RegisterOrigins::all(RegisterOrigin::Case) {
        let registers = "those of the case's last access; the guest has its own again";
        facts.push(("registers", registers.to_owned()));
    }
    facts
}

/// A live guest.
#[derive(Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct GuestJson<'i> {
    /// The argument that names it; null of a guest of KVM.
    monitor: Option<&'i str>,
    /// The version of QEMU.
    qemu: Option<&'i str>,
    /// The run state that it had, and has again.
    run_state: &'i str,
    /// How its memory was read: `process`, `shared-file`, `monitor` or `copy`.
    memory_access: &'static str,
    /// The number of the process.
    process: Option<i32>,
    /// The file of its memory.
    shared_file: Option<String>,
    /// Why the process is out of reach.
    reason: Option<&'i str>,
    /// Of a guest of KVM, the moment at which it was looked at.
    kvm: Option<KvmJson<'i>>,
}

/// A guest of KVM.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct KvmJson<'i> {
    /// The argument that names it.
    socket: &'i str,
    /// `batch` (within one), `between` (two) or `case` (after one).
    moment: &'static str,
    /// The number of the batch, or of the one before.
    batch: Option<Count>,
    /// The number of the record on which the guest worked.
    record: Option<Count>,
    /// How many microseconds it stood still.
    paused_us: Count,
}

impl<'i> GuestJson<'i> {
    pub(super) fn of_qemu(name: &'i str, guest: &'i LiveGuest) -> Self {
        let (access, process, path, reason) = match guest.access() {
            MemoryAccess::Process(process) => ("process", Some(*process), None, None),
            MemoryAccess::SharedFile(path) => ("shared-file", None, Some(path), None),
            MemoryAccess::Monitor(reason) => ("monitor", None, None, Some(&**reason)),
        };
        Self {
            monitor: Some(name),
            qemu: Some(guest.version()),
            run_state: guest.run_state(),
            memory_access: access,
            process,
            shared_file: path.map(|path| path.display().to_string()),
            reason,
            kvm: None,
        }
    }

    pub(super) fn of_kvm(name: &'i str, guest: &KvmGuest) -> Self {
        let (run_state, moment, batch, record) = match guest.moment() {
            SnapshotMoment::Batch { number, record } => {
                ("running", "batch", Some(number), Some(record))
            }
            SnapshotMoment::Between { batches } => ("running", "between", Some(batches), None),
            SnapshotMoment::AfterCase => ("paused", "case", None, None),
        };
        let paused_us = u64::try_from(guest.paused().as_micros()).unwrap_or(u64::MAX);
        Self {
            run_state,
            memory_access: "copy",
            process: guest.process(),
            kvm: Some(KvmJson {
                socket: name,
                moment,
                batch: batch.map(Count::from),
                record: record.map(Count::from),
                paused_us: paused_us.into(),
            }),
            ..Self::default()
        }
    }
}
