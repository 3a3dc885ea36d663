//! The processor of a case: the name of a generation, or everything about it.

use super::{CaseError, named};
use bitflags::Flags;
use mmu_core::x86::profile::{ControlFeatures, GENERATIONS};
use mmu_core::{Pins, Profile, Vendor};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// A processor as it is written.
#[derive(Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FullProfile {
    /// `intel`, `amd` or `unknown`.
    vendor: String,
    /// MAXPHYADDR: the number of physical address bits, 32 to 52.
    pub max_physical_address: u8,
    /// The features that affect translation.
    features: Vec<String>,
    /// Only if the processor lacks one: no walk depends on them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    control_features: Option<Vec<String>>,
    /// Choices that the processor is known to make.
    #[serde(default, skip_serializing_if = "PinsText::is_empty")]
    pins: PinsText,
}

/// Choices that the processor is known to make.
#[derive(Clone, Debug, Serialize, Deserialize, Default, PartialEq)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct PinsText {
    /// Whether G in a PML4E or PML5E is a reserved bit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    global_in_pml4e_is_reserved: Option<bool>,
    /// Whether PDPTEs are read from memory by each walk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pdptes_are_walked: Option<bool>,
    /// Whether reserved bits of PDPTEs that are not present are checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    absent_pdptes_are_checked: Option<bool>,
    /// Whether a fault reports a fetch where SMEP is on and NXE is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    smep_alone_reports_fetch: Option<bool>,
    /// Whether a denied access sets A in the leaf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    denied_pte_is_accessed: Option<bool>,
    /// Whether faults save RFLAGS.RF as 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    faults_save_rf: Option<bool>,
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

/// The names of features.
fn names<F: Flags>(features: &F) -> Vec<String> {
    features.iter_names().map(|(name, _)| name.to_lowercase()).collect()
}

impl From<&Profile> for FullProfile {
    fn from(profile: &Profile) -> Self {
        let Pins {
            global_in_pml4e_is_reserved,
            pdptes_are_walked,
            absent_pdptes_are_checked,
            smep_alone_reports_fetch,
            denied_pte_is_accessed,
            faults_save_rf,
        } = profile.pins;
        let lacks_one = !profile.control_features.is_all();

        Self {
            vendor: vendor_name(profile.vendor).into(),
            max_physical_address: profile.physical_address_bits,
            features: names(&profile.features),
            control_features: lacks_one.then(|| names(&profile.control_features)),
            pins: PinsText {
                global_in_pml4e_is_reserved,
                pdptes_are_walked,
                absent_pdptes_are_checked,
                smep_alone_reports_fetch,
                denied_pte_is_accessed,
                faults_save_rf,
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
        let features = read_features("profile.features", &self.features)?;
        let control_features = self.control_features.map_or_else(
            || Ok(ControlFeatures::all()),
            |found| read_features("profile.control_features", &found),
        )?;

        let PinsText {
            global_in_pml4e_is_reserved,
            pdptes_are_walked,
            absent_pdptes_are_checked,
            smep_alone_reports_fetch,
            denied_pte_is_accessed,
            faults_save_rf,
        } = self.pins;
        let profile = Profile {
            vendor: named("profile.vendor", &VENDORS, vendor_name, &self.vendor)?,
            physical_address_bits: self.max_physical_address,
            features,
            control_features,
            pins: Pins {
                global_in_pml4e_is_reserved,
                pdptes_are_walked,
                absent_pdptes_are_checked,
                smep_alone_reports_fetch,
                denied_pte_is_accessed,
                faults_save_rf,
            },
        };

        let checked = profile.check().map_err(|error| error.to_string());
        checked.map_err(|problem| CaseError::new("profile.max_physical_address", problem))?;
        Ok(profile)
    }
}

/// The features with these names.
fn read_features<F: Flags>(place: &str, found: &[String]) -> Result<F, CaseError> {
    let mut features = F::empty();
    for (i, name) in found.iter().enumerate() {
        let known = F::from_name(&name.to_uppercase()).filter(|_| *name == name.to_lowercase());
        let Some(feature) = known else {
            let problem =
                format!("expected one of {}, found {name:?}", names(&F::all()).join(", "));
            return Err(CaseError::new(format!("{place}[{i}]"), problem));
        };
        features.insert(feature);
    }
    Ok(features)
}
