//! What a run says of its guest: one line of JSON, with the memory as a descriptor beside it (`SCM_RIGHTS`). A client
//! gets it at once, and need not say anything.
//!
//! ```text
//! {"crosswalk": 1, "moment": {"batch": 77, "record": 3}, "paused_us": 5012, "profile": "…",
//!  "registers": {"cr0": "0x80010011", …, "pdptes": null}, "ranges": [["0x0", "0x800000", "0x0"], …]}
//! {"crosswalk": 1, "error": "the guest could not be paused"}
//! ```

use super::sealed_memory::SealedMemory;
use crate::error::quoted;
use crate::extents::Extent;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde_json::{Value, json};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// The version of what is said.
const VERSION: u64 = 1;

/// The most bytes of the line.
const MAX_LINE: usize = 1 << 16;

/// The most ranges of memory. A guest of this program has some ten.
const MAX_RANGES: usize = 1 << 10;

const CHUNK: usize = 1 << 12;

/// The control registers of a vCPU, or those that a case gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotRegisters {
    /// CR0.
    pub cr0: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// EFER.
    pub efer: u64,
    /// The PDPTEs that the processor has loaded, if they are known and there is PAE paging.
    pub pdptes: Option<[u64; 4]>,
}

/// When a guest was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotMoment {
    /// While it ran a batch of cases. The registers are the vCPU's, which are those of the cases.
    Batch {
        /// The number of the batch.
        number: u64,
        /// The number of the record on which the guest worked.
        record: u64,
    },
    /// Between two batches. The registers are the vCPU's, which are those of the guest's own kernel.
    Between {
        /// How many batches the guest has begun.
        batches: u64,
    },
    /// After a case. The registers are those that its last access met; the vCPU has others again.
    AfterCase,
}

/// A guest at one moment.
#[derive(Debug)]
pub struct GuestSnapshot {
    /// When it was.
    pub moment: SnapshotMoment,
    /// How long the guest stood still for it.
    pub paused: Duration,
    /// The processor that the guest sees, as JSON.
    pub profile: String,
    /// The registers.
    pub registers: SnapshotRegisters,
    /// Which physical addresses are where in the memory.
    pub ranges: Vec<Extent>,
    /// The memory.
    pub memory: SealedMemory,
}

impl GuestSnapshot {
    /// Sends it to the client that has connected, and does not wait for it to be read.
    ///
    /// # Errors
    /// If the other side is gone.
    pub fn send(&self, stream: &UnixStream) -> io::Result<()> {
        let ranges = self.ranges.iter();
        let ranges: Vec<_> =
            ranges.map(|range| [hex(range.start), hex(range.len), hex(range.offset)]).collect();
        let SnapshotRegisters { cr0, cr3, cr4, efer, pdptes } = self.registers;
        let line = json!({
            "crosswalk": VERSION,
            "moment": match self.moment {
                SnapshotMoment::Batch { number, record } => json!({ "batch": number, "record": record }),
                SnapshotMoment::Between { batches } => json!({ "batches": batches }),
                SnapshotMoment::AfterCase => json!({ "case": true }),
            },
            "paused_us": u64::try_from(self.paused.as_micros()).unwrap_or(u64::MAX),
            "profile": self.profile,
            "registers": {
                "cr0": hex(cr0), "cr3": hex(cr3), "cr4": hex(cr4), "efer": hex(efer),
                "pdptes": pdptes.map(|pdptes| pdptes.map(hex)),
            },
            "ranges": ranges,
        });
        send(stream, &line, Some(&self.memory))
    }

    /// Says why there is none.
    ///
    /// # Errors
    /// If the other side is gone.
    pub fn send_error(stream: &UnixStream, problem: &str) -> io::Result<()> {
        send(stream, &json!({ "crosswalk": VERSION, "error": problem }), None)
    }

    /// Receives one, until a deadline.
    pub(super) fn receive(stream: &UnixStream, deadline: Instant) -> Result<Self, SnapshotError> {
        let (line, files) = receive_line(stream, deadline)?;
        let line: Value = serde_json::from_slice(&line)
            .map_err(|error| SnapshotError::Malformed(format!("expected JSON: {error}")))?;
        if line.get("crosswalk").and_then(Value::as_u64) != Some(VERSION) {
            let problem = "expected a run of this version of crosswalk: --live makes such a socket";
            return Err(SnapshotError::Malformed(problem.into()));
        }
        if let Some(problem) = line.get("error").and_then(Value::as_str) {
            return Err(SnapshotError::Refused(quoted(problem)));
        }

        let file = files.into_iter().next();
        let file = file.ok_or_else(|| SnapshotError::Malformed("expected its memory".into()))?;
        let memory = SealedMemory::receive(file).map_err(SnapshotError::Malformed)?;
        Self::read(&line, memory).map_err(|part| {
            SnapshotError::Malformed(format!("expected {part} of a guest as --live tells it"))
        })
    }

