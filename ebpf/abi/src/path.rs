//! Path prefixes as keys of rules: how kernel and host make the same key of the same bytes.
//!
//! A prefix ends where a component ends: `/etc` holds `/etc` and `/etc/passwd`, not `/etcetera`. A
//! key is a hash with a secret start, so that nobody can name a file whose hash is another prefix's.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of a path that are looked at: a prefix is shorter.
pub const PREFIX_MAX: usize = 256;
/// [`PathKey::len`] of what stands for the unresolved paths of a hook.
pub const UNRESOLVED: u32 = u32::MAX;
/// [`PathKey::len`] of a call without a path: no rule has it.
pub const PATHLESS: u32 = u32::MAX - 1;

/// A prefix, or the unresolved paths of a hook.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
)]
#[repr(C)]
pub struct PathKey {
    /// Hash of the prefix; the slot of the hook when `len` is [`UNRESOLVED`].
    pub hash: u64,
    /// Bytes of the prefix, 0 for the root; or [`UNRESOLVED`].
    pub len: u32,
    /// Padding, zero.
    pub pad: u32,
}

impl PathKey {
    /// The key of a prefix without its last slash: of the root, the empty one.
    #[must_use]
    pub fn of(secret: u64, prefix: &[u8]) -> Self {
        let hash = prefix.iter().fold(secret, |hash, byte| step(hash, *byte));
        Self { hash, len: u32::try_from(prefix.len()).unwrap_or(PATHLESS), pad: 0 }
    }

    /// What stands for paths of a hook that could not be resolved.
    #[must_use]
    pub const fn unresolved(slot: u32) -> Self {
        Self { hash: slot as u64, len: UNRESOLVED, pad: 0 }
    }
}

/// The hash with one more byte.
#[must_use]
#[inline(always)]
pub const fn step(hash: u64, byte: u8) -> u64 {
    let hash = (hash ^ byte as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ hash >> 32
}

const _: () = assert!(size_of::<PathKey>() == 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_depends_on_the_secret_and_on_every_byte() {
        let key = PathKey::of(7, b"/etc");
        assert_eq!(key, PathKey::of(7, b"/etc"));
        for (secret, prefix) in [(8, &b"/etc"[..]), (7, b"/etd"), (7, b"/etc/"), (7, b"/cte")] {
            assert_ne!(PathKey::of(secret, prefix).hash, key.hash, "{secret} {prefix:?}");
        }
        assert_eq!(PathKey::of(7, b""), PathKey { hash: 7, len: 0, pad: 0 });
    }
}
