//! Kernel bytes → text: what is not UTF-8 is escaped, never dropped.

use std::borrow::Cow;
use std::fmt::Write;

/// The bytes as text; a byte that is not part of UTF-8 becomes `\xNN`. Borrows when nothing is
/// escaped.
#[must_use]
pub(crate) fn escape(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ok = write!(out, "\\x{byte:02x}");
        }
    }
    Cow::Owned(out)
}

/// Names from the leaf upwards, each ended by NUL, as the path they make.
#[must_use]
pub(crate) fn upwards(names: &[u8]) -> Cow<'static, str> {
    let names = names.strip_suffix(b"\0").unwrap_or(names);
    let mut path = String::with_capacity(names.len() + 1);
    for name in names.rsplit(|byte| *byte == 0) {
        path.push('/');
        path.push_str(&escape(name));
    }
    Cow::Owned(path)
}

/// The bytes before the first NUL, as text.
#[must_use]
pub(crate) fn until_nul(bytes: &[u8]) -> Cow<'_, str> {
    escape(bytes.split(|byte| *byte == 0).next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_utf8_is_escaped() {
        assert!(matches!(escape("päth".as_bytes()), Cow::Borrowed("päth")));
        assert_eq!(escape(b"a\xffb\xc3"), "a\\xffb\\xc3");
        assert_eq!(until_nul(b"comm\0junk"), "comm");
        assert_eq!(until_nul(b""), "");
        assert_eq!(upwards(b"passwd\0etc\0"), "/etc/passwd");
        assert_eq!(upwards(b""), "/");
    }
}
