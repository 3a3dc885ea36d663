//! The image that is inspected, and the registers with which it is.

use crate::report::style::number::{counted, size};
use crate::report::style::table::line;
use crosswalk_case::Hex;
use crosswalk_inspect::{DerivedState, MemoryImage};
use mmu_core::{AnyMmu, Profile};
use serde::Serialize;

/// An image, and the control state in which its tables are read.
#[derive(Debug)]
pub struct Inspected {
    /// The name of the file.
    pub name: String,
    /// The image.
    pub image: MemoryImage,
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

    /// The image, its registers, and what was derived, for people.
    pub(super) fn describe(&self, text: &mut String) {
        let Self { name, image, cpu, derived, profile } = self;
        let state = &derived.state;
        let memory = size(image.memory().byte_count().into());
        let ranges = counted(image.memory().range_count(), "range");
        let cpus = match image.cpus().len() {
            0 => "without registers".to_owned(),
            count => counted(count as u64, "CPU"),
        };
        line(text, &format!("{name}: {}, {memory} in {ranges}, {cpus}", image.format()));
        line(
            text,
            &format!(
                "CPU {cpu}: {} paging, CR0={:#x} CR3={:#x} CR4={:#x} EFER={:#x}",
                state.mode(),
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
        let Self { name, image, cpu, derived, profile } = self;
        let state = &derived.state;

        InspectedJson {
            file: name,
            format: image.format().name(),
            memory_bytes: image.memory().byte_count(),
            memory_ranges: image.memory().range_count(),
            cpus: image.cpus().len(),
            cpu: *cpu,
            mode: state.mode().name(),
            registers: RegistersJson {
                cr0: Hex(state.cr0.bits()),
                cr3: Hex(state.cr3),
                cr4: Hex(state.cr4.bits()),
                efer: Hex(state.efer.bits()),
            },
            physical_address_bits: profile.physical_address_bits,
            derived: &derived.derived,
        }
    }
}

#[derive(Serialize)]
pub(super) struct InspectedJson<'i> {
    file: &'i str,
    format: &'static str,
    memory_bytes: u64,
    memory_ranges: u64,
    cpus: usize,
    cpu: usize,
    mode: &'static str,
    registers: RegistersJson,
    physical_address_bits: u8,
    derived: &'i [String],
}

#[derive(Serialize)]
struct RegistersJson {
    cr0: Hex,
    cr3: Hex,
    cr4: Hex,
    efer: Hex,
}
