//! A new plugin crate: source, scenarios and the SDK, written into a folder that is made for it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::plugin::is_plugin_name;

/// Letters of a refused name that are shown.
const NAME_MAX: usize = 64;

/// The SDK's files, by their path below `sdk/`; written by `build.rs`.
const SDK: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

/// The crate's own files, by their path.
const FILES: [(&str, &str); 7] = [
    ("Cargo.toml", include_str!("template/Cargo.toml.in")),
    ("README.md", include_str!("template/README.md.in")),
    (".gitignore", include_str!("template/gitignore.in")),
    ("src/lib.rs", include_str!("template/lib.rs.in")),
    ("tests/scenario.rs", include_str!("template/scenario.rs.in")),
    ("scenarios/shared_memory.toml", include_str!("template/scenarios.toml.in")),
    ("sdk/Cargo.toml", include_str!("template/sdk.toml.in")),
];

/// Names that cargo gives no package, words of Rust among them, and those of the SDK's own packages.
const TAKEN: &str = "abstract alloc as async await become box break const continue core crate do dyn else enum extern false \
    final fn for gen if impl in krsi-plugin krsi-plugin-schema let loop macro match mod move mut override priv proc-macro \
    pub ref return self static std struct super test trait true try type typeof unsafe unsized use virtual where while \
    yield";

/// Why there is no new crate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScaffoldError {
    /// The name can be none of a plugin's, or none of a crate's.
    #[error(
        "{name:?} is no name for a plugin: 1 to {NAME_MAX} of a-z, 0-9 and -, a letter first, and no word of Rust's"
    )]
    Name {
        /// The name that was asked for.
        name: String,
    },
    /// Something is there already.
    #[error("{}: is there already; nothing was written", folder.display())]
    Taken { folder: PathBuf },
    /// A file cannot be written.
    #[error("{}: cannot be written", file.display())]
    Write {
        /// The file or folder.
        file: PathBuf,
        /// Error that the kernel returned.
        #[source]
        source: io::Error,
    },
}

/// Makes the crate of a plugin called `name` in a folder of that name below `parent`; the folder.
///
/// # Errors
/// When the name does not do, the folder exists, or something cannot be written.
pub(crate) fn create(name: &str, parent: &Path) -> Result<PathBuf, ScaffoldError> {
    if !is_name(name) {
        return Err(ScaffoldError::Name { name: name.chars().take(NAME_MAX).collect() });
    }
    let folder = parent.join(name);
    fs::create_dir(&folder).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => ScaffoldError::Taken { folder: folder.clone() },
        _ => ScaffoldError::Write { file: folder.clone(), source },
    })?;
    for (path, text) in FILES {
        write(&folder.join(path), filled(text, name).as_bytes())?;
    }
    for (path, bytes) in SDK {
        write(&folder.join("sdk").join(path), bytes)?;
    }
    Ok(folder)
}

fn is_name(name: &str) -> bool {
    let is_free = TAKEN.split(' ').all(|taken| taken != name);
    is_plugin_name(name) && name.starts_with(|first: char| first.is_ascii_lowercase()) && is_free
}

/// A template with the name in it, in the spelling of each place.
fn filled(text: &str, name: &str) -> String {
    text.replace("{{name}}", name).replace("{{crate}}", &name.replace('-', "_"))
}

fn write(file: &Path, bytes: &[u8]) -> Result<(), ScaffoldError> {
    let failed = |source| ScaffoldError::Write { file: file.to_owned(), source };
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    fs::write(file, bytes).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_plugins_and_of_crates() {
        for name in ["a", "no-shm-exec", "t1496", "a--b", &"a".repeat(64)] {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "",
            "-a",
            "1a",
            "A",
            "a_b",
            "fn",
            "where",
            "test",
            "std",
            "../x",
            "a/b",
            "é",
            &"a".repeat(65),
        ] {
            assert!(!is_name(name), "{name}");
            assert!(matches!(create(name, Path::new("/nowhere")), Err(ScaffoldError::Name { .. })));
        }
    }

    #[test]
    fn what_is_there_is_left_alone() {
        let parent = std::env::temp_dir().join(format!("krsi-scaffold-{}", std::process::id()));
        fs::create_dir_all(parent.join("mine")).unwrap();
        fs::write(parent.join("mine/precious"), "x").unwrap();
        let refused = create("mine", &parent).unwrap_err().to_string();
        assert!(refused.contains("mine: is there already"), "{refused}");
        assert_eq!(fs::read_dir(parent.join("mine")).unwrap().count(), 1);
        let folder = create("other-one", &parent).unwrap();
        let source = fs::read_to_string(folder.join("src/lib.rs")).unwrap();
        assert!(source.contains("export!(Detection)") && !source.contains("{{"), "{source}");
        assert!(folder.join("sdk/guest-sdk/src/lib.rs").is_file());
        assert!(folder.join("sdk/wit/v0.2/plugin.wit").is_file());
        fs::remove_dir_all(parent).unwrap();
    }

    /// The SDK of an author is built with what the host's own plugins are built with.
    #[test]
    fn the_sdk_depends_on_what_the_workspace_does() {
        let root = include_str!("../../../Cargo.toml");
        let line = |text: &str, key: &str| {
            let mut lines = text.lines().filter(|line| line.starts_with(&format!("{key} = ")));
            lines.next().map(|line| line.split("  #").next().unwrap_or(line).trim().to_owned())
        };
        let sdk = include_str!("template/sdk.toml.in");
        for key in [
            "version",
            "edition",
            "rust-version",
            "httparse",
            "postcard",
            "serde",
            "serde_json",
            "wit-bindgen",
        ] {
            assert_eq!(line(sdk, key), line(root, key), "{key}");
            assert!(line(sdk, key).is_some(), "{key}");
        }
        let major =
            |text| line(text, "thiserror").map(|line| line.split(' ').nth(2).map(str::to_owned));
        assert_eq!(major(sdk), major(root));
    }
}
