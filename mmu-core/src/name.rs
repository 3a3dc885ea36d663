//! Reading a value by its name.

use core::fmt;

/// A name that none of the values has.
#[derive(Clone, Copy, Debug)]
pub struct UnknownName<T: 'static> {
    known: &'static [T],
    name: fn(T) -> &'static str,
}

impl<T: Copy> fmt::Display for UnknownName<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected one of ")?;
        for (i, value) in self.known.iter().enumerate() {
            let separator = if i == 0 { "" } else { ", " };
            write!(f, "{separator}{}", (self.name)(*value))?;
        }
        Ok(())
    }
}

impl<T: Copy + fmt::Debug> core::error::Error for UnknownName<T> {}

/// The value that has this name.
///
/// # Errors
/// When none has it; the error lists the names.
pub fn by_name<T: Copy>(
    known: &'static [T],
    name: fn(T) -> &'static str,
    wanted: &str,
) -> Result<T, UnknownName<T>> {
    let found = known.iter().copied().find(|value| name(*value) == wanted);
    found.ok_or(UnknownName { known, name })
}
