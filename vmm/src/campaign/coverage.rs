//! What a rule of paging asks for to be met: why a run has not met it, in a mode, on a machine.

use crosswalk_machine::Capabilities;
use mmu_core::{Cr4, Features, PagingMode, Rule, Vendor};

/// Why a rule was not met in a mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missed {
    /// The rule is not about this mode.
    OtherMode,
    /// The machine cannot show it.
    Machine(String),
    /// No generator makes such cases yet.
    Campaign(&'static str),
    /// The generators make such cases, and none has come up.
    Chance,
}

impl Missed {
    /// In a word: who stands in the way.
    pub const fn who(&self) -> &'static str {
        match self {
            Self::OtherMode => "mode",
            Self::Machine(_) => "machine",
            Self::Campaign(_) => "campaign",
            Self::Chance => "chance",
        }
    }

    /// In words.
    pub fn why(&self) -> &str {
        match self {
            Self::OtherMode => "the rule is about other modes",
            Self::Machine(why) => why,
            Self::Campaign(why) => why,
            Self::Chance => "no case so far came to it; a longer run or another seed may",
        }
    }
}

/// Why a rule that no case met was not met in a mode.
pub fn why_missed(rule: Rule, mode: PagingMode, machine: &Capabilities) -> Missed {
    if !modes(rule).contains(&mode) {
        return Missed::OtherMode;
    }
    if let Some((_, Err(why))) = machine.modes.iter().find(|(offered, _)| *offered == mode) {
        return Missed::Machine(format!("it does not run {mode}: {why}"));
    }
    lacks(rule, machine)
        .map(Missed::Machine)
        .or_else(|| not_tried(rule, mode).map(Missed::Campaign))
        .unwrap_or(Missed::Chance)
}

/// The same for all modes together: the nearest to being met that there is.
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

/// The modes that a rule is about.
fn modes(rule: Rule) -> &'static [PagingMode] {
    use PagingMode::{Bits32, FiveLevel, FourLevel, Pae, Unpaged};
    match rule {
        Rule::Mode12 => &[Unpaged],
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
        | Rule::Canon4 => &[FourLevel, FiveLevel],
        _ => &[Bits32, Pae, FourLevel, FiveLevel],
    }
}

/// What the machine does not have, and the rule is about.
fn lacks(rule: Rule, machine: &Capabilities) -> Option<String> {
    let features = machine.profile.features;
    let without = |feature: Features| {
        let (name, _) = feature.iter_names().next()?;
        let obeyed = Cr4::from_name(name).is_some_and(|bit| machine.not_in_cpuid.contains(bit));
        let bit = feature.cpuid_bit()?;
        (!features.contains(feature) && !obeyed).then(|| format!("{bit} is 0: no {name}"))
    };
    let with = |feature, name: &str| {
        features.contains(feature).then(|| format!("it has {name}, and the rule is about others"))
    };
    match rule {
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
        Rule::Pdpte4 => (machine.profile.vendor == Vendor::Intel)
            .then(|| "PDPTEs are in registers on Intel's processors".into()),
        _ => None,
    }
}

/// What no generator makes yet.
fn not_tried(rule: Rule, mode: PagingMode) -> Option<&'static str> {
    match rule {
        Rule::Mode1 => Some("no case is in compatibility mode"),
        Rule::Mode2 | Rule::Mode9 => Some("no case changes a control register wrongly"),
        Rule::Right7 => Some("the guest makes no shadow-stack accesses"),
        Rule::Ad4 => Some("one processor runs, and nobody changes entries meanwhile"),
        Rule::Ad6 if matches!(mode, PagingMode::Bits32 | PagingMode::Pae) => {
            Some("no case reaches a table as data, and here such an entry would map its own table")
        }
        Rule::Ad5 => Some("nothing predicts speculation; it is counted under choices"),
        Rule::Canon3 => Some("no case is an INVLPG or INVPCID"),
        Rule::Canon4 => Some("the guest has no probe for LAM"),
        Rule::Tlb1 | Rule::Tlb2 | Rule::Tlb3 | Rule::Tlb4 | Rule::Tlb5 => {
            Some("a case is one access, and all translations are forgotten before it")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mmu_core::Profile;

    fn machine(features: Features) -> Capabilities {
        let (yes, no) = (Ok(()), Err("it refuses".to_owned()));
        Capabilities {
            profile: Profile { features, ..Profile::default() },
            not_in_cpuid: Cr4::SMEP,
            modes: vec![(PagingMode::FourLevel, yes), (PagingMode::FiveLevel, no)],
            pkru_without_pku: false,
            pkru_in_ring_0: false,
            ..Capabilities::of_everything(Profile::default())
        }
    }

    #[test]
    fn a_missed_rule_tells_who_stands_in_the_way() {
        let machine = machine(Features::NX | Features::PAT);
        let who = |rule, mode| why_missed(rule, mode, &machine).who();
        assert_eq!(who(Rule::Mode12, PagingMode::FourLevel), "mode");
        assert_eq!(who(Rule::Code1, PagingMode::FiveLevel), "machine");
        assert_eq!(who(Rule::Code11, PagingMode::FourLevel), "machine");
        assert_eq!(who(Rule::Tlb3, PagingMode::FourLevel), "campaign");
        assert_eq!(who(Rule::Code1, PagingMode::FourLevel), "chance");
        // SMEP is obeyed though CPUID lacks it.
        assert_eq!(who(Rule::Right3, PagingMode::FourLevel), "chance");
        assert_eq!(who(Rule::Right4, PagingMode::FourLevel), "machine");
        // Where the last level's entry would be the one used twice.
        let in_pae = why_missed(Rule::Ad6, PagingMode::Pae, &machine);
        assert_eq!((in_pae.who(), who(Rule::Ad6, PagingMode::FourLevel)), ("campaign", "chance"));
    }

    #[test]
    fn of_several_modes_the_nearest_counts() {
        let machine = machine(Features::PKU);
        let both = [PagingMode::FourLevel, PagingMode::FiveLevel];
        assert_eq!(why_missed_everywhere(Rule::Right5, &both, &machine), Missed::Chance);
        let one = [PagingMode::FiveLevel];
        assert_eq!(why_missed_everywhere(Rule::Right5, &one, &machine).who(), "machine");
    }
}
