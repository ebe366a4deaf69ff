//! A muster of the next version, which is told of what runs although its predecessor was.

use krsi_plugin::{Ctx, Manifest, Plugin, ProcessKey, RunningEnd, Severity};

struct Muster;

impl Plugin for Muster {
    fn manifest() -> Manifest {
        Manifest::new("muster", "2.0.0").running_each_version()
    }

    fn init(_config: &[u8], _seed: u64, _ctx: &mut Ctx) -> Result<Self, String> {
        Ok(Self)
    }

    fn running_end(&mut self, end: &RunningEnd, ctx: &mut Ctx) {
        ctx.alert(
            "T1057",
            Severity::Low,
            ProcessKey::default(),
            format!("again: said {}", end.told),
        );
    }
}

krsi_plugin::export!(Muster);
