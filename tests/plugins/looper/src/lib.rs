//! Never returns from the exec of a file called `loop-me`.

use krsi_plugin::{Ctx, Exec, Hook, Manifest, Meta, Plugin};

struct Looper;

impl Plugin for Looper {
    fn manifest() -> Manifest {
        Manifest::new("looper", "0.1.0").hook(Hook::BprmCommittedCreds)
    }

    fn init(_config: &[u8], _seed: u64, _ctx: &mut Ctx) -> Result<Self, String> {
        Ok(Self)
    }

    fn exec(&mut self, _meta: &Meta, exec: &Exec, _ctx: &mut Ctx) {
        while std::hint::black_box(&exec.path).ends_with("/loop-me") {}
    }
}

krsi_plugin::export!(Looper);
