//! The files of known findings that come with the program.

use super::{KnownError, KnownFinding, from_text, of_version};
use crate::walker::quirk::Quirks;
use crosswalk_machine::Identity;

/// The files that come with the program, by flavour of machine. The name of a machine on top of an
/// emulator, whose faults it shares, has both flavours.
pub(super) const FILES: &[(&str, &str)] = &[
    ("pvm", include_str!("../../../known/pvm.toml")),
    ("tcg", include_str!("../../../known/tcg.toml")),
    ("bochs", include_str!("../../../known/bochs.toml")),
    ("v86", include_str!("../../../known/v86.toml")),
    ("svm-npt-on-tcg", include_str!("../../../known/svm-npt-on-tcg.toml")),
    ("svm-shadow-on-tcg", include_str!("../../../known/svm-shadow-on-tcg.toml")),
    ("vmx-ept-on-bochs", include_str!("../../../known/vmx-ept-on-bochs.toml")),
    ("vmx-shadow-on-bochs", include_str!("../../../known/vmx-shadow-on-bochs.toml")),
];

/// Reasons for which cases of an image are not run on any machine.
const OF_IMAGES: (&str, &str) = ("known/image.toml", include_str!("../../../known/image.toml"));

/// The known findings that come with the program for a machine, in its version. None if no file fits.
///
/// # Errors
/// If a file that comes with the program is malformed. A test reads every one of them.
pub fn shipped(machine: &Identity) -> Result<Vec<KnownFinding>, KnownError> {
    match file(machine) {
        Some((name, text)) => {
            let all = from_text(&format!("known/{name}.toml"), text)?;
            Ok(of_version(all, machine))
        }
        None => Ok(Vec::new()),
    }
}

/// The name of the file that comes with the program for a machine, if there is one.
pub(super) fn name(machine: &Identity) -> Option<&'static str> {
    file(machine).map(|(name, _)| *name)
}

fn file(machine: &Identity) -> Option<&'static (&'static str, &'static str)> {
    let Identity { flavour, beneath, .. } = machine;
    let on = format!("{flavour}-on-{beneath}");
    FILES.iter().find(|(known, _)| known == flavour || *known == on)
}

/// Every file that comes with the program, by the name of its flavour, with its findings in all versions.
///
/// # Errors
/// As those of [`shipped`].
pub fn all_shipped() -> Result<Vec<(&'static str, Vec<KnownFinding>)>, KnownError> {
    let read = |(name, text): &(&'static str, &str)| {
        from_text(&format!("known/{name}.toml"), text).map(|all| (*name, all))
    };
    FILES.iter().map(read).collect()
}

/// The reasons for which cases of an image are not run on any machine.
///
/// # Errors
/// If the file that comes with the program is malformed. A test reads it.
pub fn of_images() -> Result<Vec<KnownFinding>, KnownError> {
    let (name, text) = OF_IMAGES;
    from_text(name, text)
}

/// The id of the known finding that comes with the program for a quirk of a machine, if it has one of
/// its own.
pub fn id_of(quirk: Quirks, machine: &Identity) -> Option<String> {
    let known = shipped(machine).unwrap_or_default();
    known.into_iter().find(|known| known.quirk == quirk).map(|known| known.id)
}
