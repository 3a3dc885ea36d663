//! Looking a value up by its name.

use core::fmt;

/// The error for a name that no value has. It displays the names there are.
#[derive(Clone, Copy, Debug)]
pub struct UnknownName<T: 'static> {
    known: &'static [T],
    name: fn(T) -> &'static str,
}

impl<T: Copy> UnknownName<T> {
    /// The names that would have been accepted.
    ///
    /// ```
    /// use mmu_core::Segment;
    /// let error = "heap".parse::<Segment>().unwrap_err();
    /// assert_eq!(error.expected().collect::<Vec<_>>(), ["data", "stack", "fs", "gs"]);
    /// ```
    pub fn expected(&self) -> impl Iterator<Item = &'static str> {
        self.known.iter().copied().map(self.name)
    }
}

impl<T: Copy> fmt::Display for UnknownName<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected one of ")?;

        for (i, name) in self.expected().enumerate() {
            let separator = if i == 0 { "" } else { ", " };
            write!(f, "{separator}{name}")?;
        }
        Ok(())
    }
}

impl<T: Copy + fmt::Debug> core::error::Error for UnknownName<T> {}

/// Finds the value with a name.
///
/// # Errors
/// When no value has the name; the error lists the names there are.
pub fn by_name<T: Copy>(
    known: &'static [T],
    name: fn(T) -> &'static str,
    wanted: &str,
) -> Result<T, UnknownName<T>> {
    let found = known.iter().copied().find(|value| name(*value) == wanted);
    found.ok_or(UnknownName { known, name })
}
