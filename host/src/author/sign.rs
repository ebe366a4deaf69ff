//! A plugin's signature, as hosts with `--require-signed` ask for it: minisign's, beside the file.

use std::fs::{self, OpenOptions};
use std::io::{self, Cursor, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use minisign::{KeyPair, SecretKeyBox};

use crate::plugin::signature_of;
use crate::regular;

/// Largest plugin that is signed.
const FILE_MAX: u64 = 1 << 30;

/// Largest file of a secret key.
const KEY_MAX: u64 = 16 << 10;

/// Why nothing is signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    /// A file cannot be read.
    #[error("{}: cannot be read", file.display())]
    Read {
        /// Path of the file.
        file: PathBuf,
        /// Error that the kernel returned.
        #[source]
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("{}: cannot be written", file.display())]
    Write {
        /// Path of the file.
        file: PathBuf,
        /// Error that the kernel returned.
        #[source]
        source: io::Error,
    },
    /// The file holds no secret key, or one of another password.
    #[error("{}: is no secret key of minisign's, or its password is another: {reason}", file.display())]
    Key {
        /// Path of the key.
        file: PathBuf,
        /// Error of reading the key, in words.
        reason: String,
    },
    /// The key does not sign.
    #[error("{}: cannot be signed: {reason}", file.display())]
    Sign {
        /// File of the plugin.
        file: PathBuf,
        /// Why it cannot be signed.
        reason: String,
    },
}

/// Makes a key, for its owner alone, and its public half as `KEY.pub`. What is there is left alone. Without a password
/// the terminal is asked for one.
///
/// # Errors
/// When a file is there already or cannot be made.
pub(crate) fn make_key(key: &Path, password: Option<String>) -> Result<PathBuf, SignError> {
    let wrong = |error: minisign::PError| SignError::Key {
        file: key.to_owned(),
        reason: error.to_string(),
    };
    let pair = KeyPair::generate_encrypted_keypair(password).map_err(wrong)?;
    let secret = pair.sk.to_box(Some("krsi-host plugin sign")).map_err(wrong)?.into_string();
    let public = pair.pk.to_box().map_err(wrong)?.into_string();
    let mut name = key.as_os_str().to_owned();
    name.push(".pub");
    let beside = PathBuf::from(name);
    for (file, text, mode) in [(key, secret, 0o600), (&*beside, public, 0o644)] {
        let failed = |source| SignError::Write { file: file.to_owned(), source };
        let made = OpenOptions::new().write(true).create_new(true).mode(mode).open(file);
        made.map_err(failed)?.write_all(text.as_bytes()).map_err(failed)?;
    }
    Ok(beside)
}

/// Signs a plugin with a secret key; the signature's file, which lies beside it. Without the key's password the
/// terminal is asked for it, if it has one.
///
/// # Errors
/// When something cannot be read, written, or is no key.
pub(crate) fn sign(
    file: &Path,
    key: &Path,
    password: Option<String>,
) -> Result<PathBuf, SignError> {
    let of_key = |source| SignError::Read { file: key.to_owned(), source };
    let text = regular::read_text(key, KEY_MAX).map_err(of_key)?;
    let wrong = |reason: String| SignError::Key { file: key.to_owned(), reason };
    let unlocked = |password| SecretKeyBox::from_string(&text)?.into_secret_key(password);
    let asks = password.is_none();
    let secret = match unlocked(password.or_else(|| Some(String::new()))) {
        // One that has a password, and none was given.
        Err(_) if asks => unlocked(None),
        unlocked => unlocked,
    };
    let secret = secret.map_err(|error| wrong(error.to_string()))?;
    let of_file = |source| SignError::Read { file: file.to_owned(), source };
    let bytes = regular::read(file, FILE_MAX).map_err(of_file)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let signed = minisign::sign(None, &secret, Cursor::new(&bytes), Some(&name), None)
        .map_err(|error| SignError::Sign { file: file.to_owned(), reason: error.to_string() })?;
    let signature = signature_of(file);
    let partial = signature.with_extension("minisig.part");
    let failed = |source| SignError::Write { file: signature.clone(), source };
    fs::write(&partial, signed.into_string()).map_err(failed)?;
    // A host that watches it never sees half of it.
    fs::rename(&partial, &signature).map_err(failed)?;
    Ok(signature)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use minisign::{PublicKeyBox, SignatureBox};

    use super::*;

    #[test]
    fn what_is_signed_is_what_the_public_half_takes() {
        let folder = std::env::temp_dir().join(format!("krsi-sign-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (key, file) = (folder.join("key"), folder.join("a.wasm"));
        fs::write(&file, b"\0asm\x01\0\0\0").unwrap();
        let password = || Some("correct horse".to_owned());
        let public = make_key(&key, password()).unwrap();
        assert_eq!(fs::metadata(&key).unwrap().mode() & 0o7777, 0o600);
        assert!(matches!(make_key(&key, password()), Err(SignError::Write { .. })));
        let signature = sign(&file, &key, password()).unwrap();
        assert_eq!(signature, folder.join("a.wasm.minisig"));
        let public = fs::read_to_string(public).unwrap();
        let public = PublicKeyBox::from_string(&public).unwrap().into_public_key().unwrap();
        let check = |bytes: &[u8]| {
            let signature = SignatureBox::from_file(&signature).unwrap();
            minisign::verify(&public, &signature, Cursor::new(bytes), true, false, false).is_ok()
        };
        assert!(check(b"\0asm\x01\0\0\0") && !check(b"\0asm\x02\0\0\0"));
        let wrong = Some("battery staple".to_owned());
        assert!(matches!(sign(&file, &key, wrong), Err(SignError::Key { .. })));
        fs::write(&key, "no key").unwrap();
        assert!(matches!(sign(&file, &key, password()), Err(SignError::Key { .. })));
        assert!(matches!(
            sign(&folder.join("none"), &folder.join("key.pub"), password()),
            Err(SignError::Key { .. })
        ));
        fs::remove_dir_all(folder).unwrap();
    }
}
