//! The simplest useful plugin: alerts on a debugger's own tracer file.

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
        if exec.path.ends_with("/trace-me") {
            ctx.alert("T1622", Severity::Info, meta.process, format!("exec number {}", self.seen));
        }
    }
}

krsi_plugin::export!(Tracer);
