//! What a generator is told about a machine, as part of a case's name: without it a name means another case on
//! another machine.

use crosswalk_machine::{Capabilities, LeftOut};
use mmu_core::x86::profile::{ControlFeatures, Generation, PHYSICAL_ADDRESS_BITS};
use mmu_core::{Cr4, Features, Pins, Profile, Vendor};
use std::fmt;
use std::str::FromStr;

/// The properties of a machine on which its cases depend. Its text is the vendor with MAXPHYADDR, and then numbers in
/// hexadecimal, of which zeros at the end are left out: the features, the facts, and what few machines have
/// (`amd48.185.3b2.300000`). The name of a processor generation stands for a machine with that processor that offers
/// everything (`skylake`).
#[derive(Clone, Debug)]
pub struct Origin {
    capabilities: Capabilities,
}

impl Origin {
    /// The properties of a machine.
    pub fn of(machine: &Capabilities) -> Self {
        Self { capabilities: machine.clone() }
    }

    /// A machine with these properties. It is enough for a generator, and says nothing about modes.
    pub const fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The numbers after the vendor and MAXPHYADDR.
    fn numbers(&self) -> [u64; 6] {
        let Capabilities { profile, not_in_cpuid, left_out, .. } = &self.capabilities;
        let facts = facts(&self.capabilities);
        let facts = (0..).zip(facts).map(|(bit, fact)| u64::from(fact) << bit);

        [
            u64::from(profile.features.bits()),
            facts.sum(),
            not_in_cpuid.bits(),
            u64::from(left_out.bits()),
            pins_as_number(profile.pins),
            u64::from((!profile.control_features).bits()),
        ]
    }
}

/// What a machine offers besides its processor, each as one bit.
fn facts(machine: &Capabilities) -> [bool; 11] {
    [
        machine.implicit_accesses.is_ok(),
        machine.compatibility.is_ok(),
        machine.any_local_table,
        machine.pkru_without_pku,
        machine.pkru_in_ring_0,
        machine.high_memory,
        machine.read_only_tables.is_ok(),
        machine.reserved_movs.is_ok(),
        machine.saved_rf.is_ok(),
        machine.live_page_sizes,
        machine.sees_outside,
    ]
}

/// Two bits for each pin: 0 if it is open, 2 or 3 if it is known.
fn pins_as_number(pins: Pins) -> u64 {
    let digit = |pin: Option<bool>| pin.map_or(0, |pin| 2 | u64::from(pin));
    let Pins {
        global_in_pml4e_is_reserved,
        pdptes_are_walked,
        absent_pdptes_are_checked,
        smep_alone_reports_fetch,
        denied_pte_is_accessed,
        faults_save_rf,
    } = pins;
    let pins = [
        global_in_pml4e_is_reserved,
        pdptes_are_walked,
        absent_pdptes_are_checked,
        smep_alone_reports_fetch,
        denied_pte_is_accessed,
        faults_save_rf,
    ];
    pins.into_iter().rev().fold(0, |number, pin| number << 2 | digit(pin))
}

/// The pins with a number; `None` if there are none.
fn pins_of_number(number: u64) -> Option<Pins> {
    let pin = |index: u32| match number >> (2 * index) & 3 {
        0 => Some(None),
        2 => Some(Some(false)),
        3 => Some(Some(true)),
        _ => None,
    };
    let is_possible = number >> 12 == 0;
    is_possible.then_some(Pins {
        global_in_pml4e_is_reserved: pin(0)?,
        pdptes_are_walked: pin(1)?,
        absent_pdptes_are_checked: pin(2)?,
        smep_alone_reports_fetch: pin(3)?,
        denied_pte_is_accessed: pin(4)?,
        faults_save_rf: pin(5)?,
    })
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Profile { vendor, physical_address_bits, .. } = self.capabilities.profile;
        write!(f, "{}{physical_address_bits}", vendor.name())?;

        let numbers = self.numbers();
        let used = numbers.iter().rposition(|number| *number != 0).map_or(0, |last| last + 1);
        numbers.iter().take(used).try_for_each(|number| write!(f, ".{number:x}"))
    }
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(Generation { profile, .. }) = text.parse() {
            return Ok(Self { capabilities: Capabilities::of_everything(profile) });
        }

        read(text).ok_or_else(|| {
            format!(
                "expected the properties of a machine after @, such as amd48.185.3b2, or a processor \
                 generation such as skylake, found {text:?}"
            )
        })
    }
}

