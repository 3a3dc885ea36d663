//! Where a run of this program lets others look at its guest.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The socket of a run that lets others look at its guest of KVM: `kvm:SOCKET`.
///
/// ```
/// use crosswalk_inspect::KvmAddress;
/// use std::path::Path;
///
/// let address: KvmAddress = "kvm:/tmp/guest.sock".parse().unwrap();
/// assert_eq!((address.path(), address.to_string()), (Path::new("/tmp/guest.sock"), "kvm:/tmp/guest.sock".into()));
/// assert!("guest.elf".parse::<KvmAddress>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvmAddress(PathBuf);

/// What such a name begins with.
const PREFIX: &str = "kvm:";

/// The error for a name that is written otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected kvm:SOCKET")]
pub struct KvmAddressError;

impl KvmAddress {
    /// The path of the socket.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl FromStr for KvmAddress {
    type Err = KvmAddressError;

    fn from_str(text: &str) -> Result<Self, KvmAddressError> {
        let path = text.strip_prefix(PREFIX).filter(|path| !path.is_empty());
        path.map(|path| Self(path.into())).ok_or(KvmAddressError)
    }
}

impl fmt::Display for KvmAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.0.display())
    }
}
