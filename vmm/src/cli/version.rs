//! What `--version` says of this build.

/// Whether a build checks what it assumes.
#[cfg(debug_assertions)]
macro_rules! checks {
    () => {
        "with debug assertions"
    };
}
#[cfg(not(debug_assertions))]
macro_rules! checks {
    () => {
        "without debug assertions"
    };
}

/// The version, and what a bug report needs besides it. The build script knows it.
pub(super) const LONG: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\nbuild     ",
    env!("CROSSWALK_PROFILE"),
    " for ",
    env!("CROSSWALK_TARGET"),
    "\ncommit    ",
    env!("CROSSWALK_COMMIT"),
    "\nfeatures  none are optional; ",
    checks!(),
);
