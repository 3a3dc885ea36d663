//! The control states of hypervisor and guest, as a machine offers them.

use super::builder::{SecondKind, Setting};
use crosswalk_machine::nested::{Virtualization, Vmx};
use crosswalk_machine::{Capabilities, ModeOffer};
use mmu_core::nested::EptCapabilities;
use mmu_core::{ControlState, Cr0, Cr4, Efer, Features, PagingMode, Profile};
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

/// Why a machine runs no nested cases.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unoffered(pub String);

/// What a batch can have as its second level.
#[derive(Clone, Copy, Debug)]
pub struct HostSetting {
    profile: Profile,
    kind: HostKind,
}

#[derive(Clone, Copy, Debug)]
enum HostKind {
    /// NPT in the format of this mode.
    Npt(PagingMode),
    /// EPT.
    Ept(EptCapabilities),
}

/// The second levels that a machine offers.
///
/// # Errors
/// If there is none, and why.
pub fn settings(machine: &Capabilities) -> Result<Vec<HostSetting>, Unoffered> {
    let profile = machine.profile;
    let kinds = match &machine.virtualization {
        Err(why) => return Err(Unoffered(why.clone())),
        Ok(Virtualization::Vmx(vmx)) => vec![HostKind::Ept(ept_capabilities(vmx))],
        Ok(Virtualization::Svm { nested_paging, .. }) => {
            let offered = |mode: &PagingMode| {
                let is_in = |offers: &[ModeOffer]| {
                    let offer = offers.iter().find(|(offered, _)| offered == mode);
                    offer.map(|(_, offer)| offer.is_ok())
                };
                // What was not probed is tried where CPUID reports it, and the mode is offered.
                let by_probe = is_in(&machine.nested_modes);
                is_in(&machine.modes) == Some(true) && by_probe.unwrap_or(*nested_paging)
            };
            let formats =
                [PagingMode::FourLevel, PagingMode::FiveLevel, PagingMode::Pae, PagingMode::Bits32];
            let offered = formats.into_iter().filter(offered);
            let kinds: Vec<_> = offered.map(HostKind::Npt).collect();
            if kinds.is_empty() && !nested_paging {
                let why = "CPUID 8000000Ah EDX[0] says that there is no nested paging";
                return Err(Unoffered(why.into()));
            }
            kinds
        }
    };
    Ok(kinds.into_iter().map(|kind| HostSetting { profile, kind }).collect())
}

/// The second levels that a machine offers, all of one kind.
#[derive(Clone, Debug)]
pub struct SecondLevels {
    /// Their formats, each by the paging mode that has as many levels.
    pub formats: Vec<PagingMode>,
    /// What EPT can do, if that is their kind; otherwise it is NPT.
    pub ept: Option<EptCapabilities>,
}

impl SecondLevels {
    /// The name of the kind: `npt` or `ept`.
    pub const fn name(&self) -> &'static str {
        if self.ept.is_some() { "ept" } else { "npt" }
    }

    /// What EPT can do, by the names that cases have.
    pub fn capability_names(&self) -> Vec<String> {
        let capabilities = self.ept.unwrap_or(EptCapabilities::empty());
        capabilities.iter_names().map(|(name, _)| name.to_lowercase()).collect()
    }
}

/// The second levels that a machine offers, to be told.
///
/// # Errors
/// If there is none, and why.
pub fn second_levels(machine: &Capabilities) -> Result<SecondLevels, Unoffered> {
    let mut levels = SecondLevels { formats: Vec::new(), ept: None };
    for setting in settings(machine)? {
        match setting.kind {
            HostKind::Npt(mode) => levels.formats.push(mode),
            HostKind::Ept(capabilities) => {
                levels.ept = Some(capabilities);
                levels.formats.push(PagingMode::FourLevel);
                if capabilities.contains(EptCapabilities::FIVE_LEVELS) {
                    levels.formats.push(PagingMode::FiveLevel);
                }
            }
        }
    }
    Ok(levels)
}

/// What a processor can do with extended page tables.
pub(crate) fn ept_capabilities(vmx: &Vmx) -> EptCapabilities {
    const MODE_BASED_EXECUTE: u32 = 1 << 22;

    let mut capabilities = EptCapabilities::from_msr(vmx.ept_capabilities());
    let has_it = vmx.secondary().allowed & MODE_BASED_EXECUTE != 0;
    capabilities.set(EptCapabilities::MODE_BASED_EXECUTE, has_it);
    capabilities
}

impl HostSetting {
    /// Draws the control state of a batch.
    pub(super) fn draw(&self, rng: &mut impl Rng) -> Setting {
        let profile = self.profile;
        let second = match self.kind {
            HostKind::Npt(mode) => SecondKind::Npt(host(rng, mode, profile)),
            HostKind::Ept(capabilities) => ept(rng, capabilities),
        };
        Setting { profile, second }
    }
}

