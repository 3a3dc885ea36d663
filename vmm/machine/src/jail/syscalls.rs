//! Filters of system calls: seccomp.
//!
//! A refused call fails with EPERM. To kill a thread would leave those behind who wait for it.

mod emulator;
mod vcpu;
mod walker;

pub(super) use emulator::qemu;
pub(super) use vcpu::vcpu;
pub(super) use walker::walker;

use nix::errno::Errno;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};
use std::collections::BTreeMap;
use std::io;

/// The calls that a rule is about, and the arguments that it is about; none for any.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

const REFUSED: SeccompAction = SeccompAction::Errno(libc::EPERM as u32);
const UNKNOWN: SeccompAction = SeccompAction::Errno(libc::ENOSYS as u32);

/// Asks the kernel whether it has filters.
pub(super) fn ask() -> Result<(), String> {
    const GET_ACTION_AVAIL: u32 = 2;
    let action = libc::SECCOMP_RET_ERRNO;

    // SAFETY: the call reads one word, that of the action, and changes nothing.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAIL, 0, &raw const action) };
    match Errno::result(result) {
        Ok(_) => Ok(()),
        Err(Errno::ENOSYS) => Err("this kernel has none".into()),
        Err(error) => Err(format!("this kernel refuses filters: {error}")),
    }
}

/// Applies filters to the calling thread, for good. It only makes system calls.
pub(super) fn apply(filters: &[BpfProgram]) -> io::Result<()> {
    for filter in filters {
        // The error must not allocate, since this may be a child that has not started its program.
        apply_filter(filter).map_err(|error| match error {
            seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => error,
            _ => Errno::EINVAL.into(),
        })?;
    }
    Ok(())
}

/// A filter that refuses all calls but these.
fn only(allowed: Rules) -> io::Result<BpfProgram> {
    compile(allowed, REFUSED, SeccompAction::Allow)
}

/// A filter that allows all calls but these.
fn all_but(refused: Rules, action: SeccompAction) -> io::Result<BpfProgram> {
    compile(refused, SeccompAction::Allow, action)
}

fn compile(rules: Rules, others: SeccompAction, these: SeccompAction) -> io::Result<BpfProgram> {
    let filter = SeccompFilter::new(rules, others, these, TargetArch::x86_64);
    filter.and_then(TryInto::try_into).map_err(io::Error::other)
}

/// Rules for calls with any arguments.
fn any(calls: &[i64]) -> Rules {
    calls.iter().map(|call| (*call, Vec::new())).collect()
}

/// A rule about an argument: its bits under a mask have this value.
fn bits(argument: u8, mask: u64, value: u64) -> io::Result<SeccompRule> {
    all_of(vec![condition(argument, SeccompCmpOp::MaskedEq(mask), value & mask)?])
}

/// A rule about an argument of 32 bits.
fn is(argument: u8, value: u32) -> io::Result<SeccompRule> {
    bits(argument, u32::MAX.into(), value.into())
}

/// A rule about an argument of 32 bits: it has any other value.
fn is_not(argument: u8, value: u32) -> io::Result<SeccompRule> {
    let low_half = SeccompCmpArgLen::Dword;
    let condition = SeccompCondition::new(argument, low_half, SeccompCmpOp::Ne, value.into());
    all_of(vec![condition.map_err(io::Error::other)?])
}

/// A rule about two arguments of 32 bits: each has this value.
fn are([first, second]: [(u8, u32); 2]) -> io::Result<SeccompRule> {
    let low_half = SeccompCmpOp::MaskedEq(u32::MAX.into());
    let condition =
        |(argument, value): (u8, u32)| condition(argument, low_half.clone(), value.into());
    all_of(vec![condition(first)?, condition(second)?])
}

fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> io::Result<SeccompCondition> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Qword, operator, value);
    condition.map_err(io::Error::other)
}

fn all_of(conditions: Vec<SeccompCondition>) -> io::Result<SeccompRule> {
    SeccompRule::new(conditions).map_err(io::Error::other)
}
