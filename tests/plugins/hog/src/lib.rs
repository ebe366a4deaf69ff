//! Takes memory without end at the exec of a file called `hog-me`.

use krsi_plugin::{Ctx, Exec, Hook, Manifest, Meta, Plugin};

struct Hog {
    hoard: Vec<Vec<u8>>,
}

impl Plugin for Hog {
    fn manifest() -> Manifest {
        Manifest::new("hog", "0.1.0").hook(Hook::BprmCommittedCreds)
    }

    fn init(_config: &[u8], _seed: u64, _ctx: &mut Ctx) -> Result<Self, String> {
        Ok(Self { hoard: Vec::new() })
    }

    fn exec(&mut self, _meta: &Meta, exec: &Exec, _ctx: &mut Ctx) {
        while std::hint::black_box(&exec.path).ends_with("/hog-me") {
            self.hoard.push(vec![1; 1 << 20]);
        }
    }
}

krsi_plugin::export!(Hog);
