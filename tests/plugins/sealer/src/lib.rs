//! Makes the rules that its configuration names, all at its start, about executables: verb, object, errno.
//!
//! ```text
//! digest SHA256 ERRNO    deny running what has a digest
//! audit SHA256 ERRNO     the same, in audit mode
//! strict SHA256 ERRNO    as digest, and running what is not hashed
//! ```
//! It lets go of the rules on digests for a process that runs a program named `…-trusted`.

use std::time::Duration;

use krsi_plugin::{Ctx, Errno, Exec, Hook, IfUnread, Level, Manifest, Meta, Outcome, Plugin};

/// Keeps nothing: its rules are its work.
struct Sealer;

impl Plugin for Sealer {
    fn manifest() -> Manifest {
        Manifest::new("sealer", "0.1.0")
            .hook(Hook::BprmCommittedCreds)
            .deny_by_digest()
            .deny_by_process()
            .deny_hook(Hook::BprmCheckSecurity)
    }

    fn init(config: &[u8], _seed: u64, ctx: &mut Ctx) -> Result<Self, String> {
        let text = std::str::from_utf8(config).map_err(|error| error.to_string())?;
        for line in text.lines() {
            rule(line, ctx).ok_or_else(|| format!("{line:?} is not VERB SHA256 ERRNO"))?;
        }
        Ok(Sealer)
    }

    fn exec(&mut self, meta: &Meta, exec: &Exec, ctx: &mut Ctx) {
        if exec.path.ends_with("-trusted") {
            ctx.allow_process(meta.process).exec().because("sealer: trusted");
        }
    }

    fn outcome(&mut self, outcome: &Outcome, ctx: &mut Ctx) {
        if let Some(refusal) = outcome.refusal {
            ctx.log(Level::Warn, format!("refused: {refusal:?} {}", outcome.detail));
        }
    }
}

fn rule(line: &str, ctx: &mut Ctx) -> Option<()> {
    let mut words = line.split_whitespace();
    let (verb, digest) = (words.next()?, sha256(words.next()?)?);
    let errno = Errno(words.next()?.parse().ok()?);
    let rule = ctx.deny_digest(digest).exec().errno(errno).ttl(Duration::from_secs(3600));
    match verb {
        "digest" => rule.because("sealer: digest"),
        "audit" => rule.audit().because("sealer: audit"),
        "strict" => rule.if_unread(IfUnread::Apply).because("sealer: strict"),
        _ => return None,
    };
    Some(())
}

fn sha256(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(digest)
}

krsi_plugin::export!(Sealer);
