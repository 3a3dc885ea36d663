//! The image or the guest that is inspected, and the registers with which it is.

use super::guest::{self, GuestJson};
use crate::report::style::count::Count;
use crate::report::style::number::{numbered, size};
use crate::report::style::table::line;
use crosswalk_case::Hex;
use crosswalk_inspect::{DerivedState, RegisterOrigins, Source};
use mmu_core::{AnyMmu, PagingMode, Profile};
use serde::Serialize;
use std::sync::Arc;

/// An image or a live guest, and the control state in which its tables are read.
#[derive(Debug)]
pub struct Inspected {
    /// The name of the file, or of the monitor.
    pub name: String,
    /// The image, or the guest.
    pub source: Arc<Source>,
    /// The number of the CPU whose registers they are.
    pub cpu: usize,
    /// The registers, and which of them were derived.
    pub derived: DerivedState,
    /// The processor.
    pub profile: Profile,
}

impl Inspected {
    /// The MMU of the processor.
    pub fn mmu(&self) -> AnyMmu {
        AnyMmu::new(self.derived.state, self.profile)
    }

    /// What it is, and how much memory it has: `elf, 64 KiB in 1 range`.
    pub(super) fn kind_and_memory(&self) -> String {
        let kind = match &*self.source {
            Source::Image(image) => image.format().to_string(),
            Source::Live(guest) => format!("QEMU {}", guest.version()),
            Source::Kvm(_) => "guest of KVM".to_owned(),
        };
        let memory = self.source.memory();
        let ranges = numbered(memory.range_count(), "range");
        format!("{kind}, {} in {ranges}", size(memory.byte_count().into()))
    }

    /// When and how a live guest was read, for people: names and sentences.
    pub(super) fn guest_facts(&self) -> Vec<(&'static str, String)> {
        match &*self.source {
            Source::Image(_) => Vec::new(),
            Source::Live(guest) => guest::qemu_facts(guest, self.derived.origins),
            Source::Kvm(guest) => guest::kvm_facts(guest, self.derived.origins),
        }
    }

    /// The image or the guest, its registers, and what was derived, for people.
    pub(super) fn describe(&self, text: &mut String) {
        let Self { name, source, cpu, derived, profile } = self;
        let state = &derived.state;

        let cpus = match source.cpu_count() {
            0 => "without registers".to_owned(),
            count => numbered(count as u64, "CPU"),
        };
        line(text, &format!("{name}: {}, {cpus}", self.kind_and_memory()));
        for (fact, sentence) in self.guest_facts() {
            line(text, &format!("{fact}: {sentence}"));
        }
        line(
            text,
            &format!(
                "CPU {cpu}: {}, CR0={:#x} CR3={:#x} CR4={:#x} EFER={:#x}",
                paging(state.mode()),
                state.cr0.bits(),
                state.cr3,
                state.cr4.bits(),
                state.efer.bits(),
            ),
        );
        line(text, &format!("physical addresses of {} bits", profile.physical_address_bits));
        for sentence in &derived.derived {
            line(text, &format!("derived: {sentence}"));
        }
        text.push('\n');
    }

    pub(super) fn json(&self) -> InspectedJson<'_> {
        let Self { name, source, cpu, derived, profile } = self;
        let state = &derived.state;
        let (file, format, guest) = match &**source {
            Source::Image(image) => (Some(&**name), Some(image.format().name()), None),
            Source::Live(guest) => (None, None, Some(GuestJson::of_qemu(name, guest))),
            Source::Kvm(guest) => (None, None, Some(GuestJson::of_kvm(name, guest))),
        };

        InspectedJson {
            file,
            format,
            guest,
            memory_bytes: source.memory().byte_count().into(),
            memory_ranges: source.memory().range_count().into(),
            cpus: source.cpu_count().into(),
            cpu: (*cpu).into(),
            mode: state.mode().name(),
            registers: RegistersJson {
                cr0: Hex(state.cr0.bits()),
                cr3: Hex(state.cr3),
                cr4: Hex(state.cr4.bits()),
                efer: Hex(state.efer.bits()),
            },
            register_origins: origins_json(derived.origins),
            physical_address_bits: profile.physical_address_bits,
            derived: &derived.derived,
        }
    }
}

/// The mode in words.
fn paging(mode: PagingMode) -> String {
    match mode {
        PagingMode::Unpaged => "no paging, linear addresses are physical".to_owned(),
        mode => format!("{mode} paging"),
    }
}

const fn origins_json(origins: RegisterOrigins) -> OriginsJson {
    let RegisterOrigins { cr0, cr3, cr4, efer } = origins;
    OriginsJson { cr0: cr0.name(), cr3: cr3.name(), cr4: cr4.name(), efer: efer.name() }
}

/// An image or a live guest, and the control state in which its tables are read.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct InspectedJson<'i> {
    /// The file; null of a live guest.
    file: Option<&'i str>,
    /// Its format; null of a live guest.
    format: Option<&'static str>,
    /// A live guest; null of a file.
    guest: Option<GuestJson<'i>>,
    /// The size of its memory.
    memory_bytes: Count,
    /// The number of ranges in which that is.
    memory_ranges: Count,
    /// The number of CPUs that have registers.
    cpus: Count,
    /// The CPU whose registers are taken.
    cpu: Count,
    /// The paging mode: `unpaged`, `32bit`, `pae`, `4level` or `5level`.
    mode: &'static str,
    /// The registers.
    registers: RegistersJson,
    /// Where each is from.
    register_origins: OriginsJson,
    /// MAXPHYADDR, in bits.
    physical_address_bits: u8,
    /// Sentences about what was derived or assumed.
    derived: &'i [String],
}

/// Control registers.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct RegistersJson {
    /// CR0.
    cr0: Hex,
    /// CR3.
    cr3: Hex,
    /// CR4.
    cr4: Hex,
    /// EFER.
    efer: Hex,
}

/// Where the registers are from.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct OriginsJson {
    /// CR0.
    cr0: &'static str,
    /// CR3.
    cr3: &'static str,
    /// CR4.
    cr4: &'static str,
    /// EFER.
    efer: &'static str,
}
