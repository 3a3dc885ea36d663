//! What happens in a sequence, for those who look back on it.

use super::register_write;
use crate::privileged::invalidation;
use crosswalk_case::{Action, Case};
use mmu_core::cache::{Invalidation, must_be_invalidated_by};
use mmu_core::walk::Path;
use mmu_core::x86::control::Mov;
use mmu_core::{Access, AnyMmu, ControlState, Cr0, Cr4, PhysAddr, Profile, VirtAddr};

/// One thing that happens in a sequence.
#[derive(Clone, Debug)]
pub(crate) enum SequenceEvent {
    /// An access.
    Access {
        /// The access.
        access: Access,
        /// The walk for its first byte.
        path: Box<Path>,
        /// Whether it completed.
        completed: bool,
    },
    /// Any other action.
    Action(Action),
}

impl SequenceEvent {
    /// The access and its walk, if it completed.
    pub(crate) fn completed(&self) -> Option<(&Access, &Path)> {
        match self {
            Self::Access { access, path, completed: true } => Some((access, path)),
            _ => None,
        }
    }

    /// The value that software writes to the entry at this address, if it does.
    pub(crate) fn written_at(&self, at: PhysAddr) -> Option<u64> {
        match self {
            Self::Action(Action::Write(entry)) if entry.at == at.get() => Some(entry.value),
            _ => None,
        }
    }

    /// Whether it drops what is cached of an address.
    pub(crate) fn invalidates(&self, address: VirtAddr) -> bool {
        match self {
            Self::Action(Action::ReloadCr3) => true,
            Self::Action(Action::Invlpg(dropped)) => is_same_page(*dropped, address),
            _ => false,
        }
    }
}

/// Whether two addresses are in the same 4 KiB page.
pub(crate) const fn is_same_page(one: VirtAddr, other: VirtAddr) -> bool {
    one.get() >> 12 == other.get() >> 12
}

/// Whether the supervisor wrote the page of an access while CR0.WP was 0, since the last event that drops it.
pub(crate) fn is_written_without_wp(
    events: &[SequenceEvent],
    access: &Access,
    state: &ControlState,
    drops: impl Fn(&SequenceEvent) -> bool,
) -> bool {
    let mut write_protect = state.cr0.contains(Cr0::WP);
    let since = events.iter().rev().take_while(|event| !drops(event));

    // Back through the values that WP had.
    for event in since {
        if let SequenceEvent::Action(Action::WriteProtect(on)) = event {
            write_protect = !on;
        }

        let is_written = event.completed().is_some_and(|(earlier, _)| {
            let is_same_page = is_same_page(earlier.address, access.address);
            is_same_page && earlier.kind.writes() && !earlier.is_user()
        });
        if is_written && !write_protect {
            return true;
        }
    }
    false
}

/// A MOV that changes registers like this, as events: what it drops counts as a MOV to CR3 drops it, and a
/// change of WP is one.
pub(super) fn mov_events(
    mov: Mov,
    (before, after): (&ControlState, &ControlState),
    profile: Profile,
) -> impl Iterator<Item = SequenceEvent> {
    let write = register_write(mov);
    let is_loaded = before != after || matches!(mov, Mov::Cr3(value) if value == before.cr3);
    let dropped = must_be_invalidated_by(write, before, after, profile.vendor);
    let drops = is_loaded && dropped != Invalidation::Nothing;
    let changes_wp = (before.cr0 ^ after.cr0).contains(Cr0::WP);

    let reload = drops.then_some(Action::ReloadCr3);
    let protect = changes_wp.then_some(Action::WriteProtect(after.cr0.contains(Cr0::WP)));
    let other = (!drops && !changes_wp).then_some(Action::Mov(mov));
    reload.into_iter().chain(protect).chain(other).map(SequenceEvent::Action)
}

/// An action as an event: INVPCID that drops what the current PCID has cached of a page counts as INVLPG, and
/// one that drops all of it as a MOV to CR3.
pub(super) fn event_of(action: Action, state: &ControlState, profile: &Profile) -> SequenceEvent {
    let own = if state.cr4.contains(Cr4::PCIDE) { (state.cr3 & 0xfff) as u16 } else { 0 };
    let dropped = match action {
        Action::Invpcid(invpcid) => invalidation(invpcid, state, profile).ok(),
        _ => None,
    };
    SequenceEvent::Action(match dropped {
        Some(Invalidation::Address { address, pcid }) if pcid == own => Action::Invlpg(address),
        Some(Invalidation::Context { pcid }) if pcid == own => Action::ReloadCr3,
        Some(Invalidation::Everything | Invalidation::NonGlobal) => Action::ReloadCr3,
        _ => action,
    })
}

/// An access as an event, with its walk by the reference.
pub(super) fn walked(
    case: &Case,
    state: &ControlState,
    memory: &Case,
    access: Access,
) -> SequenceEvent {
    let mut path = Path::default();
    let mmu = AnyMmu::new(*state, case.profile);
    let end = mmu.walk(memory, access.address, &access, &mut path);
    SequenceEvent::Access { access, path: Box::new(path), completed: end.is_ok() }
}
