//! Why a memory image cannot be used, and why a part of it cannot be read.

use mmu_core::PhysAddr;
use mmu_core::memory::OutsideMemory;
use std::io;
use std::path::Path;

/// Why physical memory cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The image has nothing at this address.
    #[error("the image has no memory at physical address {}", .0.0)]
    Outside(OutsideMemory),
    /// The host cannot read the file, or the guest.
    #[error("the file or the guest cannot be read at {offset:#x}: {kind}")]
    Host {
        /// The offset in the file, or the address in QEMU's process.
        offset: u64,
        /// Why not.
        kind: io::ErrorKind,
    },
    /// The file does not have what its format says.
    #[error("the file is damaged at {offset:#x}: {problem}")]
    Damaged {
        /// The offset in the file; of a flattened file, that in the file which it stands for.
        offset: u64,
        /// What is wrong there.
        problem: &'static str,
    },
}

impl ReadError {
    /// The image has nothing at this address.
    pub(crate) const fn outside(address: u64) -> Self {
        Self::Outside(OutsideMemory(PhysAddr::new(address)))
    }

    pub(crate) const fn damaged(offset: u64, problem: &'static str) -> Self {
        Self::Damaged { offset, problem }
    }
}

/// Why a memory image cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MemoryImageError {
    /// The host cannot open or read the file, or does not reach the guest.
    #[error("{file}: {place}: {error}")]
    Host {
        /// The file.
        file: String,
        /// What was to be read.
        place: String,
        /// Why it cannot be read.
        error: io::Error,
    },
    /// The file is not what its beginning claims that it is, or the other side of a socket is not QEMU.
    #[error("{file}: {place}: {problem}")]
    Malformed {
        /// The file.
        file: String,
        /// The part of the file, with its offset.
        place: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The format of the file is not read here.
    #[error("{file}: {advice}")]
    Unsupported {
        /// The file.
        file: String,
        /// What it is, and what to do.
        advice: String,
    },
    /// A live guest was stopped to be read, and does not run again.
    #[error(
        "{guest}: the guest was stopped to be read, and cannot be resumed: {problem}; `cont` in QEMU's monitor \
         resumes it"
    )]
    NotResumed {
        /// The guest.
        guest: String,
        /// What happened.
        problem: String,
    },
    /// The run that has a live guest closed the connection, does not answer, or cannot pass its guest on.
    #[error("{guest}: {problem}")]
    RunFailed {
        /// The guest.
        guest: String,
        /// What happened.
        problem: String,
    },
    /// The image does not have what was asked for.
    #[error("{file}: {problem}")]
    Lacking {
        /// The file.
        file: String,
        /// What is missing, and what to do.
        problem: String,
    },
}

/// What another program says, as a part of an error: some letters of it, on one line.
pub(crate) fn quoted(text: &str) -> String {
    const MAX_LETTERS: usize = 200;

    let printable = |letter: char| if letter.is_control() { ' ' } else { letter };
    text.chars().take(MAX_LETTERS).map(printable).collect()
}

/// Makes errors about one file, or about one live guest.
#[derive(Clone, Debug)]
pub(crate) struct AboutFile(String);

impl AboutFile {
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.display().to_string())
    }

    /// About the guest with this name.
    pub(crate) const fn guest(name: String) -> Self {
        Self(name)
    }

    pub(crate) fn host(&self, place: impl Into<String>, error: io::Error) -> MemoryImageError {
        MemoryImageError::Host { file: self.0.clone(), place: place.into(), error }
    }

    pub(crate) fn malformed(
        &self,
        place: impl Into<String>,
        problem: impl Into<String>,
    ) -> MemoryImageError {
        let (place, problem) = (place.into(), problem.into());
        MemoryImageError::Malformed { file: self.0.clone(), place, problem }
    }

    /// The error for a part of the file that could not be read.
    pub(crate) fn unreadable(
        &self,
        place: impl Into<String>,
        error: ReadError,
    ) -> MemoryImageError {
        match error {
            ReadError::Host { kind, .. } if kind != io::ErrorKind::UnexpectedEof => {
                self.host(place, kind.into())
            }
            ReadError::Host { offset, .. } => {
                self.malformed(place, format!("the file ends before it does, at {offset:#x}"))
            }
            ReadError::Damaged { offset, problem } => {
                self.malformed(place, format!("{problem}, at {offset:#x}"))
            }
            ReadError::Outside(_) => self.malformed(place, error.to_string()),
        }
    }

    pub(crate) fn unsupported(&self, advice: impl Into<String>) -> MemoryImageError {
        MemoryImageError::Unsupported { file: self.0.clone(), advice: advice.into() }
    }

    pub(crate) fn lacks_cpu(&self, count: usize, cpu: usize) -> MemoryImageError {
        let cpus = if count == 1 { "1 CPU" } else { &format!("{count} CPUs") };
        self.lacking(format!(
            "it has the registers of {cpus}, counted from 0, and not those of CPU {cpu}"
        ))
    }

    pub(crate) fn not_resumed(&self, problem: impl Into<String>) -> MemoryImageError {
        MemoryImageError::NotResumed { guest: self.0.clone(), problem: problem.into() }
    }

    pub(crate) fn run_failed(&self, problem: impl Into<String>) -> MemoryImageError {
        MemoryImageError::RunFailed { guest: self.0.clone(), problem: problem.into() }
    }

    pub(crate) fn lacking(&self, problem: impl Into<String>) -> MemoryImageError {
        MemoryImageError::Lacking { file: self.0.clone(), problem: problem.into() }
    }
}
