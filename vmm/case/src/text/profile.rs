//! The processor of a case: the name of a generation, or everything about it.

use super::{CaseError, named};
use mmu_core::x86::profile::GENERATIONS;
use mmu_core::{Features, Pins, Profile, Vendor};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// A processor as it is written.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum ProfileText {
    Named(String),
    Full(FullProfile),
}

/// Written by hand, since a derived implementation for an untagged enum does not report which field
/// is wrong.
impl<'de> Deserialize<'de> for ProfileText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ProfileVisitor;

        impl<'de> Visitor<'de> for ProfileVisitor {
            type Value = ProfileText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a processor generation, or an object")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<ProfileText, E> {
                Ok(ProfileText::Named(name.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ProfileText, A::Error> {
                let fields = MapAccessDeserializer::new(map);
                FullProfile::deserialize(fields).map(ProfileText::Full)
            }
        }

        deserializer.deserialize_any(ProfileVisitor)
    }
}

impl ProfileText {
    pub(super) fn read(self) -> Result<Profile, CaseError> {
        match self {
            Self::Full(profile) => profile.read(),
            Self::Named(name) => {
                named("profile", GENERATIONS, |known| known.name, &name).map(|known| known.profile)
            }
        }
    }
}

/// Everything about a processor, as it is written in JSON.
///
/// ```
/// use crosswalk_case::FullProfile;
/// use mmu_core::Profile;
///
/// let profile = Profile::generation("skylake").unwrap();
/// let text = FullProfile::from(&profile);
/// assert_eq!(text.max_physical_address, 46);
/// assert_eq!(text.read()?, profile);
/// # Ok::<(), crosswalk_case::CaseError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FullProfile {
    vendor: String,
    /// MAXPHYADDR: the number of physical address bits, 32 to 52.
    pub max_physical_address: u8,
    features: Vec<String>,
    #[serde(default, skip_serializing_if = "PinsText::is_empty")]
    pins: PinsText,
}

/// Choices that the processor is known to make.
#[derive(Clone, Debug, Serialize, Deserialize, Default, PartialEq)]
#[serde(deny_unknown_fields)]
struct PinsText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    global_in_pml4e_is_reserved: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pdptes_are_walked: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    absent_pdptes_are_checked: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    smep_alone_reports_fetch: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    denied_pte_is_accessed: Option<bool>,
}

impl PinsText {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

const VENDORS: [Vendor; 3] = [Vendor::Intel, Vendor::Amd, Vendor::Unknown];

const fn vendor_name(vendor: Vendor) -> &'static str {
    match vendor {
        Vendor::Intel => "intel",
        Vendor::Amd => "amd",
        Vendor::Unknown => "unknown",
    }
}

/// Every feature, with its name.
fn feature_names() -> impl Iterator<Item = (String, Features)> {
    Features::all().iter_names().map(|(name, feature)| (name.to_lowercase(), feature))
}

impl From<&Profile> for FullProfile {
    fn from(profile: &Profile) -> Self {
        let Pins {
            global_in_pml4e_is_reserved,
            pdptes_are_walked,
            absent_pdptes_are_checked,
            smep_alone_reports_fetch,
            denied_pte_is_accessed,
        } = profile.pins;
        let features = feature_names().filter(|(_, feature)| profile.features.contains(*feature));

        Self {
            vendor: vendor_name(profile.vendor).into(),
            max_physical_address: profile.physical_address_bits,
            features: features.map(|(name, _)| name).collect(),
            pins: PinsText {
                global_in_pml4e_is_reserved,
                pdptes_are_walked,
                absent_pdptes_are_checked,
                smep_alone_reports_fetch,
                denied_pte_is_accessed,
            },
        }
    }
}

impl FullProfile {
    /// Reads the processor.
    ///
    /// # Errors
    /// When a name is unknown or MAXPHYADDR is out of range.
    pub fn read(self) -> Result<Profile, CaseError> {
        let bits = self.max_physical_address;
        if !(32..=52).contains(&bits) {
            let problem = format!("expected 32 to 52 bits, found {bits}");
            return Err(CaseError::new("profile.max_physical_address", problem));
        }

        let mut features = Features::empty();
        for (i, name) in self.features.iter().enumerate() {
            features |= read_feature(&format!("profile.features[{i}]"), name)?;
        }

        let PinsText {
            global_in_pml4e_is_reserved,
            pdptes_are_walked,
            absent_pdptes_are_checked,
            smep_alone_reports_fetch,
            denied_pte_is_accessed,
        } = self.pins;
        Ok(Profile {
            vendor: named("profile.vendor", &VENDORS, vendor_name, &self.vendor)?,
            physical_address_bits: bits,
            features,
            pins: Pins {
                global_in_pml4e_is_reserved,
                pdptes_are_walked,
                absent_pdptes_are_checked,
                smep_alone_reports_fetch,
                denied_pte_is_accessed,
            },
        })
    }
}

fn read_feature(place: &str, found: &str) -> Result<Features, CaseError> {
    let known = feature_names().find(|(name, _)| name == found);
    known.map(|(_, feature)| feature).ok_or_else(|| {
        let names: Vec<_> = feature_names().map(|(name, _)| name).collect();
        let problem = format!("expected one of {}, found {found:?}", names.join(", "));
        CaseError::new(place, problem)
    })
}
