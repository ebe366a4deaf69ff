//! The simplest useful plugin: alerts on a debugger's own tracer file, run or named as an argument.

use krsi_plugin::{Ctx, Exec, Hook, Manifest, Meta, Plugin, Severity};

struct Tracer {
    seen: u64,
}

impl Plugin for Tracer {
    fn manifest() -> Manifest {
        Manifest::new("tracer", "0.1.0").hook(Hook::BprmCommittedCreds)
    }

    fn init(_config: &[u8], _seed: u64, _ctx: &mut Ctx) -> Result<Self, String> {
        Ok(Self { seen: 0 })
    }

    fn exec(&mut self, meta: &Meta, exec: &Exec, ctx: &mut Ctx) {
        self.seen += 1;
        let named = exec.argv.iter().any(|argument| argument == "trace-me");
        if named || exec.path.ends_with("/trace-me") {
            let argv = exec.argv.iter().collect::<Vec<_>>().join(" ");
            let kind = match exec.flags {
                flags if flags.memfd() => "memfd",
                flags if flags.deleted() => "deleted",
                _ => "file",
            };
            let text = format!("exec number {}: {kind} {}: {argv}", self.seen, exec.path);
            ctx.alert("T1622", Severity::Info, meta.process, text);
        }
    }
}

krsi_plugin::export!(Tracer);
