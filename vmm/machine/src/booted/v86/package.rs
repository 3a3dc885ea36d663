//! v86 as a package of npm: where it is, and its version.

use crate::jail::find_program;
use crate::{MachineError, Version};
use serde::Deserialize;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// The name of the package.
const NAME: &str = "v86";
/// Where packages are that npm has installed for everybody.
const GLOBAL: [&str; 2] = ["/usr/local/lib/node_modules", "/usr/lib/node_modules"];
/// What the driver loads.
const FILES: [&str; 2] = ["build/libv86.mjs", "build/v86.wasm"];

/// A v86 that this program can use.
#[derive(Clone, Debug)]
pub struct V86Package {
    /// Node.js.
    pub node: PathBuf,
    /// The package.
    pub directory: PathBuf,
    /// Its version.
    pub version: Version,
}

/// The part of a package's manifest that is needed.
#[derive(Deserialize)]
struct Manifest {
    name: String,
    version: String,
}

impl V86Package {
    /// Finds the Node.js in `PATH`, and the package: in the directories of `NODE_PATH`, or else among those that npm
    /// has installed with this Node.js or for everybody.
    ///
    /// # Errors
    /// If one of them is missing, or is not what its name says.
    pub fn find() -> Result<Self, MachineError> {
        let unavailable = |why: &str| MachineError::Unavailable(why.into());
        let node = find_program("node")
            .map_err(|_| unavailable("no node in PATH: is Node.js installed?"))?;

        let directory = places(&node).into_iter().map(|place| place.join(NAME));
        let directory = directory.into_iter().find(|place| place.join("package.json").is_file());
        let directory = directory.ok_or_else(|| {
            unavailable(
                "no npm package v86: npm install --global v86 installs it, and NODE_PATH names other places",
            )
        })?;

        let version = version(&directory).ok_or_else(|| {
            let place = directory.display();
            unavailable(&format!("{place} is not the npm package v86, or not the whole of it"))
        })?;
        Ok(Self { node, directory, version })
    }
}

/// Where packages may be.
fn places(node: &Path) -> Vec<PathBuf> {
    let named = env::var_os("NODE_PATH").unwrap_or_default();
    let named = env::split_paths(&named).filter(|path| path.is_absolute());

    // The program may be a link into its installation.
    let real = node.canonicalize().unwrap_or_else(|_| node.to_owned());
    let prefixes =
        [node, &real].map(|file| file.parent().and_then(Path::parent).map(Path::to_owned));
    let beside = prefixes.into_iter().flatten().map(|prefix| prefix.join("lib/node_modules"));
    named.chain(beside).chain(GLOBAL.map(PathBuf::from)).collect()
}

/// The version of the package in a directory, if it is complete.
fn version(directory: &Path) -> Option<Version> {
    let manifest = fs::read_to_string(directory.join("package.json")).ok()?;
    let manifest: Manifest = serde_json::from_str(&manifest).ok()?;
    let is_whole = FILES.iter().all(|file| directory.join(file).is_file());
    (manifest.name == NAME && is_whole).then(|| Version::at_start_of(&manifest.version)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_has_a_version_and_its_files() {
        let directory = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert_eq!(version(directory.path()), None);

        write(
            "package.json",
            r#"{"name": "v86", "version": "0.5.462+g5f9a90f", "type": "module"}"#,
        );
        write("build/libv86.mjs", "");
        assert_eq!(version(directory.path()), None, "without the emulator");

        write("build/v86.wasm", "");
        assert_eq!(version(directory.path()), Some(Version([0, 5, 462])));
        for other in [r#"{"name": "v87", "version": "0.5.462"}"#, r#"{"name": "v86"}"#, "", "[]"] {
            write("package.json", other);
            assert_eq!(version(directory.path()), None, "{other}");
        }
    }
}
