//! Lets only ssh open a private key. docs/labels.md explains the code.

use krsi_plugin::{Ctx, Errno, Hook, LabelExec, LabelFull, Manifest, Plugin};

/// Lets only ssh open a key.
pub struct Keys;

/// Programs that use keys.
const SSH: [&str; 3] = ["/usr/bin/ssh", "/usr/bin/ssh-agent", "/usr/bin/ssh-add"];

/// Key that only ssh may open.
const KEY: &str = "/root/.ssh/id_ed25519";

fn rules(ctx: &mut Ctx) {
    for program in SSH {
        ctx.label_by_path("ssh", program).exec().because("it is ssh");
    }
    ctx.deny_path(KEY)
        .open()
        .unless_label("ssh")
        .errno(Errno::EACCES)
        .because("only ssh may open a key");
}

impl Plugin for Keys {
    fn manifest() -> Manifest {
        Manifest::new("keys", "1.0.0")
            .label("ssh", LabelExec::Drop, LabelFull::Count)
            .deny_by_path()
            .deny_hook(Hook::FileOpen)
            .deny_hook(Hook::BprmCheckSecurity)
            .tick_ms(10 * 60 * 1000)
    }

    fn init(_config: &[u8], _seed: u64, ctx: &mut Ctx) -> Result<Self, String> {
        rules(ctx);
        Ok(Keys)
    }

    /// Makes the rules again before they end.
    fn tick(&mut self, ctx: &mut Ctx) {
        rules(ctx);
    }
}

krsi_plugin::export!(Keys);
