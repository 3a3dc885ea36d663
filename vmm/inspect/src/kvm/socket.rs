//! The socket on which a run lets others look at its guest: for its user alone, and gone when the run is.

use crate::unix_socket::connect_within;
use rustix::fs::{Mode, fchmod};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen,
    shutdown, socket_with,
};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How many clients may wait.
const BACKLOG: i32 = 16;

/// How long is waited for a program that may listen on a socket that is there.
const LISTENER: Duration = Duration::from_secs(1);

/// A Unix socket that listens. Its file goes when this is dropped.
#[derive(Debug)]
pub struct GuestSocket {
    listener: OwnedFd,
    path: PathBuf,
    /// The device and the number of the file.
    identity: (u64, u64),
}

impl GuestSocket {
    /// Makes the socket, which only this user may connect to. One that is there is replaced if nobody listens.
    ///
    /// # Errors
    /// If something else has this path, another program listens there, or the host refuses the socket.
    pub fn bind(path: &Path) -> io::Result<Self> {
        remove_stale(path)?;

        let address = SocketAddrUnix::new(path)?;
        let listener =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        // The file gets the mode of the socket: there is no moment at which others may connect.
        fchmod(&listener, Mode::RUSR | Mode::WUSR)?;
        bind(&listener, &address)?;
        let made = fs::symlink_metadata(path)?;
        let socket = Self { listener, path: path.to_owned(), identity: (made.dev(), made.ino()) };
        listen(&socket.listener, BACKLOG)?;
        Ok(socket)
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for a client. `None` once the socket is closed.
    ///
    /// # Errors
    /// If the host has no room for a connection.
    pub fn accept(&self) -> io::Result<Option<UnixStream>> {
        loop {
            match accept_with(&self.listener, SocketFlags::CLOEXEC) {
                Ok(stream) => return Ok(Some(stream.into())),
                Err(Errno::INVAL) => return Ok(None),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Ends the waiting, from another thread.
    pub fn close(&self) {
        // It listens, so there is something to shut down.
        let _ = shutdown(&self.listener, Shutdown::Both);
    }
}

impl Drop for GuestSocket {
    fn drop(&mut self) {
        // Another program may have the path by now.
        let is_own = fs::symlink_metadata(&self.path)
            .is_ok_and(|there| (there.dev(), there.ino()) == self.identity);
        if is_own {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes a socket of a program that is gone.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(there) if !there.file_type().is_socket() => {
            let problem = "there is a file that is not a socket";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, problem));
        }
        Ok(_) => {}
    }

    match connect_within(path, LISTENER) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if !matches!(error.kind(), io::ErrorKind::WouldBlock) => Err(error),
        _ => {
            let problem = "another program listens there";
            Err(io::Error::new(io::ErrorKind::AddrInUse, problem))
        }
    }
}
