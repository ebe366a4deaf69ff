//! Panics at the exec of a file called `trap-me`.

use krsi_plugin::{Ctx, Exec, Hook, Manifest, Meta, Plugin};

struct Trapper;

impl Plugin for Trapper {
    fn manifest() -> Manifest {
        Manifest::new("trapper", "0.1.0").hook(Hook::BprmCommittedCreds)
    }

    fn init(_config: &[u8], _seed: u64, _ctx: &mut Ctx) -> Result<Self, String> {
        Ok(Self)
    }

    #[expect(clippy::panic, reason = "what this fixture is for")]
    fn exec(&mut self, _meta: &Meta, exec: &Exec, _ctx: &mut Ctx) {
        if exec.path.ends_with("/trap-me") {
            panic!("told to trap by {}", exec.path);
        }
    }
}

krsi_plugin::export!(Trapper);
