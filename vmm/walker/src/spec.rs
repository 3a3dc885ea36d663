//! Naming a walker on the command line.

use super::{MUTANTS, Mutant, PAIRS, Pair, Walker};
use mmu_core::Reference;

/// A walker as the command line names it.
#[derive(Clone, Copy)]
pub enum WalkerSpec {
    /// `reference`
    Reference,
    /// `mutant:ID`
    Mutant(&'static Mutant),
    /// `mutant:ID+ID`
    Pair(&'static Pair),
}

impl WalkerSpec {
    /// The walker itself.
    pub fn walker(self) -> &'static dyn Walker {
        match self {
            Self::Reference => &Reference,
            Self::Mutant(mutant) => mutant.walker,
            Self::Pair(pair) => pair,
        }
    }

    /// Whether it is the reference.
    pub const fn is_reference(self) -> bool {
        matches!(self, Self::Reference)
    }

    /// The mutants whose mistakes it makes.
    pub fn mutants(self) -> Vec<&'static Mutant> {
        match self {
            Self::Reference => Vec::new(),
            Self::Mutant(mutant) => vec![mutant],
            Self::Pair(pair) => vec![pair.first, pair.second],
        }
    }

    /// The ids of its mutants, as in `M13b+M36`.
    pub fn ids(self) -> String {
        self.joined("+", |mutant| mutant.id)
    }

    /// The mistakes of its mutants.
    pub fn mistakes(self) -> String {
        self.joined("; ", |mutant| mutant.mistake)
    }

    /// Where the mistakes of its mutants happened.
    pub fn origins(self) -> String {
        self.joined(", and ", |mutant| mutant.origin)
    }

    fn joined(self, separator: &str, part: impl Fn(&Mutant) -> &'static str) -> String {
        self.mutants().into_iter().map(part).collect::<Vec<_>>().join(separator)
    }
}

/// Two are equal if they have the same name.
impl PartialEq for WalkerSpec {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Reference, Self::Reference) => true,
            (Self::Mutant(one), Self::Mutant(other)) => one.id == other.id,
            (Self::Pair(one), Self::Pair(other)) => {
                (one.first.id, one.second.id) == (other.first.id, other.second.id)
            }
            _ => false,
        }
    }
}

impl Eq for WalkerSpec {}

impl std::str::FromStr for WalkerSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "reference" {
            return Ok(Self::Reference);
        }

        let ids = text.strip_prefix("mutant:");
        let mutants = MUTANTS.iter().map(Self::Mutant);
        let mut wrong_walkers = mutants.chain(PAIRS.iter().map(Self::Pair));
        wrong_walkers.find(|walker| ids == Some(walker.ids().as_str())).ok_or_else(|| {
            let ids: Vec<_> = MUTANTS.iter().map(|mutant| mutant.id).collect();
            format!(
                "expected reference, mutant:ID or mutant:ID+ID, where ID is one of {}",
                ids.join(", ")
            )
        })
    }
}

impl std::fmt::Display for WalkerSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reference => f.write_str("reference"),
            mutants => write!(f, "mutant:{}", mutants.ids()),
        }
    }
}

impl std::fmt::Debug for WalkerSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_and_written() {
        for name in ["reference", "mutant:M13b", "mutant:M17", "mutant:M13b+M36"] {
            assert_eq!(name.parse::<WalkerSpec>().unwrap().to_string(), name);
        }
    }

    #[test]
    fn a_pair_has_two_mutants_of_one_access_in_order() {
        // M17 takes a sequence to show.
        for name in ["mutant:M13b+M17", "mutant:M36+M13b", "mutant:M13b+M13b", "mutant:", "M13b"] {
            let error = name.parse::<WalkerSpec>().unwrap_err();
            assert!(error.contains("mutant:ID+ID") && error.contains("M42"), "{name}: {error}");
        }
    }
}
