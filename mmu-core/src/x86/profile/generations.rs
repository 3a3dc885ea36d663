//! Profiles of processor generations, as far as they translate addresses differently, and of
//! software that emulates a processor.

use super::{ControlFeatures, Features, Pins, Profile, Vendor};
use crate::name::{UnknownName, by_name};
use core::str::FromStr;

/// A generation of processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation {
    /// A short name, such as `zen-3`.
    pub name: &'static str,
    /// Its profile, with the features of its server processors, which have the most.
    pub profile: Profile,
}

/// Reads the name of one of the [`GENERATIONS`].
///
/// ```
/// use mmu_core::x86::profile::Generation;
/// let zen = "zen".parse::<Generation>().unwrap();
/// assert_eq!(zen.profile.physical_address_bits, 48);
/// assert!("z80".parse::<Generation>().is_err());
/// ```
impl FromStr for Generation {
    type Err = UnknownName<Self>;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        by_name(GENERATIONS, |generation| generation.name, name)
    }
}

const fn generation(
    name: &'static str,
    vendor: Vendor,
    physical_address_bits: u8,
    features: Features,
) -> Generation {
    let pins = Pins {
        global_in_pml4e_is_reserved: None,
        pdptes_are_walked: None,
        absent_pdptes_are_checked: None,
        smep_alone_reports_fetch: None,
        denied_pte_is_accessed: None,
        faults_save_rf: None,
    };
    let control_features = ControlFeatures::all();
    let profile = Profile { vendor, physical_address_bits, features, control_features, pins };
    Generation { name, profile }
}

impl Generation {
    /// The generation with these features for CR4 and EFER.
    const fn control(mut self, features: ControlFeatures) -> Self {
        self.profile.control_features = features;
        self
    }
}

/// The features of a generation: those of an earlier one and some more.
macro_rules! with {
    ($base:expr; $($feature:ident)*) => { $base$(.union(Features::$feature))* };
}

const PENTIUM_3: Features = with!(Features::empty(); PGE PAT PSE36);
const PRESCOTT: Features = with!(PENTIUM_3; NX);
const WESTMERE: Features = with!(PRESCOTT; PCID PAGE_1GB);
const IVY_BRIDGE: Features = with!(WESTMERE; SMEP);
const HASWELL: Features = with!(IVY_BRIDGE; INVPCID);
const BROADWELL: Features = with!(HASWELL; SMAP);
const SKYLAKE: Features = with!(BROADWELL; PKU);
const ICE_LAKE: Features = with!(SKYLAKE; LA57);
const SAPPHIRE_RAPIDS: Features = with!(ICE_LAKE; PKS CET_SS);
const SIERRA_FOREST: Features = with!(SAPPHIRE_RAPIDS; LAM);
const BARCELONA: Features = with!(PRESCOTT; PAGE_1GB);
const ZEN: Features = with!(BARCELONA; SMEP SMAP);
const ZEN_3: Features = with!(ZEN; PKU PCID INVPCID CET_SS);
const ZEN_4: Features = with!(ZEN_3; LA57);

/// The features for CR4 and EFER alone: those of an earlier generation and some more.
macro_rules! control {
    ($base:expr; $($feature:ident)*) => { $base$(.union(ControlFeatures::$feature))* };
}

const PENTIUM_PRO_CONTROL: ControlFeatures =
    control!(ControlFeatures::empty(); VME DE PSE TSC PAE MCE);
const PENTIUM_3_CONTROL: ControlFeatures = control!(PENTIUM_PRO_CONTROL; FXSR SSE);
const PRESCOTT_CONTROL: ControlFeatures = control!(PENTIUM_3_CONTROL; SYSCALL LONG_MODE);
const WESTMERE_CONTROL: ControlFeatures = control!(PRESCOTT_CONTROL; VMX SMX);
const IVY_BRIDGE_CONTROL: ControlFeatures = control!(WESTMERE_CONTROL; XSAVE FSGSBASE);
const ICE_LAKE_CONTROL: ControlFeatures = control!(IVY_BRIDGE_CONTROL; UMIP);
const SAPPHIRE_RAPIDS_CONTROL: ControlFeatures = control!(ICE_LAKE_CONTROL; CET_IBT UINTR);
const SIERRA_FOREST_CONTROL: ControlFeatures = control!(SAPPHIRE_RAPIDS_CONTROL; LASS);
const K8_CONTROL: ControlFeatures = control!(PRESCOTT_CONTROL; SVM LMSLE FFXSR);
const ZEN_CONTROL: ControlFeatures = control!(K8_CONTROL; XSAVE FSGSBASE TCE);
const ZEN_3_CONTROL: ControlFeatures =
    control!(ZEN_CONTROL; UMIP INT_WBINVD).difference(ControlFeatures::LMSLE);
const ZEN_4_CONTROL: ControlFeatures = control!(ZEN_3_CONTROL; UAI AUTOMATIC_IBRS);

