//! The snapshot around an author's state: what the SDK itself must carry over.
//!
//! ```text
//! | "krs1" | u32 next token | the author's bytes … |
//! ```

use krsi_plugin_schema::latest::INIT_TOKEN;

/// Tokens that are left out after a restore: a checkpoint can be older than the rules in force, and
/// a host makes one before a plugin can have issued so many.
const TOKEN_GAP: u32 = 1 << 16;

const MAGIC: [u8; 4] = *b"krs1";

/// Wraps an author's state.
pub(crate) fn wrap(next_token: u32, state: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + state.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&next_token.to_le_bytes());
    out.extend_from_slice(state);
    out
}

/// Unwraps a snapshot: the next token and the author's state.
pub(crate) fn unwrap(snapshot: &[u8]) -> Result<(u32, &[u8]), String> {
    let wrong = || String::from("the snapshot was not written by this SDK");
    let (magic, rest) = snapshot.split_first_chunk::<4>().ok_or_else(wrong)?;
    let (token, state) = rest.split_first_chunk::<4>().ok_or_else(wrong)?;
    if *magic == MAGIC { Ok((u32::from_le_bytes(*token), state)) } else { Err(wrong()) }
}

/// The first token after a restore.
pub(crate) const fn after_restore(next_token: u32) -> u32 {
    next_token.wrapping_add(TOKEN_GAP) % INIT_TOKEN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_round_trips_and_a_foreign_one_is_refused() {
        assert_eq!(unwrap(&wrap(7, b"abc")), Ok((7, &b"abc"[..])));
        assert!(unwrap(b"krs1").is_err());
        assert!(unwrap(b"xxxx\0\0\0\0").is_err());
    }

    #[test]
    fn tokens_go_on_after_a_restore_and_never_become_those_of_init() {
        assert_eq!(after_restore(7), 7 + TOKEN_GAP);
        assert_eq!(after_restore(INIT_TOKEN - 1), TOKEN_GAP - 1);
    }
}
