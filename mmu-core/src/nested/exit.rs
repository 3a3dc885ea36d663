//! What a processor reports when it leaves a guest, in all ways that the manuals allow.

use super::level::{Ept, EptCapabilities, SecondLevel};
use super::outcome::NestedExit;
use super::rule::{AnyRule, NestedRule, NestedRuleSet};
use super::second::SecondWalk;
use super::semantics::{Answer, NestedSemantics, Purpose, SecondFault};
use crate::access::AccessKind;
use crate::address::{PhysAddr, VirtAddr};
use crate::x86::fault::PageFaultCode;
use crate::x86::semantics::Rights;
use crate::x86::state::ControlState;
use arrayvec::ArrayVec;

/// A rule that leaves something open, and a member of the choice.
pub(super) type OpenMember = (AnyRule, &'static str);

/// The exits that are allowed, the likeliest first, each with the member of the choice that leads there.
pub(super) type Exits = ArrayVec<(NestedExit, Option<OpenMember>), 2>;

/// Bits 6:0 of EXITINFO1, the error code, and bits 32 and 33, which say what was translated.
const INFO1_KNOWN: u64 = 0x7f | 1 << 32 | 1 << 33;
/// Bits 5:0, 7, 8 and 63:17 of an exit qualification. Bit 6 and bits 11:9 are defined on a condition;
/// those between are about other things than the access.
const QUALIFICATION_KNOWN: u64 = 0x1bf | !0x1_ffff;
/// Bits 6:3 of an exit qualification: what the entries grant.
const QUALIFICATION_RIGHTS: u64 = 0x78;

/// An access that the second level refuses: everything that the exit depends on.
pub(super) struct Refusal<'w> {
    /// The walk that was refused.
    pub(super) walk: &'w SecondWalk,
    pub(super) fault: SecondFault,
    /// The linear address of the access, in the page that is reported.
    pub(super) linear: VirtAddr,
    /// The rights of the guest's page.
    pub(super) guest_rights: Rights,
}

