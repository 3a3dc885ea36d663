//! Selectors of the guest's flat segments (SDM "Segment Selectors"): the low two bits are the ring.

/// 64-bit ring-0 code.
pub const SUPERVISOR_CODE: u16 = 0x08;
/// Ring-0 data with base 0.
pub const SUPERVISOR_DATA: u16 = 0x10;
/// Ring-3 data.
pub const USER_DATA: u16 = 0x18 | 3;
/// 64-bit ring-3 code.
pub const USER_CODE: u16 = 0x20 | 3;
