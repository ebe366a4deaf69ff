//! What the operator pins of a plugin: the file, the bytes and the signer that alone may have its name.

use std::fs;
use std::path::{Path, PathBuf};

use crate::plugin::{Identity, SignatureError, TrustedKey};

/// The operator's word on who a plugin is. What is `None` is not pinned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pin {
    /// The only file that may be the plugin.
    pub file: Option<PathBuf>,
    /// SHA-256 of the only bytes that may be the plugin: 64 hexadecimal digits in lower case.
    pub sha256: Option<String>,
    /// File of the minisign public key that the plugin must be signed with.
    pub key: Option<PathBuf>,
}

/// Why a file may not be the plugin that it calls itself.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The plugin's name is pinned to another file.
    #[error("{}: {plugin} is pinned to the file {}", file.display(), pinned.display())]
    File {
        /// The file that was to be loaded.
        file: PathBuf,
        /// The name it gives itself.
        plugin: String,
        /// The file that may have the name.
        pinned: PathBuf,
    },
    /// Other bytes are pinned.
    #[error("{}: {plugin} is pinned to sha256 {pinned}, the file's is {sha256}", file.display())]
    Digest {
        /// The file that was to be loaded.
        file: PathBuf,
        /// The name it gives itself.
        plugin: String,
        /// SHA-256 of the file, in hexadecimal.
        sha256: String,
        /// The digest that may have the name.
        pinned: String,
    },
    /// The pinned key cannot be used.
    #[error("{}: its pinned key: {source}", file.display())]
    Key {
        /// The file that was to be loaded.
        file: PathBuf,
        /// Reason why the key cannot be used.
        #[source]
        source: SignatureError,
    },
}

impl PinError {
    /// Tells the user what to do about the error.
    #[must_use]
    pub const fn fix(&self) -> &'static str {
        match self {
            PinError::File { .. } => {
                "put the plugin there, or change `file` in its table of the configuration"
            }
            PinError::Digest { .. } => {
                "put the pinned version back, or change `sha256` in its table of the configuration"
            }
            PinError::Key { .. } => {
                "let `key` in its table of the configuration name the public key file that `minisign -G` wrote"
            }
        }
    }
}

impl Pin {
    /// The key that a file must be signed with, if one is pinned.
    ///
    /// # Errors
    /// When the key's file is none.
    pub fn trusted_key(&self, file: &Path) -> Result<Option<TrustedKey>, PinError> {
        let read = |key: &PathBuf| TrustedKey::read(key);
        let key = self.key.as_ref().map(read).transpose();
        key.map_err(|source| PinError::Key { file: file.into(), source })
    }

    /// Whether a file with these bytes may be the plugin of a name. Its signature is checked when it is
    /// read.
    ///
    /// # Errors
    /// When another file or other bytes are pinned.
    pub fn check(&self, plugin: &str, identity: &Identity) -> Result<(), PinError> {
        let (file, plugin) = (identity.file.clone(), plugin.to_owned());
        if let Some(pinned) = self.file.clone().filter(|pinned| !is_same(pinned, &file)) {
            return Err(PinError::File { file, plugin, pinned });
        }
        let sha256 = identity.sha256.clone();
        if let Some(pinned) = self.sha256.clone().filter(|pinned| *pinned != sha256) {
            return Err(PinError::Digest { file, plugin, sha256, pinned });
        }
        Ok(())
    }
}

/// Whether two paths name one place, links resolved as far as they are there.
fn is_same(one: &Path, other: &Path) -> bool {
    let resolved = |path: &Path| fs::canonicalize(path).or_else(|_| std::path::absolute(path)).ok();
    match (resolved(one), resolved(other)) {
        (Some(one), Some(other)) => one == other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::CodeOrigin;

    fn identity(file: &Path) -> Identity {
        Identity {
            file: file.into(),
            sha256: "ab".repeat(32),
            signed_by: None,
            contract: "krsi:plugin@0.2.0".into(),
            origin: CodeOrigin::Compiled,
        }
    }

    #[test]
    fn a_pinned_name_belongs_to_its_file_and_its_bytes_alone() {
        let folder = std::env::temp_dir().join(format!("krsi-pin-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let [a, b, link] = ["a.wasm", "b.wasm", "link.wasm"].map(|name| folder.join(name));
        [&a, &b].iter().for_each(|file| fs::write(file, "x").unwrap());
        let _absent = fs::remove_file(&link);
        std::os::unix::fs::symlink(&a, &link).unwrap();
        let pin = Pin { file: Some(a.clone()), ..Pin::default() };
        assert!(pin.check("p", &identity(&a)).is_ok() && pin.check("p", &identity(&link)).is_ok());
        let refused = pin.check("p", &identity(&b)).unwrap_err();
        let text = refused.to_string();
        assert!(text.contains("b.wasm: p is pinned") && text.contains("a.wasm"), "{text}");
        assert!(refused.fix().contains("`file`"));

        let pin = |sha256: String| Pin { sha256: Some(sha256), ..Pin::default() };
        assert!(pin("ab".repeat(32)).check("p", &identity(&b)).is_ok());
        let refused = pin("cd".repeat(32)).check("p", &identity(&b)).unwrap_err();
        assert!(matches!(&refused, PinError::Digest { .. }), "{refused}");
        assert!(refused.fix().contains("`sha256`"));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_pinned_key_that_is_none_is_told_with_the_file_and_the_fix() {
        let pin = Pin { key: Some("/no/such.pub".into()), ..Pin::default() };
        let Err(refused) = pin.trusted_key(Path::new("/a.wasm")) else { panic!("a key") };
        let text = refused.to_string();
        assert!(text.contains("/a.wasm") && text.contains("/no/such.pub"), "{text}");
        assert!(refused.fix().contains("minisign -G"));
        assert!(Pin::default().trusted_key(Path::new("/a.wasm")).unwrap().is_none());
    }
}
