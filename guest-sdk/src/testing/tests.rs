//! Tests of what a script refuses as a host would.

use super::*;
use crate::{Ctx, Exec};

/// Denies by file at its start and at an exec, kills, and asks for what `ASKS` says alone.
struct Forgetful<const ASKS: u8>;

impl<const ASKS: u8> Plugin for Forgetful<ASKS> {
    fn manifest() -> Manifest {
        let manifest = Manifest::new("forgetful", "1.0.0");
        match ASKS {
            0 => manifest,
            1 => manifest.hook(Hook::BprmCommittedCreds),
            2 => manifest.hook(Hook::BprmCommittedCreds).deny_by_file(),
            _ => manifest
                .hook(Hook::BprmCommittedCreds)
                .deny_by_file()
                .deny_hook(Hook::BprmCheckSecurity)
                .kill(),
        }
    }

    fn init(_config: &[u8], _seed: u64, ctx: &mut Ctx) -> Result<Self, String> {
        ctx.deny_file(Script::<Self>::file("/x")).exec().because("x");
        Ok(Self)
    }

    fn exec(&mut self, meta: &Meta, exec: &Exec, ctx: &mut Ctx) {
        ctx.deny_file(exec.file).exec().because("x");
        let _token = ctx.kill(meta.process);
    }

    fn outcome(&mut self, outcome: &Outcome, ctx: &mut Ctx) {
        ctx.log(Level::Info, format!("{:?} {:?}", outcome.rule_id, outcome.refusal));
    }
}

fn acts<const ASKS: u8>() -> (Vec<Seen>, Vec<Seen>) {
    let mut script = Script::<Forgetful<ASKS>>::start(b"").unwrap();
    let exec = script.exec(&Spawn { tgid: 1, exe: "/x", argv: &["x"], ..Spawn::default() });
    (script.first(), exec)
}

fn reason(seen: &[Seen], at: usize) -> &str {
    match seen.get(at) {
        Some(Seen::Refused { reason }) => reason,
        _ => "",
    }
}

#[test]
fn what_the_manifest_forgot_is_refused_as_a_host_does() {
    let (first, exec) = acts::<0>();
    assert!(reason(&first, 0).contains("rules on file keys"), "{first:?}");
    assert_eq!(exec.len(), 1);
    assert!(reason(&exec, 0).contains("bprm_committed_creds: no host sends it"), "{exec:?}");
    let (_, exec) = acts::<1>();
    assert!(reason(&exec, 0).contains("rules on file keys"), "{exec:?}");
    assert!(reason(&exec, 1).contains("`kill`"), "{exec:?}");
    let (_, exec) = acts::<2>();
    assert!(reason(&exec, 0).contains("rules on bprm_check_security"), "{exec:?}");
    let (first, exec) = acts::<3>();
    assert!(matches!(first[0], Seen::Deny { .. }), "{first:?}");
    assert!(matches!(exec[0], Seen::Deny { .. }) && matches!(exec[1], Seen::Other(_)), "{exec:?}");
}

fn answered<const ASKS: u8>() -> Vec<String> {
    let mut script = Script::<Forgetful<ASKS>>::start(b"").unwrap();
    script.exec(&Spawn { tgid: 1, exe: "/x", argv: &["x"], ..Spawn::default() });
    script.done();
    script.log().into_iter().map(|(_, text)| text).collect()
}

#[test]
fn what_a_host_would_refuse_is_not_done_and_a_kill_makes_no_rule() {
    let refused = "None Some(NotGranted)";
    assert_eq!(answered::<1>(), [refused, refused, refused]);
    assert_eq!(answered::<3>(), ["Some(1) None", "Some(2) None", "None None"]);
}
