//! The files that start a program: the program, and what interprets it.

use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, ReadCache};
use std::env;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Interpreters of interpreters; the kernel gives up after as many.
const MAX_DEPTH: usize = 5;

/// The file of a program, as the C library's `execvp` finds it: a name without a slash is looked for in
/// `PATH`.
///
/// # Errors
/// If there is none that can be executed.
pub fn find_program(name: impl AsRef<Path>) -> io::Result<PathBuf> {
    let name = name.as_ref();
    let is_executable = |path: &PathBuf| {
        path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    let missing = |problem: String| io::Error::new(io::ErrorKind::NotFound, problem);

    if name.as_os_str().as_bytes().contains(&b'/') {
        let problem = format!("{} is not a program", name.display());
        return Some(name.to_owned()).filter(is_executable).ok_or_else(|| missing(problem));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|directory| directory.join(name)).find(is_executable);
    found.ok_or_else(|| missing(format!("no {} in PATH", name.display())))
}

/// A program and its interpreters: of a script, of an ELF file, or of both.
pub(super) fn started_by(program: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = vec![program.to_owned()];
    while files.len() < MAX_DEPTH {
        match interpreter(&files[files.len() - 1])? {
            Some(interpreter) => files.push(interpreter),
            None => break,
        }
    }
    Ok(files)
}

/// What the kernel starts to run a file, if not the file itself.
fn interpreter(program: &Path) -> io::Result<Option<PathBuf>> {
    let mut file = File::open(program)?;
    let mut start = Vec::new();
    file.by_ref().take(256).read_to_end(&mut start)?;

    match start.strip_prefix(b"#!") {
        Some(line) => Ok(of_script(line)),
        None => Ok(of_elf(file)),
    }
}

/// The interpreter that the first line of a script names.
fn of_script(line: &[u8]) -> Option<PathBuf> {
    let line = line.split(|byte| *byte == b'\n').next()?.trim_ascii();
    let name = line.split(u8::is_ascii_whitespace).next()?;
    Some(Path::new(std::ffi::OsStr::from_bytes(name)).to_owned())
}

/// The dynamic loader that an ELF file names. What is not an ELF file has none.
fn of_elf(file: File) -> Option<PathBuf> {
    let data = ReadCache::new(file);
    let header = FileHeader64::<Endianness>::parse(&data).ok()?;
    let endian = header.endian().ok()?;

    let segments = header.program_headers(endian, &data).ok()?;
    let segment = segments.iter().find(|segment| segment.p_type(endian) == elf::PT_INTERP)?;
    let name = segment.data(endian, &data).ok()?.split(|byte| *byte == 0).next()?;
    Some(Path::new(std::ffi::OsStr::from_bytes(name)).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_elf_file_is_started_by_its_loader() {
        let this = env::current_exe().unwrap();
        let files = started_by(&this).unwrap();
        assert_eq!(files[0], this);
        assert!(files.len() == 1 || files[1].starts_with("/lib64"), "{files:?}");
    }

    #[test]
    fn a_script_is_started_by_its_interpreter() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("script");
        std::fs::write(&script, "#! /bin/sh -e\nexit\n").unwrap();
        assert_eq!(started_by(&script).unwrap()[1], Path::new("/bin/sh"));

        assert_eq!(of_script(b"/usr/bin/env python3\n"), Some("/usr/bin/env".into()));
        std::fs::write(&script, "nothing of that kind").unwrap();
        assert_eq!(started_by(&script).unwrap(), [script]);
    }

    #[test]
    fn a_program_is_found_in_path() {
        let shell = find_program("sh").unwrap();
        assert!(shell.ends_with("sh") && shell.is_absolute());
        assert_eq!(find_program(&shell).unwrap(), shell);
        let error = find_program("no-such-program").unwrap_err();
        assert_eq!(error.to_string(), "no no-such-program in PATH");

        for (path, what) in
            [("/etc", "a directory"), ("/etc/passwd", "not executable"), ("/no", "")]
        {
            let error = find_program(path).unwrap_err();
            assert_eq!(error.to_string(), format!("{path} is not a program"), "{what}");
        }
    }
}
