//! Detached minisign signatures, checked before a byte of the plugin is parsed.

use std::io;
use std::path::{Path, PathBuf};

use minisign_verify::{PublicKey, Signature};

use crate::regular;

/// Larger files are neither keys nor signatures.
const FILE_MAX: u64 = 16 << 10;

/// Why a key or a signature is refused.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// The key or signature file cannot be read.
    #[error("{}: cannot be read", file.display())]
    Read {
        file: PathBuf,
        #[source]
        source: io::Error,
    },
    /// No minisign public key.
    #[error("{}: not a minisign public key", file.display())]
    Key { file: PathBuf },
    /// No signature beside the plugin.
    #[error("{}: not signed, there is no {}", file.display(), signature.display())]
    Unsigned {
        /// Wasm file of the plugin.
        file: PathBuf,
        /// Where its signature was looked for.
        signature: PathBuf,
    },
    /// A signature that is none, or not by this key over these bytes.
    #[error("{}: its signature is not one of key {key} over this file: {reason}", file.display())]
    Wrong {
        /// Wasm file of the plugin.
        file: PathBuf,
        /// Id of the required key.
        key: String,
        /// Error of the check, in words.
        reason: String,
    },
}

/// Where the signature of a file lies.
#[must_use]
pub(crate) fn signature_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}

/// The key that plugins must be signed with.
pub struct TrustedKey {
    key: PublicKey,
    id: String,
}

impl TrustedKey {
    /// Reads a minisign public key file.
    ///
    /// # Errors
    /// Names the file.
    pub fn read(file: &Path) -> Result<Self, SignatureError> {
        let text =
            read(file).map_err(|source| SignatureError::Read { file: file.to_owned(), source })?;
        let wrong = || SignatureError::Key { file: file.to_owned() };
        // With or without the comment line above it.
        let line = text.lines().rfind(|line| !line.trim().is_empty()).ok_or_else(wrong)?.trim();
        let key = PublicKey::from_base64(line).map_err(|_| wrong())?;
        Ok(Self { key, id: id(line).ok_or_else(wrong)? })
    }

    /// The key's id, as minisign prints it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Checks `FILE.minisig` over the bytes of a file.
    ///
    /// # Errors
    /// When there is none or it does not fit.
    pub(super) fn check(&self, file: &Path, bytes: &[u8]) -> Result<(), SignatureError> {
        let signature = signature_of(file);
        let text = match read(&signature) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SignatureError::Unsigned { file: file.to_owned(), signature });
            }
            Err(source) => return Err(SignatureError::Read { file: signature, source }),
        };
        let checked = Signature::decode(&text)
            .and_then(|signature| self.key.verify(bytes, &signature, false));
        checked.map_err(|error| SignatureError::Wrong {
            file: file.to_owned(),
            key: self.id.clone(),
            reason: error.to_string(),
        })
    }
}

fn read(file: &Path) -> io::Result<String> {
    regular::read_text(file, FILE_MAX)
}

/// Bytes 2 to 10 of the key, little endian, in hexadecimal.
fn id(base64: &str) -> Option<String> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let value = |character| ALPHABET.iter().position(|byte| *byte == character);
    // 14 characters hold 84 bits: 16 of the algorithm, 64 of the id, 4 more.
    let mut digits = base64.as_bytes().get(..14)?.iter().map(|character| value(*character));
    let bits = digits.try_fold(0u128, |bits, digit| Some(bits << 6 | digit? as u128))?;
    let id = u64::try_from((bits >> 4) & u128::from(u64::MAX)).ok()?;
    Some(format!("{:016X}", id.swap_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keys_id_reads_as_minisign_prints_it() {
        // The example key of minisign's manual.
        let key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
        assert_eq!(id(key).as_deref(), Some("E7620F1842B4E81F"));
        assert_eq!(id("RWQ"), None);
    }
}
