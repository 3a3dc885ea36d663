//! A connection to a monitor, on which nothing is waited for without end.

use super::address::MonitorAddress;
use crate::unix_socket::{connect_within, listening_process};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A connection.
#[derive(Debug)]
pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    /// Connects, within the time that is given.
    pub(super) fn connect(address: &MonitorAddress, patience: Duration) -> io::Result<Self> {
        match address {
            MonitorAddress::Unix(path) => connect_within(path, patience).map(Self::Unix),
            MonitorAddress::Tcp { host, port } => {
                let host = host.trim_start_matches('[').trim_end_matches(']');
                let mut last = io::Error::from(io::ErrorKind::NotFound);
                for address in (host, *port).to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, patience) {
                        Ok(stream) => return Ok(Self::Tcp(stream)),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }

    /// The process that listened when the connection was made. `None` if the kernel does not know it: it is on
    /// another host or in another namespace.
    pub(super) fn process(&self) -> Option<i32> {
        let Self::Unix(stream) = self else { return None };
        listening_process(stream)
    }

    /// Reads what there is, for at most so long.
    pub(super) fn read(&mut self, bytes: &mut [u8], patience: Duration) -> io::Result<usize> {
        // A time of zero would be no limit.
        let patience = Some(patience.max(Duration::from_millis(1)));
        match self {
            Self::Unix(stream) => {
                stream.set_read_timeout(patience)?;
                stream.read(bytes)
            }
            Self::Tcp(stream) => {
                stream.set_read_timeout(patience)?;
                stream.read(bytes)
            }
        }
    }

    /// Writes all of it.
    pub(super) fn write(&mut self, bytes: &[u8], patience: Duration) -> io::Result<()> {
        match self {
            Self::Unix(stream) => {
                stream.set_write_timeout(Some(patience))?;
                stream.write_all(bytes)
            }
            Self::Tcp(stream) => {
                stream.set_write_timeout(Some(patience))?;
                stream.write_all(bytes)
            }
        }
    }
}
