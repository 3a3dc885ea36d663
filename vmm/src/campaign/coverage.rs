//! Coverage: why no case of a run was decided by a rule, in a paging mode, on a machine.

use crosswalk_machine::Capabilities;
use mmu_core::{Cr4, Features, PagingMode, Rule, Vendor};

/// Why a rule decided no case in a mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missed {
    /// The rule does not apply to this mode.
    OtherMode,
    /// The machine cannot show the rule.
    Machine(String),
    /// No generator makes such cases yet.
    Campaign(&'static str),
    /// The generators make such cases, but none has come up.
    Chance,
}

impl Missed {
    /// The obstacle in a word, as reports name it.
    pub const fn who(&self) -> &'static str {
        match self {
            Self::OtherMode => "mode",
            Self::Machine(_) => "machine",
            Self::Campaign(_) => "campaign",
            Self::Chance => "chance",
        }
    }

    /// The reason in words.
    pub fn why(&self) -> &str {
        match self {
            Self::OtherMode => "the rule applies to other modes",
            Self::Machine(why) => why,
            Self::Campaign(why) => why,
            Self::Chance => "no case so far reached it; a longer run or another seed may",
        }
    }
}

/// Why a rule that decided no case in a mode did not.
pub fn why_missed(rule: Rule, mode: PagingMode, machine: &Capabilities) -> Missed {
    if !modes(rule).contains(&mode) {
        return Missed::OtherMode;
    }

    if let Some((_, Err(why))) = machine.modes.iter().find(|(offered, _)| *offered == mode) {
        return Missed::Machine(format!("it does not run {mode}: {why}"));
    }

    obstacle(rule, machine)
        .map(Missed::Machine)
        .or_else(|| not_generated(rule, mode).map(Missed::Campaign))
        .unwrap_or(Missed::Chance)
}

/// The same for several modes together: the reason in the mode that comes closest to the rule.
pub fn why_missed_everywhere(rule: Rule, modes: &[PagingMode], machine: &Capabilities) -> Missed {
    let nearness = |missed: &Missed| match missed {
        Missed::OtherMode => 0,
        Missed::Machine(_) => 1,
        Missed::Campaign(_) => 2,
        Missed::Chance => 3,
    };

    let all = modes.iter().map(|mode| why_missed(rule, *mode, machine));
    all.max_by_key(nearness).unwrap_or(Missed::OtherMode)
}

/// The modes to which a rule applies.
fn modes(rule: Rule) -> &'static [PagingMode] {
    use PagingMode::{Bits32, FiveLevel, FourLevel, Pae, Unpaged};

    match rule {
        Rule::Mode12 => &[Unpaged],
        Rule::Align1 => &[Unpaged, Bits32, Pae, FourLevel, FiveLevel],
        Rule::Mode4 | Rule::Mode5 | Rule::Mode6 => &[Bits32],
        Rule::Mode7 => &[Bits32, Pae],
        Rule::Pdpte1 | Rule::Pdpte2 | Rule::Pdpte3 | Rule::Pdpte4 => &[Pae],
        Rule::Mode3 | Rule::Code3 | Rule::Code4 | Rule::Code6 | Rule::Code8 => {
            &[Pae, FourLevel, FiveLevel]
        }
        Rule::Mode1
        | Rule::Mode2
        | Rule::Mode8
        | Rule::Mode9
        | Rule::Mode10
        | Rule::Code5
        | Rule::Code7
        | Rule::Code11
        | Rule::Right5
        | Rule::Right6
        | Rule::Canon1
        | Rule::Canon2
        | Rule::Canon3
        | Rule::Canon4
        | Rule::Canon5 => &[FourLevel, FiveLevel],
        _ => &[Bits32, Pae, FourLevel, FiveLevel],
    }
}

