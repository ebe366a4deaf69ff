//! A path prefix as rules mean it: whole components, without a last slash.

use std::fmt;

use krsi_host_abi::path::{PREFIX_MAX, PathKey};

/// A prefix: the root is the empty one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathPrefix {
    /// Zeroes after the text: no path holds one, so what is covered stands after what covers it.
    bytes: [u8; PREFIX_MAX],
}

/// Why a text is no prefix that a path can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// The path is not absolute.
    #[error("a path prefix starts with a slash")]
    Relative,
    /// Too long for a key.
    #[error("a path prefix has less than {PREFIX_MAX} bytes")]
    Long,
    /// No path that the kernel tells has such a component.
    #[error("a path prefix has no empty component, no `.`, no `..` and no NUL")]
    Component,
}

impl PathPrefix {
    /// The prefix that a text means; one slash at its end means nothing.
    ///
    /// # Errors
    /// When no path can start with it.
    pub fn new(text: &str) -> Result<Self, PrefixError> {
        let inner = text.strip_prefix('/').ok_or(PrefixError::Relative)?;
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        let wrong = |part: &str| matches!(part, "" | "." | "..") || part.contains('\0');
        if !inner.is_empty() && inner.split('/').any(wrong) || text == "//" {
            return Err(PrefixError::Component);
        }
        let text = if inner.is_empty() { "" } else { text.strip_suffix('/').unwrap_or(text) };
        if text.len() >= PREFIX_MAX {
            return Err(PrefixError::Long);
        }
        let mut bytes = [0; PREFIX_MAX];
        bytes.iter_mut().zip(text.bytes()).for_each(|(slot, byte)| *slot = byte);
        Ok(Self { bytes })
    }

    /// Text of the prefix, without a last slash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// The key in the kernel's map.
    #[must_use]
    pub fn key(&self, secret: u64) -> PathKey {
        PathKey::of(secret, self.as_bytes())
    }

    /// Itself and every prefix that holds it, the longest first.
    pub fn covering(&self) -> impl Iterator<Item = Self> {
        std::iter::successors(Some(*self), Self::parent)
    }

    fn parent(&self) -> Option<Self> {
        let at = self.as_bytes().iter().rposition(|byte| *byte == b'/')?;
        let mut bytes = self.bytes;
        bytes.iter_mut().skip(at).for_each(|byte| *byte = 0);
        Some(Self { bytes })
    }

    /// Whether every path of `other` is one of `self`.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let rest = other.as_bytes().strip_prefix(self.as_bytes());
        rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
    }

    /// The last prefix that this one could hold, in order.
    #[must_use]
    pub fn last(&self) -> Self {
        let len = self.as_bytes().len();
        let mut bytes = self.bytes;
        bytes.iter_mut().skip(len).for_each(|byte| *byte = u8::MAX);
        Self { bytes }
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_bytes() {
            b"" => f.write_str("/"),
            bytes => f.write_str(&String::from_utf8_lossy(bytes)),
        }
    }
}

impl fmt::Debug for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_prefix_has_one_text() {
        let check = |text: &str, expected: &str| {
            assert_eq!(PathPrefix::new(text).unwrap().to_string(), expected, "{text}");
        };
        check("/", "/");
        check("/etc", "/etc");
        check("/etc/", "/etc");
        check("/etc/ssl/certs/", "/etc/ssl/certs");
        check(&format!("/{}/", "x".repeat(254)), &format!("/{}", "x".repeat(254)));
    }

    #[test]
    fn what_no_path_starts_with_is_refused() {
        let check =
            |text: &str, expected| assert_eq!(PathPrefix::new(text), Err(expected), "{text}");
        check("", PrefixError::Relative);
        check("etc", PrefixError::Relative);
        check("//", PrefixError::Component);
        check("/etc//ssl", PrefixError::Component);
        check("/etc/../root", PrefixError::Component);
        check("/./etc", PrefixError::Component);
        check("/a\0b", PrefixError::Component);
        check(&format!("/{}", "x".repeat(255)), PrefixError::Long);
    }

    #[test]
    fn prefixes_hold_whole_components_and_stand_before_what_they_hold() {
        let all = ["/", "/etc", "/etc/ssl", "/etc/ssl/certs", "/etcetera", "/usr", "/et"];
        let all = all.map(|text| PathPrefix::new(text).unwrap());
        for one in all {
            for other in all {
                let covers = other.covering().any(|cover| cover == one);
                assert_eq!(one.covers(&other), covers, "{one} {other}");
                assert!(!covers || (one <= other && other <= one.last()), "{one} {other}");
            }
        }
        let lines = |text: &str| PathPrefix::new(text).unwrap().covering().count();
        assert_eq!((lines("/"), lines("/etc"), lines("/etc/ssl")), (1, 2, 3));
    }
}
