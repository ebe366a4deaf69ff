//! A plugin crate → its `.wasm` file, by the author's own cargo.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use krsi_toolchain::{MissingTool, build_plugin};
use serde::Deserialize;

/// Why a crate is not built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// No crate lies there.
    #[error("{}: no Cargo.toml lies here; give the folder of a plugin, or make one: krsi-host plugin new NAME", folder.display())]
    NoCrate {
        /// The folder that was given.
        folder: PathBuf,
    },
    /// Root did not say that it wants to.
    #[error(
        "a build runs what every dependency brings along, and not as root: run it as another user, or give --as-root"
    )]
    AsRoot,
    /// Cargo does not describe the crate.
    #[error("{}: cargo cannot read it: {said}", folder.display())]
    Metadata {
        /// The folder that was given.
        folder: PathBuf,
        /// The words of cargo.
        said: String,
    },
    /// The crate makes nothing that a host could run.
    #[error("{}: is no plugin: its [lib] has no crate-type \"cdylib\"", folder.display())]
    NoLibrary {
        /// The folder that was given.
        folder: PathBuf,
    },
    /// No compiler makes Wasm here.
    #[error(
        "no compiler for wasm32-unknown-unknown: `apt install rustc-web rust-web-src lld-22`, or `rustup target add \
         wasm32-unknown-unknown`"
    )]
    NoCompiler,
    /// The build failed; cargo has said why.
    #[error(transparent)]
    Cargo(#[from] krsi_toolchain::BuildError),
    /// The file cannot be put where it belongs.
    #[error("{}: cannot be written", file.display())]
    Write {
        /// The module, beside `Cargo.toml`.
        file: PathBuf,
        /// Error that the kernel returned.
        #[source]
        source: io::Error,
    },
}

/// What `cargo metadata` says, as far as it is of use.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    manifest_path: PathBuf,
    name: String,
    targets: Vec<CargoTarget>,
}

#[derive(Deserialize)]
struct CargoTarget {
    name: String,
    crate_types: Vec<String>,
}

/// Builds the crate in a folder and returns its module, which lies beside its `Cargo.toml` afterwards, under the package's name.
///
/// # Errors
/// When there is no such crate, no compiler, or cargo fails.
pub(crate) fn build(folder: &Path, as_root: bool) -> Result<PathBuf, BuildError> {
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let manifest = folder.join("Cargo.toml");
    if !manifest.is_file() {
        return Err(BuildError::NoCrate { folder });
    }
    if rustix::process::geteuid().is_root() && !as_root {
        return Err(BuildError::AsRoot);
    }
    let metadata = metadata(&folder, &manifest)?;
    let package = metadata.packages.iter().find(|package| package.manifest_path == manifest);
    let library = package.and_then(|package| {
        let is_cdylib =
            |target: &&CargoTarget| target.crate_types.iter().any(|kind| kind == "cdylib");
        Some((package, package.targets.iter().find(is_cdylib)?))
    });
    let Some((package, library)) = library else { return Err(BuildError::NoLibrary { folder }) };
    let modules =
        build_plugin(&folder, &metadata.target_directory).map_err(|error| match error {
            krsi_toolchain::BuildError::Missing(MissingTool::WasmCompiler) => {
                BuildError::NoCompiler
            }
            error => BuildError::Cargo(error),
        })?;
    let module = modules.join(format!("{}.wasm", library.name.replace('-', "_")));
    let file = folder.join(format!("{}.wasm", package.name));
    // A host that watches the file never sees half of it.
    let partial = folder.join(format!(".{}.wasm.part", package.name));
    let write = |source| BuildError::Write { file: file.clone(), source };
    fs::copy(&module, &partial).map_err(write)?;
    fs::rename(&partial, &file).map_err(write)?;
    Ok(file)
}

/// Runs the crate's own tests, natively, by the author's cargo; whether they passed. Cargo tells of each.
///
/// # Errors
/// When there is no such crate or no cargo.
pub(crate) fn native_tests(folder: &Path, as_root: bool) -> Result<bool, BuildError> {
    let manifest = folder.join("Cargo.toml");
    if !manifest.is_file() {
        return Err(BuildError::NoCrate { folder: folder.to_owned() });
    }
    if rustix::process::geteuid().is_root() && !as_root {
        return Err(BuildError::AsRoot);
    }
    let mut command = Command::new(cargo());
    command.current_dir(folder).args(["test", "--quiet"]);
    let status = command.status().map_err(|error| BuildError::Metadata {
        folder: folder.to_owned(),
        said: format!("cargo: {error}"),
    })?;
    Ok(status.success())
}

fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn metadata(folder: &Path, manifest: &Path) -> Result<Metadata, BuildError> {
    let refused = |said: String| BuildError::Metadata { folder: folder.to_owned(), said };
    let mut command = Command::new(cargo());
    command.current_dir(folder).args(["metadata", "--no-deps", "--format-version", "1"]);
    command.arg("--manifest-path").arg(manifest);
    let output = command.output().map_err(|error| refused(format!("cargo: {error}")))?;
    if !output.status.success() {
        return Err(refused(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| refused(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_plugin_is_refused_with_what_to_do() {
        let folder = std::env::temp_dir().join(format!("krsi-build-{}", std::process::id()));
        fs::create_dir_all(folder.join("src")).unwrap();
        let refused = build(&folder, true).unwrap_err().to_string();
        assert!(refused.contains("krsi-host plugin new"), "{refused}");
        fs::write(folder.join("Cargo.toml"), "[package]\nname = \"x\"\n").unwrap();
        fs::write(folder.join("src/lib.rs"), "").unwrap();
        let refused = build(&folder, true).unwrap_err().to_string();
        assert!(refused.contains("cdylib"), "{refused}");
        fs::write(folder.join("Cargo.toml"), "[package\n").unwrap();
        assert!(matches!(build(&folder, true), Err(BuildError::Metadata { .. })));
        if rustix::process::geteuid().is_root() {
            assert!(matches!(build(&folder, false), Err(BuildError::AsRoot)));
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