/// The generations of Intel, then those of AMD, oldest first. A generation is listed if it changed
/// something that a walk or its error codes show; the others are like the one before.
pub const GENERATIONS: &[Generation] = &[
    generation("pentium-pro", Vendor::Intel, 36, Features::PGE).control(PENTIUM_PRO_CONTROL),
    generation("pentium-3", Vendor::Intel, 36, PENTIUM_3).control(PENTIUM_3_CONTROL),
    generation("prescott", Vendor::Intel, 36, PRESCOTT).control(PRESCOTT_CONTROL),
    generation("westmere", Vendor::Intel, 40, WESTMERE).control(WESTMERE_CONTROL),
    generation("ivy-bridge", Vendor::Intel, 46, IVY_BRIDGE).control(IVY_BRIDGE_CONTROL),
    generation("haswell", Vendor::Intel, 46, HASWELL).control(IVY_BRIDGE_CONTROL),
    generation("broadwell", Vendor::Intel, 46, BROADWELL).control(IVY_BRIDGE_CONTROL),
    generation("skylake", Vendor::Intel, 46, SKYLAKE).control(IVY_BRIDGE_CONTROL),
    generation("ice-lake", Vendor::Intel, 52, ICE_LAKE).control(ICE_LAKE_CONTROL),
    generation("sapphire-rapids", Vendor::Intel, 52, SAPPHIRE_RAPIDS)
        .control(SAPPHIRE_RAPIDS_CONTROL),
    // Like the one before: LAM and LASS came with the efficient cores.
    generation("granite-rapids", Vendor::Intel, 52, SAPPHIRE_RAPIDS)
        .control(SAPPHIRE_RAPIDS_CONTROL),
    generation("sierra-forest", Vendor::Intel, 52, SIERRA_FOREST).control(SIERRA_FOREST_CONTROL),
    generation("k8", Vendor::Amd, 40, PRESCOTT).control(K8_CONTROL),
    generation("barcelona", Vendor::Amd, 48, BARCELONA).control(K8_CONTROL),
    generation("zen", Vendor::Amd, 48, ZEN).control(ZEN_CONTROL),
    generation("zen-3", Vendor::Amd, 48, ZEN_3).control(ZEN_3_CONTROL),
    generation("zen-4", Vendor::Amd, 52, ZEN_4).control(ZEN_4_CONTROL),
];

impl Profile {
    /// The profile of a generation, by name.
    ///
    /// ```
    /// use mmu_core::{Features, Profile};
    /// let zen = Profile::generation("zen").unwrap();
    /// assert_eq!(zen.physical_address_bits, 48);
    /// assert!(!zen.features.contains(Features::PKU));
    /// assert!(Profile::generation("zen-3").unwrap().features.contains(Features::PKU));
    /// assert_eq!(Profile::generation("z80"), None);
    /// ```
    pub fn generation(name: &str) -> Option<Self> {
        let generation: Generation = name.parse().ok()?;
        Some(generation.profile)
    }

    /// This processor as emulated by QEMU's TCG, which reads PDPTEs during the walk (PDPTE-4;
    /// measured with QEMU 7.2).
    #[must_use]
    pub const fn emulated_by_tcg(mut self) -> Self {
        self.pins.pdptes_are_walked = Some(true);
        self
    }

    /// This processor as KVM's shadow MMU presents it: PDPTEs are held in registers (PDPTE-1) and
    /// not checked if P is 0 (PDPTE-2, from the source of Linux 6.18), and with SMEP alone a fetch
    /// is reported (CODE-8, measured).
    #[must_use]
    pub const fn shadowed_by_kvm(mut self) -> Self {
        self.pins.pdptes_are_walked = Some(false);
        self.pins.absent_pdptes_are_checked = Some(false);
        self.pins.smep_alone_reports_fetch = Some(true);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x86::format::{EntryKind, Format, FourLevel, Pae};
    use crate::{ControlState, Regime};
    use std::vec::Vec;

    #[test]
    fn names_are_unique_and_features_only_grow_within_a_vendor() {
        for (i, generation) in GENERATIONS.iter().enumerate() {
            let Generation { name, profile } = generation;
            assert_eq!(Profile::generation(name), Some(*profile), "{name}");

            let next = GENERATIONS.get(i + 1);
            if let Some(next) = next.filter(|next| next.profile.vendor == profile.vendor) {
                assert!(next.profile.features.contains(profile.features), "{}", next.name);
                assert!(next.profile.physical_address_bits >= profile.physical_address_bits);
            }
        }
    }

    #[test]
    fn linear_address_masking_came_with_sierra_forest() {
        // Intel's article on LAM and the models of QEMU give it to Sierra Forest, and not to the
        // Granite Rapids of the same year.
        let lam: Vec<_> = GENERATIONS
            .iter()
            .filter(|generation| generation.profile.features.contains(Features::LAM))
            .map(|generation| generation.name)
            .collect();
        assert_eq!(lam, ["sierra-forest"]);
    }

    #[test]
    fn invpcid_came_with_haswell_and_smap_with_broadwell() {
        let has = |name, feature| Profile::generation(name).unwrap().features.contains(feature);
        assert!(!has("ivy-bridge", Features::INVPCID));
        assert!(has("haswell", Features::INVPCID) && !has("haswell", Features::SMAP));
        assert!(has("broadwell", Features::INVPCID) && has("broadwell", Features::SMAP));
    }

    #[test]
    fn a_pin_overrides_the_vendor() {
        // The SDM ignores G in a PML4E; a processor pinned otherwise does not (CODE-7).
        let mut profile = Profile::generation("skylake").unwrap();
        let state = ControlState::four_level(0x1000);
        let reserved = |profile| {
            let regime = Regime::new(state, profile);
            let groups = FourLevel::reserved_bits(&FourLevel::LEVELS[0], EntryKind::Table, &regime);
            groups.iter().any(|(bits, _)| bits & 0x100 != 0)
        };

        assert!(!reserved(profile));
        profile.pins.global_in_pml4e_is_reserved = Some(true);
        assert!(reserved(profile));
    }

    #[test]
    fn pdpte_4_tcg_walks_the_pdptes_and_kvm_has_registers() {
        let mut state = ControlState::four_level(0x1000);
        state.pdptes[0] = 0x5001;
        let zen = Profile::generation("zen").unwrap();
        let register = |profile| Pae::register(&Pae::LEVELS[0], 0, &Regime::new(state, profile));

        assert_eq!(register(zen.emulated_by_tcg()), None);
        assert_eq!(register(zen.shadowed_by_kvm()), Some(0x5001));
    }
}
