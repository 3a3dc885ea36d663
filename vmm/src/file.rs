//! Files that stay whole whatever happens to the program, and that lead nowhere else: a file is
//! replaced at once or not at all, read up to a limit, and only ever a regular file.
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unwrap_used
    )
)]

use crosswalk_machine::jail::JailError;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::{Access, Dir, FlockOperation, access, flock};
use rustix::io::Errno as LockError;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, Cursor, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// The argument that stands for standard input.
const STANDARD_INPUT: &str = "-";

/// How the name of a file begins that is not whole yet.
const UNFINISHED: &str = ".crosswalk-";

/// Replaces a file by one with this content. It is written beside the old one, under a name that
/// nobody can guess, made durable, and then renamed: a reader finds the old content or the new
/// one, after a failure of the power, too.
///
/// # Errors
/// When it is not a regular file, or cannot be written: the old content is still there then. Or when the
/// new name may not outlive a failure of the power.
pub fn replace(path: &Path, content: impl AsRef<[u8]>) -> io::Result<()> {
    replace_with(path, |file| file.write_all(content.as_ref()))
}

/// The same, with content that is written piece by piece.
///
/// # Errors
/// The same, and those of `write`.
pub fn replace_with<E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&mut File) -> Result<(), E>,
) -> Result<(), E> {
    check_replaceable(path)?;

    let directory = directory_of(path);
    // As for every new file, the umask takes away what others may not do.
    let permissions = Permissions::from_mode(0o666);
    let mut next = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .permissions(permissions)
        .tempfile_in(directory)
        .map_err(without_place)?;

    // The file itself, whose errors do not name the place.
    write(next.as_file_mut())?;
    // A file system may write the name before the content.
    next.as_file().sync_all()?;
    next.persist(path).map_err(|error| error.error)?;

    sync_directory(directory)?;
    Ok(())
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    }
}

/// An error without the name of a file that nobody is to see.
fn without_place(error: io::Error) -> io::Error {
    match error.to_string().split_once(" at path ") {
        Some((cause, _)) => io::Error::new(error.kind(), cause),
        None => error,
    }
}

/// Makes the names in a directory durable, where the file system can.
fn sync_directory(directory: &Path) -> io::Result<()> {
    match File::open(directory)?.sync_all() {
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

/// Whether an error is a failure of the host, or a lack of something that it has for all, and not about
/// the file that was named.
pub fn is_of_host(error: &io::Error) -> bool {
    let is_of_jail = matches!(error.get_ref(), Some(inner) if inner.is::<JailError>());
    let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));

    is_of_jail
        || matches!(
            errno,
            Errno::ENOSPC
                | Errno::EDQUOT
                | Errno::EFBIG
                | Errno::EIO
                | Errno::ENOMEM
                | Errno::EMFILE
                | Errno::ENFILE
                | Errno::EAGAIN
        )
}

/// Checks that [`replace`] may replace what has this path: nothing, or a regular file, in a directory that can be
/// written. A device such as /dev/null, a pipe, or a symbolic link has a meaning of its own.
///
/// # Errors
/// When it is anything else, or nobody can tell.
pub fn check_replaceable(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => return Err(not_regular()),
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    access(directory_of(path), Access::WRITE_OK | Access::EXEC_OK)?;
    Ok(())
}

/// Reads a file of at most `limit` bytes; `None` if it does not exist. Neither a link nor a pipe that
/// has its name is opened.
///
/// # Errors
/// When it is not a regular file, is longer, is not UTF-8, or cannot be read.
pub fn read_at_most(path: &Path, limit: u64) -> io::Result<Option<String>> {
    // A pipe without a writer would keep a blocking open waiting.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = match File::options().read(true).custom_flags(flags.bits()).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(Errno::ELOOP as i32) => {
            return Err(not_regular());
        }
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Err(not_regular());
    }

    text_of(file, limit).map(Some)
}

/// Opens what the user names as an input that is read once, from the beginning on: a file, a pipe such as that of
/// `<(...)`, or `-`, which is standard input. A named pipe has some seconds to be opened by a writer, too; from
/// then on it is waited for, as every program does.
///
/// # Errors
/// When it does not exist, cannot be opened, is a directory, or is a named pipe without a writer.
pub fn open_input(path: &Path) -> io::Result<Box<dyn Read + Send>> {
    if path.as_os_str() == STANDARD_INPUT {
        return Ok(Box::new(io::stdin()));
    }

    // A named pipe without a writer would keep a blocking open waiting.
    let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(Errno::EISDIR.into());
    }
    let first = if kind.is_fifo() { first_of_pipe(&file)? } else { Vec::new() };
    fcntl(&file, FcntlArg::F_SETFL(OFlag::empty()))?;
    Ok(Box::new(Cursor::new(first).chain(file)))
}

