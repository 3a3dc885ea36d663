//! Which walker, as the command line names it.

use super::{MUTANTS, Mutant, PAIRS, Pair, Walker};
use mmu_core::Reference;

/// Which walker is meant, as the command line names it.
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
            Self::Pair(pair) => &pair.walker,
        }
    }

    /// Whether it is the reference.
    pub const fn is_reference(self) -> bool {
        matches!(self, Self::Reference)
    }

    /// The mutants that it is made of.
    pub fn mutants(self) -> Vec<&'static Mutant> {
        match self {
            Self::Reference => Vec::new(),
            Self::Mutant(mutant) => vec![mutant],
            Self::Pair(pair) => vec![pair.first, pair.second],
        }
    }

    /// Their ids, as in `M13b+M36`.
    pub fn ids(self) -> String {
        self.joined("+", |mutant| mutant.id)
    }

    /// Their mistakes.
    pub fn mistakes(self) -> String {
        self.joined("; ", |mutant| mutant.mistake)
    }

    fn joined(self, between: &str, part: impl Fn(&Mutant) -> &'static str) -> String {
        self.mutants().into_iter().map(part).collect::<Vec<_>>().join(between)
    }
}

impl std::str::FromStr for WalkerSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let asked = text.strip_prefix("mutant:");
        let is_asked = |choice: &Self| asked == Some(choice.ids().as_str());
        let mutants = MUTANTS.iter().map(Self::Mutant);
        let pairs = PAIRS.iter().map(Self::Pair);
        match text {
            "reference" => Ok(Self::Reference),
            _ => mutants.chain(pairs).find(is_asked).ok_or_else(|| {
                let ids: Vec<_> = MUTANTS.iter().map(|mutant| mutant.id).collect();
                format!(
                    "expected reference, mutant:ID or mutant:ID+ID, where ID is one of {}",
                    ids.join(", ")
                )
            }),
        }
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
    fn a_walker_is_named_as_the_command_line_has_it() {
        for name in ["reference", "mutant:M13b", "mutant:M17", "mutant:M13b+M36"] {
            assert_eq!(name.parse::<WalkerSpec>().unwrap().to_string(), name);
        }
        // M17 is no mistake of one access, and the lower id comes first.
        for name in ["mutant:M13b+M17", "mutant:M36+M13b", "mutant:M13b+M13b", "mutant:", "M13b"] {
            let error = name.parse::<WalkerSpec>().unwrap_err();
            assert!(error.contains("mutant:ID+ID") && error.contains("M42"), "{name}: {error}");
        }
    }
}