/// The control state of a hypervisor with NPT. What does not matter to its second level is drawn, too.
fn host(rng: &mut impl Rng, mode: PagingMode, profile: Profile) -> ControlState {
    let mut state = plain(mode, profile);
    state.efer |= Efer::SVME;
    state.efer.set(Efer::NXE, profile.features.contains(Features::NX) && rng.random_ratio(3, 4));
    state.cr0.set(Cr0::WP, rng.random_ratio(3, 4));
    state.cr4.set(Cr4::SMEP, profile.features.contains(Features::SMEP) && rng.random_ratio(1, 4));
    state.cr4.set(Cr4::SMAP, profile.features.contains(Features::SMAP) && rng.random_ratio(1, 4));
    state.cr4.set(Cr4::PSE, rng.random_ratio(3, 4));
    state
}

fn ept(rng: &mut impl Rng, capabilities: EptCapabilities) -> SecondKind {
    // Write-back memory; the length of a walk less one in bits 5:3; A and D by bit 6.
    let five_levels = capabilities.contains(EptCapabilities::FIVE_LEVELS) && rng.random();
    let length: u64 = if five_levels { 4 } else { 3 };
    let has_flags = capabilities.contains(EptCapabilities::FLAGS) && rng.random();
    let mode_based_execute =
        capabilities.contains(EptCapabilities::MODE_BASED_EXECUTE) && rng.random();
    SecondKind::Ept {
        flags: 6 | length << 3 | u64::from(has_flags) << 6,
        five_levels,
        mode_based_execute,
        capabilities,
    }
}

/// The control state of L2.
pub(super) fn guest(rng: &mut impl Rng, setting: &Setting) -> ControlState {
    const MODES: [PagingMode; 8] = [
        PagingMode::FourLevel,
        PagingMode::FourLevel,
        PagingMode::FiveLevel,
        PagingMode::Pae,
        PagingMode::Pae,
        PagingMode::Bits32,
        PagingMode::Bits32,
        PagingMode::Unpaged,
    ];

    let Setting { profile, second } = setting;
    let features = profile.features;
    let mut mode = *MODES.choose(rng).unwrap_or(&PagingMode::FourLevel);
    let can_be_long = !matches!(second.mode(), PagingMode::Pae | PagingMode::Bits32);
    if mode == PagingMode::FiveLevel && !features.contains(Features::LA57) {
        mode = PagingMode::FourLevel;
    }
    if mode.is_long_mode() && !can_be_long {
        mode = if mode == PagingMode::FiveLevel { PagingMode::Bits32 } else { PagingMode::Pae };
    }

    let mut state = plain(mode, *profile);
    if !second.is_ept() {
        state.efer |= Efer::SVME;
    }
    state.efer.set(Efer::NXE, features.contains(Features::NX) && rng.random_ratio(3, 4));
    state.cr0.set(Cr0::WP, rng.random_ratio(3, 4));
    state.cr4.set(Cr4::PGE, rng.random_ratio(1, 4));
    state.cr4.set(Cr4::PSE, rng.random_ratio(3, 4));
    state.cr4.set(Cr4::SMEP, features.contains(Features::SMEP) && rng.random_ratio(1, 4));
    state.cr4.set(Cr4::SMAP, features.contains(Features::SMAP) && rng.random_ratio(1, 4));
    state
}

/// The levels of L2's entries that can map large pages.
pub(super) fn guest_leaves(setting: &Setting, guest: &ControlState) -> Vec<u8> {
    leaves(guest.mode(), guest, setting.profile)
}

/// The same of the second level.
pub(super) fn nested_leaves(setting: &Setting) -> Vec<u8> {
    match setting.second {
        SecondKind::Npt(host) => leaves(host.mode(), &host, setting.profile),
        SecondKind::Ept { capabilities, .. } => {
            let has_1gb = capabilities.contains(EptCapabilities::PAGE_1GB);
            if has_1gb { vec![2, 3] } else { vec![2] }
        }
    }
}

fn leaves(mode: PagingMode, state: &ControlState, profile: Profile) -> Vec<u8> {
    let mut leaves = Vec::new();
    if match mode {
        PagingMode::Bits32 => state.cr4.contains(Cr4::PSE),
        PagingMode::Unpaged | PagingMode::Linear => false,
        _ => true,
    } {
        leaves.push(2);
    }
    if mode.is_long_mode() && profile.features.contains(Features::PAGE_1GB) {
        leaves.push(3);
    }
    leaves
}

/// The plainest control state of a mode.
fn plain(mode: PagingMode, profile: Profile) -> ControlState {
    let mut state = match mode {
        PagingMode::FiveLevel => ControlState::five_level(0),
        PagingMode::Pae => ControlState::pae(0, [0; 4]),
        PagingMode::Bits32 => ControlState::bits32(0),
        PagingMode::Unpaged => ControlState::unpaged(),
        _ => ControlState::four_level(0),
    };
    if !profile.features.contains(Features::NX) {
        state.efer -= Efer::NXE;
    }
    state
}
