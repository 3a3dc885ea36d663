//! The processor of an image or a log, as options name it.

use crosswalk_case::FullProfile;
use mmu_core::Profile;
use mmu_core::x86::profile::{GENERATIONS, Generation};
use std::str::FromStr;

/// A processor: the name of a generation, or the JSON of a profile.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProfileArgument(pub(super) Profile);

impl FromStr for ProfileArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim_start().starts_with('{') {
            let full: FullProfile =
                serde_json::from_str(text).map_err(|error| error.to_string())?;
            return full.read().map(Self).map_err(|error| error.to_string());
        }

        let generation = text.parse::<Generation>();
        generation.map(|known| Self(known.profile)).map_err(|_| {
            let names: Vec<_> = GENERATIONS.iter().map(|known| known.name).collect();
            format!("expected the JSON of a profile, or one of {}", names.join(", "))
        })
    }
}
