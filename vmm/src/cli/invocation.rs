//! When the program started, and with which arguments: what every document has at its top.

use crate::report::document::Invocation;
use std::sync::OnceLock;

static INVOCATION: OnceLock<Invocation> = OnceLock::new();

/// Notes that the program starts now.
pub(super) fn start() {
    invocation();
}

/// When the program started, and with which arguments.
pub(super) fn invocation() -> &'static Invocation {
    let arguments =
        || std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    INVOCATION.get_or_init(|| Invocation::now(arguments()))
}
