//! Where the monitor of a live guest listens.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where QEMU's monitor listens: `qmp:SOCKET`, the path of a Unix socket, or `qmp:HOST:PORT`.
///
/// ```
/// use crosswalk_inspect::MonitorAddress;
///
/// assert_eq!("qmp:/run/vm.qmp".parse(), Ok(MonitorAddress::Unix("/run/vm.qmp".into())));
/// let tcp = MonitorAddress::Tcp { host: "localhost".to_owned(), port: 4444 };
/// assert_eq!("qmp:localhost:4444".parse(), Ok(tcp));
/// assert_eq!("qmp:./a:1".parse(), Ok(MonitorAddress::Unix("./a:1".into())));
/// assert!("guest.elf".parse::<MonitorAddress>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MonitorAddress {
    /// The path of a Unix socket.
    Unix(PathBuf),
    /// A TCP port.
    Tcp {
        /// The name or the address of the host; one of IPv6 in brackets.
        host: String,
        /// The port.
        port: u16,
    },
}

/// What such a name begins with.
const PREFIX: &str = "qmp:";

/// The error for a name that is written otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected qmp:SOCKET or qmp:HOST:PORT")]
pub struct MonitorAddressError;

impl FromStr for MonitorAddress {
    type Err = MonitorAddressError;

    fn from_str(text: &str) -> Result<Self, MonitorAddressError> {
        let place = text.strip_prefix(PREFIX).filter(|place| !place.is_empty());
        let place = place.ok_or(MonitorAddressError)?;

        // A path that could be a port has a slash: `qmp:./name:1`.
        let tcp = place.rsplit_once(':').filter(|(host, _)| !host.contains('/'));
        let tcp = tcp.and_then(|(host, port)| Some((host, port.parse().ok()?)));
        Ok(match tcp {
            Some((host, port)) => Self::Tcp { host: host.to_owned(), port },
            None => Self::Unix(place.into()),
        })
    }
}

impl fmt::Display for MonitorAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{PREFIX}{}", path.display()),
            Self::Tcp { host, port } => write!(f, "{PREFIX}{host}:{port}"),
        }
    }
}
