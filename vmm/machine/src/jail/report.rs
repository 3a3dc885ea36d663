//! Which parts of a jail are in force.

use std::fmt;

/// The jail of an inmate, as reports show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JailReport {
    /// The user turned it off.
    Off,
    /// Its parts.
    On(Vec<JailPart>),
}

/// A part of a jail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JailPart {
    /// The name: `seccomp`, `landlock`, ...
    pub name: &'static str,
    /// What the part does, or why it is not in force.
    pub state: Result<String, String>,
}

impl JailReport {
    /// Whether a part is missing, or all are.
    pub fn is_partial(&self) -> bool {
        match self {
            Self::Off => true,
            Self::On(parts) => parts.iter().any(|part| part.state.is_err()),
        }
    }

    /// The parts, none if there is no jail.
    pub fn parts(&self) -> &[JailPart] {
        match self {
            Self::Off => &[],
            Self::On(parts) => parts,
        }
    }
}

impl JailPart {
    pub(super) fn in_force(name: &'static str, how: &str) -> Self {
        Self { name, state: Ok(how.into()) }
    }

    pub(super) fn missing(name: &'static str, why: &str) -> Self {
        Self { name, state: Err(why.into()) }
    }

    /// A part that the host offers or not.
    pub(super) fn of<T>(
        name: &'static str,
        offer: &Result<T, String>,
        how: impl FnOnce(&T) -> String,
    ) -> Self {
        Self { name, state: offer.as_ref().map(how).map_err(Clone::clone) }
    }
}

/// `seccomp, landlock, limits; without namespaces (the host ...)`
impl fmt::Display for JailReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::On(parts) = self else { return f.write_str("none (--no-jail)") };

        let in_force = parts.iter().filter(|part| part.state.is_ok()).map(|part| part.name);
        f.write_str(&in_force.collect::<Vec<_>>().join(", "))?;

        let missing = parts.iter().filter_map(|JailPart { name, state }| {
            state.as_ref().err().map(|why| format!("{name} ({why})"))
        });
        let missing: Vec<_> = missing.collect();
        if missing.is_empty() {
            return Ok(());
        }
        write!(f, "; without {}", missing.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_reason() {
        let seccomp = JailPart::in_force("seccomp", "a filter");
        let landlock = JailPart::missing("landlock", "this kernel has none");
        let limits = JailPart::in_force("limits", "core 0");

        let complete = JailReport::On(vec![seccomp.clone(), limits.clone()]);
        assert_eq!(complete.to_string(), "seccomp, limits");
        let partial = JailReport::On(vec![seccomp, landlock, limits]);
        assert_eq!(partial.to_string(), "seccomp, limits; without landlock (this kernel has none)");
        assert_eq!(JailReport::Off.to_string(), "none (--no-jail)");
    }
}