/// Why this machine cannot show a rule, if it cannot.
fn obstacle(rule: Rule, machine: &Capabilities) -> Option<String> {
    let features = machine.profile.features;

    let without = |feature: Features| {
        let (name, _) = feature.iter_names().next()?;
        let obeyed = Cr4::from_name(name).is_some_and(|bit| machine.not_in_cpuid.contains(bit));
        let bit = feature.cpuid_bit()?;
        (!features.contains(feature) && !obeyed).then(|| format!("{bit} is 0: no {name}"))
    };
    let with = |feature, name: &str| {
        features
            .contains(feature)
            .then(|| format!("it has {name}, and the rule applies to processors without it"))
    };

    match rule {
        Rule::Mode1 => machine.compatibility.clone().err(),
        Rule::Mode5 => without(Features::PSE36),
        Rule::Mode6 => with(Features::PSE36, "PSE-36"),
        Rule::Mode7 => with(Features::PAT, "PAT"),
        Rule::Mode9 => without(Features::PCID),
        Rule::Mode10 => with(Features::PAGE_1GB, "1 GiB pages"),
        Rule::Code3 | Rule::Code8 => without(Features::NX),
        Rule::Right3 => without(Features::SMEP),
        Rule::Right4 => without(Features::SMAP),
        Rule::Code11 | Rule::Right5 | Rule::Right6 => {
            without(Features::PKU).filter(|_| !features.contains(Features::PKS))
        }
        Rule::Right7 => without(Features::CET_SS),
        Rule::Canon4 => without(Features::LAM),
        Rule::Tlb5 => (!machine.live_page_sizes).then(|| {
            "its processor walks the guest's tables itself, where the page size of a live mapping is \
             not changed"
                .into()
        }),
        Rule::Pdpte4 => (machine.profile.vendor == Vendor::Intel)
            .then(|| "on Intel processors the PDPTEs are in registers".into()),
        _ => None,
    }
}

/// Why the generators make no case for a rule, if they make none.
fn not_generated(rule: Rule, mode: PagingMode) -> Option<&'static str> {
    match rule {
        Rule::Right7 if mode != PagingMode::FourLevel => {
            Some("the guest makes shadow-stack accesses in 64-bit code of 4-level paging alone")
        }
        Rule::Ad6 if matches!(mode, PagingMode::Bits32 | PagingMode::Pae) => {
            Some("no case accesses a table as data, and here such an entry would map its own table")
        }
        Rule::Ad5 => Some("speculation is not predicted; it is counted under choices"),
        Rule::Canon4 => Some("the guest has no probe for LAM"),
        Rule::Canon5 => Some(
            "the ring-0 code of the guest lies in the lower half of the addresses, where LASS lets no \
             supervisor fetch",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mmu_core::Profile;

    fn machine(features: Features) -> Capabilities {
        let no_la57 = Err("it refuses".to_owned());

        Capabilities {
            profile: Profile { features, ..Profile::default() },
            not_in_cpuid: Cr4::SMEP,
            modes: vec![(PagingMode::FourLevel, Ok(())), (PagingMode::FiveLevel, no_la57)],
            pkru_without_pku: false,
            pkru_in_ring_0: false,
            ..Capabilities::of_everything(Profile::default())
        }
    }

    #[test]
    fn a_missed_rule_names_the_obstacle() {
        let machine = machine(Features::NX | Features::PAT);
        let who = |rule, mode| why_missed(rule, mode, &machine).who();

        assert_eq!(who(Rule::Mode12, PagingMode::FourLevel), "mode");
        assert_eq!(who(Rule::Code1, PagingMode::FiveLevel), "machine");
        assert_eq!(who(Rule::Code11, PagingMode::FourLevel), "machine");
        assert_eq!(who(Rule::Tlb3, PagingMode::FourLevel), "chance");
        assert_eq!(who(Rule::Code1, PagingMode::FourLevel), "chance");

        // The machine obeys SMEP although CPUID does not report it.
        assert_eq!(who(Rule::Right3, PagingMode::FourLevel), "chance");
        assert_eq!(who(Rule::Right4, PagingMode::FourLevel), "machine");

        // In PAE paging the entry used twice would be the one of the last level.
        let in_pae = why_missed(Rule::Ad6, PagingMode::Pae, &machine);
        assert_eq!(in_pae.who(), "campaign");
        assert_eq!(who(Rule::Ad6, PagingMode::FourLevel), "chance");
    }

    #[test]
    fn of_several_modes_the_closest_counts() {
        let machine = machine(Features::PKU);

        let both = [PagingMode::FourLevel, PagingMode::FiveLevel];
        assert_eq!(why_missed_everywhere(Rule::Right5, &both, &machine), Missed::Chance);

        let one = [PagingMode::FiveLevel];
        assert_eq!(why_missed_everywhere(Rule::Right5, &one, &machine).who(), "machine");
    }
}