impl Refusal<'_> {
    /// The exits that the manuals allow.
    pub(super) fn exits<N: NestedSemantics>(
        &self,
        nested: &N,
        second: &SecondLevel,
        rules: &mut NestedRuleSet,
    ) -> Exits {
        if self.fault == SecondFault::OutOfReach {
            rules.insert(NestedRule::Nest12);
        }

        match second {
            SecondLevel::Npt(host) => {
                rules.insert(NestedRule::Nest8);
                self.nested_page_faults(nested, host)
            }
            SecondLevel::Ept(_) if matches!(self.fault, SecondFault::Malformed(_)) => {
                rules.insert(NestedRule::Nest3);
                let guest_physical = self.address(nested).get();
                let is_cleared = nested.misconfiguration_clears_qualification();
                let qualification_known = if is_cleared { !0 } else { 0 };
                only(NestedExit::EptMisconfiguration { guest_physical, qualification_known })
            }
            SecondLevel::Ept(ept) => {
                rules.insert(NestedRule::Nest10);
                if ept.mode_based_execute && self.walk.access.kind == AccessKind::Fetch {
                    rules.insert(NestedRule::Nest11);
                }
                self.ept_violations(nested, ept)
            }
        }
    }

    /// The guest-physical address that is reported.
    fn address<N: NestedSemantics>(&self, nested: &N) -> PhysAddr {
        nested.reported_address(&self.walk.access, self.walk.guest_physical)
    }

    /// NEST-8 (APM "Nested versus Guest Page Faults, Fault Ordering").
    fn nested_page_faults<N: NestedSemantics>(&self, nested: &N, host: &ControlState) -> Exits {
        let access = &self.walk.access;
        let is_fetch = access.kind == AccessKind::Fetch;
        let address = self.address(nested);

        let code = nested.nested_fault_code(self.fault, access);
        let purpose = nested.purpose_bits(access.purpose);
        let unknown = match self.fault {
            SecondFault::OutOfReach => PageFaultCode::P | PageFaultCode::RSVD,
            _ => PageFaultCode::empty(),
        };
        let exit = |reports_fetch: bool, info2: u64| {
            let mut code = code;
            code.set(PageFaultCode::I, reports_fetch);
            NestedExit::NestedPageFault {
                info1: u64::from(code.bits()) | purpose,
                info1_known: INFO1_KNOWN & !u64::from(unknown.bits()),
                info2,
            }
        };

        let answer = nested.reports_nested_fetch(host);
        let reports_fetch = is_fetch && answer.likely();
        if access.purpose == Purpose::Table {
            let of_entry = exit(reports_fetch, address.get());
            let of_table = exit(reports_fetch, address.frame().get());
            return either(
                NestedRule::Nest8,
                (of_entry, "EXITINFO2 is the address of the entry"),
                (of_table, "EXITINFO2 is the address of the table"),
            );
        }

        let likely = exit(reports_fetch, address.get());
        if !is_fetch || !matches!(answer, Answer::Open { .. }) {
            return only(likely);
        }
        let other = exit(!reports_fetch, address.get());
        let name = |reports| if reports { "I/D is 1 without NXE" } else { "I/D is 0 without NXE" };
        let (likely, other) = ((likely, name(reports_fetch)), (other, name(!reports_fetch)));
        either(NestedRule::Nest8, likely, other)
    }

    /// NEST-10 (SDM "Exit Qualification for EPT Violations").
    fn ept_violations<N: NestedSemantics>(&self, nested: &N, ept: &Ept) -> Exits {
        let access = &self.walk.access;
        let is_page = access.purpose == Purpose::Page;
        let is_advanced = ept.capabilities.contains(EptCapabilities::ADVANCED_EXIT_INFORMATION);
        let reports_guest = is_page && is_advanced;

        let mut known = QUALIFICATION_KNOWN;
        if ept.mode_based_execute {
            known |= 1 << 6;
        }
        if reports_guest {
            known |= 0b111 << 9;
        }
        // No entry was looked at.
        if self.fault == SecondFault::OutOfReach {
            known &= !QUALIFICATION_RIGHTS;
        }

        let mut qualification = nested.qualification_of_access(access)
            | nested.qualification_of_rights(self.walk.rights())
            | nested.qualification_of_purpose(access.purpose);
        if reports_guest {
            qualification |= nested.qualification_of_guest(self.guest_rights);
        }
        let exit = |qualification: u64| NestedExit::EptViolation {
            qualification: qualification & known,
            qualification_known: known,
            guest_physical: self.address(nested).get(),
            linear: Some(self.linear.get()),
        };

        // A read-modify-write "sets bit 1. Whether it also sets bit 0 is implementation-specific". But an
        // access to a guest's table that counts as a write, since A and D of EPT are in use, sets both.
        let is_modified = access.kind == AccessKind::ReadModifyWrite;
        if !is_modified || (!is_page && ept.has_flags()) {
            return only(exit(qualification));
        }
        let write = (exit(qualification & !1), "a read-modify-write sets bit 1 alone");
        let both = (exit(qualification), "a read-modify-write sets bits 0 and 1");
        let (likely, other) = if is_page { (write, both) } else { (both, write) };
        either(NestedRule::Nest10, likely, other)
    }
}

/// One exit.
fn only(exit: NestedExit) -> Exits {
    Exits::from_iter([(exit, None)])
}

/// Two exits of which a rule leaves open which one it is, each with its name.
fn either(
    rule: NestedRule,
    likely: (NestedExit, &'static str),
    other: (NestedExit, &'static str),
) -> Exits {
    if likely.0 == other.0 {
        return only(likely.0);
    }
    let named = |(exit, name)| (exit, Some((AnyRule::Nested(rule), name)));
    Exits::from_iter([named(likely), named(other)])
}