fn read(text: &str) -> Option<Origin> {
    let mut parts = text.split('.');
    let processor = parts.next()?;
    let digits_at = processor.find(|letter: char| letter.is_ascii_digit())?;
    let (vendor, bits) = processor.split_at(digits_at);
    let vendor: Vendor = vendor.parse().ok()?;
    let physical_address_bits =
        bits.parse().ok().filter(|bits| PHYSICAL_ADDRESS_BITS.contains(bits))?;

    let mut numbers = [0_u64; 6];
    for (index, part) in parts.enumerate() {
        let is_hex = part.chars().all(|digit| digit.is_ascii_hexdigit());
        *numbers.get_mut(index)? = u64::from_str_radix(part, 16).ok().filter(|_| is_hex)?;
    }
    let [features, facts, not_in_cpuid, left_out, pins, lacking] = numbers;
    if facts >> 11 != 0 {
        return None;
    }

    let lacking = ControlFeatures::from_bits(lacking.try_into().ok()?)?;
    let profile = Profile {
        vendor,
        physical_address_bits,
        features: Features::from_bits(features.try_into().ok()?)?,
        control_features: ControlFeatures::all() - lacking,
        pins: pins_of_number(pins)?,
    };
    let fact = |bit: u32| facts >> bit & 1 != 0;
    let offer = |bit| if fact(bit) { Ok(()) } else { Err("the case's name says so".to_owned()) };

    let capabilities = Capabilities {
        not_in_cpuid: Cr4::from_bits(not_in_cpuid)?,
        left_out: LeftOut::from_bits(left_out.try_into().ok()?)?,
        implicit_accesses: offer(0),
        compatibility: offer(1),
        any_local_table: fact(2),
        pkru_without_pku: fact(3),
        pkru_in_ring_0: fact(4),
        high_memory: fact(5),
        read_only_tables: offer(6),
        reserved_movs: offer(7),
        saved_rf: offer(8),
        live_page_sizes: fact(9),
        sees_outside: fact(10),
        ..Capabilities::of_everything(profile)
    };
    Some(Origin { capabilities })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{CaseName, Generator};
    use mmu_core::PagingMode;

    fn no() -> Result<(), String> {
        Err("no".into())
    }

    /// A machine with everything, and others that lack one thing each.
    fn machines() -> Vec<Capabilities> {
        let profile = Profile { vendor: Vendor::Amd, ..Profile::default() };
        let all = Capabilities::of_everything(profile);
        let mut narrow = all.clone();
        narrow.profile.physical_address_bits = 36;
        let mut poor = all.clone();
        poor.profile.features = Features::NX | Features::PGE;
        poor.profile.control_features -= ControlFeatures::UMIP;
        poor.not_in_cpuid = Cr4::SMEP | Cr4::SMAP;
        let mut pinned = all.clone();
        pinned.profile.pins.faults_save_rf = Some(false);
        pinned.profile.pins.pdptes_are_walked = Some(true);
        vec![
            narrow,
            poor,
            pinned,
            Capabilities { implicit_accesses: no(), ..all.clone() },
            Capabilities { compatibility: no(), ..all.clone() },
            Capabilities { any_local_table: false, ..all.clone() },
            Capabilities { pkru_without_pku: false, pkru_in_ring_0: false, ..all.clone() },
            Capabilities { high_memory: false, ..all.clone() },
            Capabilities { read_only_tables: no(), ..all.clone() },
            Capabilities { reserved_movs: no(), ..all.clone() },
            Capabilities { saved_rf: no(), ..all.clone() },
            Capabilities { live_page_sizes: false, ..all.clone() },
            Capabilities { sees_outside: false, ..all.clone() },
            Capabilities { left_out: LeftOut::CR3_BITS | LeftOut::OUTSIDE, ..all.clone() },
            all,
        ]
    }

    #[test]
    fn an_origin_gives_the_cases_of_its_machine() {
        let mut texts = std::collections::BTreeSet::new();
        for machine in machines() {
            let text = Origin::of(&machine).to_string();
            let read: Origin = text.parse().expect("it was written");
            assert_eq!(read.to_string(), text);
            assert_eq!(read.capabilities().profile, machine.profile);

            for generator in [Generator::Random(7), Generator::Sequences(7), Generator::Single(7)] {
                for mode in [PagingMode::Pae, PagingMode::FourLevel] {
                    for index in 0..60 {
                        let name = CaseName { generator, mode, index };
                        let [here, there] =
                            [&machine, read.capabilities()].map(|machine| name.case(machine));
                        assert_eq!(here, there, "{name}@{text}");
                    }
                }
            }
            assert!(texts.insert(text.clone()), "{text} stands for two machines");
        }
    }

    #[test]
    fn an_origin_that_cannot_be_is_refused() {
        for text in [
            "",
            "amd",
            "via40",
            "amd31",
            "amd53",
            "amd400",
            "amd48.",
            "amd48.x",
            "amd48.+1",
            "amd48.ffffffff",
            "amd48.0.800",
            "amd48.0.0.0.0.1",
            "amd48.0.0.0.0.0.0.0",
            "pentium9",
        ] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
        assert!("skylake".parse::<Origin>().is_ok());
    }
}