/// Waits some seconds until a named pipe has a writer. Returns what had to be read to find out.
fn first_of_pipe(mut pipe: &File) -> io::Result<Vec<u8>> {
    const PATIENCE: u16 = 3000;

    let mut waiting = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
    if poll(&mut waiting, PollTimeout::from(PATIENCE))? > 0 {
        return Ok(Vec::new());
    }

    // A pipe that has no writer is at its end. One whose writer has not written yet would block.
    let mut first = vec![0];
    match pipe.read(&mut first) {
        Ok(0) => {
            let problem = "nothing writes into this pipe: expected a writer within 3 seconds";
            Err(io::Error::new(ErrorKind::TimedOut, problem))
        }
        Ok(_) => Ok(first),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// What errors and reports call an input.
pub fn input_name(path: &Path) -> String {
    if path.as_os_str() == STANDARD_INPUT {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    }
}

/// Reads an input of at most `limit` bytes.
///
/// # Errors
/// When it does not exist, is longer, is not UTF-8, or cannot be read.
pub fn read_input(path: &Path, limit: u64) -> io::Result<String> {
    text_of(open_input(path)?, limit)
}

fn text_of(file: impl Read, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    file.take(limit.saturating_add(1)).read_to_string(&mut text)?;
    if text.len() as u64 > limit {
        let problem = format!("expected at most {limit} bytes");
        return Err(io::Error::new(ErrorKind::FileTooLarge, problem));
    }
    Ok(text)
}

fn not_regular() -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, "expected a regular file, found something else")
}

/// A directory in which nobody else writes while this value lives. The kernel gives it free when the
/// program ends, however it ends.
#[derive(Debug)]
pub struct LockedDirectory {
    /// The lock ends when this is closed. A file system without locks has none.
    _directory: File,
}

impl LockedDirectory {
    /// Creates the directory if it does not exist, locks it, and removes what a program that was killed
    /// left unfinished there.
    ///
    /// # Errors
    /// When it cannot be created or opened, or another run has locked it.
    pub fn create(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        let directory = File::open(path)?;

        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => remove_unfinished(path)?,
            Err(LockError::WOULDBLOCK) => {
                return Err(io::Error::new(
                    ErrorKind::ResourceBusy,
                    "another run is writing into it",
                ));
            }
            // Some network file systems have no locks. Files are whole there all the same.
            Err(LockError::NOLCK | LockError::NOTSUP) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Self { _directory: directory })
    }

    /// The same for a directory in one that is locked. A symbolic link would lead elsewhere.
    ///
    /// # Errors
    /// Those of [`Self::create`], and when there is a symbolic link of that name.
    pub fn create_within(path: &Path) -> io::Result<Self> {
        if fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) {
            return Err(io::Error::new(ErrorKind::NotADirectory, "it is a symbolic link"));
        }
        Self::create(path)
    }
}

/// The standard library's iterator panics where a directory cannot be closed, so this is another.
fn remove_unfinished(directory: &Path) -> io::Result<()> {
    for entry in Dir::new(File::open(directory)?)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        let path = directory.join(OsStr::from_bytes(name));

        if name.starts_with(UNFINISHED.as_bytes()) && fs::symlink_metadata(&path)?.is_file() {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;
    use std::os::unix::fs::{FileTypeExt, symlink};

    #[test]
    fn a_file_is_replaced_whole() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");

        for text in ["a first and longer text", "a second"] {
            replace(&path, text).expect("a regular file is written");
            assert_eq!(read_at_most(&path, 100).expect("it is there").as_deref(), Some(text));
        }
        let files = fs::read_dir(directory.path()).expect("a directory").count();
        assert_eq!(files, 1, "nothing is left beside it");
    }

    /// As root, `record /dev/null` once put a file where the device had been.
    #[test]
    fn only_regular_files_are_replaced_and_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name| directory.path().join(name);
        mkfifo(&path("pipe"), Mode::S_IRWXU).expect("a pipe");
        fs::write(path("target"), "kept").expect("a file");
        symlink("target", path("link")).expect("a link");
        symlink("nothing", path("dangling")).expect("a link");
        fs::create_dir(path("directory")).expect("a directory");

        for name in ["pipe", "link", "dangling", "directory"] {
            assert!(replace(&path(name), "text").is_err(), "{name} was replaced");
            assert!(read_at_most(&path(name), 100).is_err(), "{name} was read");
        }
        let found = |name| fs::symlink_metadata(path(name)).expect("still there").file_type();
        assert!(found("pipe").is_fifo() && found("link").is_symlink());
        assert_eq!(fs::read_to_string(path("target")).expect("a file"), "kept");
        assert!(!path("nothing").exists());
    }

    #[test]
    fn a_file_is_read_up_to_the_limit() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        assert!(read_at_most(&path, 4).expect("nothing is no error").is_none());

        fs::write(&path, "four").expect("a file");
        assert_eq!(read_at_most(&path, 4).expect("short enough").as_deref(), Some("four"));
        let error = read_at_most(&path, 3).expect_err("too long");
        assert_eq!(error.to_string(), "expected at most 3 bytes");
    }

    #[test]
    fn a_directory_is_locked_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("new");

        let lock = LockedDirectory::create(&path).expect("it is free");
        let error = LockedDirectory::create(&path).expect_err("it is locked");
        assert_eq!(error.to_string(), "another run is writing into it");

        drop(lock);
        let [unfinished, other] = [".crosswalk-a1", "other"].map(|name| path.join(name));
        fs::write(&unfinished, "hal").expect("a file");
        fs::write(&other, "whole").expect("a file");
        LockedDirectory::create(&path).expect("it is free again");
        assert!(!unfinished.exists() && other.exists());
    }
}
