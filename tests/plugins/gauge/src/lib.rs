//! The plugin of the benches: a look at each open, a rule for opens of process 1000 or a trap when told so.

use std::time::Duration;

use krsi_plugin::{Ctx, FileOpen, Hook, Manifest, Meta, Plugin, Token};

/// Patched, so that several run side by side.
static NAME: [u8; 8] = *b"gauge-00";

/// What the benches measure; as a library it is the native baseline.
pub struct Gauge {
    /// Opens below a folder.
    pub below: u64,
    denies: bool,
    /// Opens after which it traps; 0 for never.
    trap_at: u64,
    rule: Option<Token>,
}

impl Plugin for Gauge {
    fn manifest() -> Manifest {
        let name = std::hint::black_box(&NAME);
        Manifest::new(&String::from_utf8_lossy(name), "0.1.0")
            .hook(Hook::FileOpen)
            .deny_by_file()
            .deny_hook(Hook::FileOpen)
    }

    fn init(config: &[u8], _seed: u64, _ctx: &mut Ctx) -> Result<Self, String> {
        let trap_at = match config {
            b"trap" => 1000,
            _ => 0,
        };
        Ok(Self { below: 0, denies: config == b"deny", trap_at, rule: None })
    }

    fn file_open(&mut self, meta: &Meta, open: &FileOpen, ctx: &mut Ctx) {
        self.below += u64::from(open.path.starts_with("/usr/lib/"));
        if self.trap_at != 0 && self.below == self.trap_at {
            std::process::abort();
        }
        if self.denies && meta.process.tgid == 1000 {
            if let Some(rule) = self.rule.take() {
                ctx.revoke(rule);
            }
            let rule = ctx.deny_file(open.file).open().ttl(Duration::from_secs(60));
            self.rule = Some(rule.because("gauge"));
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        self.below.to_le_bytes().to_vec()
    }

    fn restore(&mut self, _from: &str, state: &[u8]) -> Result<(), String> {
        let bytes = state.try_into().map_err(|_| "not a gauge")?;
        self.below = u64::from_le_bytes(bytes);
        Ok(())
    }
}

krsi_plugin::export!(Gauge);