    /// Reads the line. The error is the part that is missing or wrong.
    fn read(line: &Value, memory: SealedMemory) -> Result<Self, &'static str> {
        let part = |name| line.get(name).ok_or(name);
        let ranges = part("ranges")?.as_array().filter(|ranges| ranges.len() <= MAX_RANGES);
        let ranges = ranges.ok_or("ranges")?.iter();
        let ranges = ranges.map(|range| read_range(range).filter(|at| is_inside(at, memory.len())));

        Ok(Self {
            moment: read_moment(part("moment")?).ok_or("moment")?,
            paused: Duration::from_micros(part("paused_us")?.as_u64().ok_or("paused_us")?),
            profile: part("profile")?.as_str().ok_or("profile")?.to_owned(),
            registers: read_registers(part("registers")?).ok_or("registers")?,
            ranges: ranges.collect::<Option<_>>().ok_or("ranges")?,
            memory,
        })
    }
}

/// Why there is no snapshot.
#[derive(Debug)]
pub(super) enum SnapshotError {
    /// The connection.
    Host(io::Error),
    /// What was received.
    Malformed(String),
    /// What the other side says.
    Refused(String),
}

fn send(stream: &UnixStream, line: &Value, memory: Option<&SealedMemory>) -> io::Result<()> {
    let mut line = line.to_string().into_bytes();
    line.push(b'\n');

    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    let files: Vec<_> = memory.map(AsFd::as_fd).into_iter().collect();
    if !files.is_empty() {
        beside.push(SendAncillaryMessage::ScmRights(&files));
    }

    // There is room in a socket that nothing was sent on. A client that leaves is not a signal.
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    match sendmsg(stream, &[IoSlice::new(&line)], &mut beside, flags)? {
        sent if sent == line.len() => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

/// Waits for a line, and the files that come with it.
fn receive_line(
    stream: &UnixStream,
    deadline: Instant,
) -> Result<(Vec<u8>, Vec<OwnedFd>), SnapshotError> {
    let mut line = Vec::new();
    let mut files = Vec::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        let patience = deadline.saturating_duration_since(Instant::now());
        if patience.is_zero() {
            return Err(SnapshotError::Host(io::ErrorKind::TimedOut.into()));
        }
        stream.set_read_timeout(Some(patience)).map_err(SnapshotError::Host)?;

        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut chunk)];
        let received = recvmsg(stream, &mut parts, &mut beside, RecvFlags::CMSG_CLOEXEC);
        let count = match received {
            Ok(received) => received.bytes,
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(SnapshotError::Host(error.into())),
        };
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                // Whatever else is sent is closed.
                files.extend(rights.take(1_usize.saturating_sub(files.len())));
            }
        }

        let part = chunk.get(..count).unwrap_or_default();
        if let Some(end) = part.iter().position(|byte| *byte == b'\n') {
            line.extend(part.iter().take(end));
            return Ok((line, files));
        }
        line.extend(part);
        if count == 0 {
            return Err(SnapshotError::Host(io::ErrorKind::UnexpectedEof.into()));
        }
        if line.len() > MAX_LINE {
            let problem = format!("expected a line of at most {MAX_LINE} bytes");
            return Err(SnapshotError::Malformed(problem));
        }
    }
}

fn hex(number: u64) -> String {
    format!("{number:#x}")
}

fn read_hex(text: &Value) -> Option<u64> {
    u64::from_str_radix(text.as_str()?.strip_prefix("0x")?, 16).ok()
}

fn read_registers(registers: &Value) -> Option<SnapshotRegisters> {
    let register = |name| read_hex(registers.get(name)?);
    let pdptes = match registers.get("pdptes")? {
        Value::Null => None,
        pdptes => {
            let pdptes: Option<Vec<_>> = pdptes.as_array()?.iter().map(read_hex).collect();
            Some(<[u64; 4]>::try_from(pdptes?).ok()?)
        }
    };
    Some(SnapshotRegisters {
        cr0: register("cr0")?,
        cr3: register("cr3")?,
        cr4: register("cr4")?,
        efer: register("efer")?,
        pdptes,
    })
}

fn read_moment(moment: &Value) -> Option<SnapshotMoment> {
    let number = |name| moment.get(name)?.as_u64();
    if let Some(number) = number("batch") {
        let record = moment.get("record")?.as_u64()?;
        return Some(SnapshotMoment::Batch { number, record });
    }
    if let Some(batches) = number("batches") {
        return Some(SnapshotMoment::Between { batches });
    }
    moment.get("case")?.as_bool()?.then_some(SnapshotMoment::AfterCase)
}

fn read_range(range: &Value) -> Option<Extent> {
    let [start, len, offset] = range.as_array()?.as_slice() else { return None };
    Extent::new(read_hex(start)?, read_hex(len)?, read_hex(offset)?)
}

/// Whether a range ends within a file of this length.
fn is_inside(range: &Extent, file_len: u64) -> bool {
    range.offset.checked_add(range.len).is_some_and(|end| end <= file_len)
}
