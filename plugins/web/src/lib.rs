//! Refuses shells below a web server. docs/labels.md explains the code.

use krsi_plugin::{Ctx, Errno, Hook, LabelExec, LabelFull, Manifest, Plugin};

/// Refuses shells below a web server.
pub struct Web;

/// Web server below which no shell runs.
const SERVER: &str = "/usr/sbin/nginx";

/// Shells, as the system installs them.
const SHELLS: [&str; 2] = ["/usr/bin/dash", "/usr/bin/bash"];

fn rules(ctx: &mut Ctx) {
    ctx.label_by_path("served", SERVER).exec().because("it serves the web");
    for shell in SHELLS {
        ctx.deny_path(shell)
            .exec()
            .if_label("served")
            .errno(Errno::EACCES)
            .because("no shell descends from the web server");
    }
}

impl Plugin for Web {
    fn manifest() -> Manifest {
        Manifest::new("web", "1.0.0")
            .label("served", LabelExec::Keep, LabelFull::Refuse)
            .deny_by_path()
            .deny_hook(Hook::BprmCheckSecurity)
            .tick_ms(10 * 60 * 1000)
    }

    fn init(_config: &[u8], _seed: u64, ctx: &mut Ctx) -> Result<Self, String> {
        rules(ctx);
        Ok(Web)
    }

    /// Makes the rules again before they end.
    fn tick(&mut self, ctx: &mut Ctx) {
        rules(ctx);
    }
}

krsi_plugin::export!(Web);
