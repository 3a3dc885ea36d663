//! Connecting to a Unix socket, for which nothing is waited without end.

use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Connects, within the time that is given: a listener that takes no more connections would let `connect` wait for
/// ever.
pub(crate) fn connect_within(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let stream = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&stream, Timeout::Send, Some(patience))?;
    connect(&stream, &SocketAddrUnix::new(path)?)?;
    Ok(stream.into())
}

/// The process that listened when a connection was made. `None` if the kernel does not know it: it is in another
/// namespace.
pub(crate) fn listening_process(stream: &UnixStream) -> Option<i32> {
    let credentials = socket_peercred(stream).ok()?;
    Some(credentials.pid.as_raw_nonzero().get())
}
