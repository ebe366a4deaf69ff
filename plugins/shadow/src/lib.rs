//! Refuses connections of whoever has read `/etc/shadow`. docs/labels.md explains the code.

use krsi_plugin::{Ctx, Errno, Hook, LabelExec, LabelFull, Manifest, Plugin};

/// Refuses connections of whoever has read password hashes.
pub struct Shadow;

/// Programs that check passwords.
const LOGIN: [&str; 7] = [
    "/usr/sbin/sshd",
    "/usr/lib/openssh/sshd-session",
    "/usr/lib/openssh/sshd-auth",
    "/usr/bin/sudo",
    "/usr/bin/su",
    "/usr/bin/login",
    "/usr/sbin/unix_chkpwd",
];

fn rules(ctx: &mut Ctx) -> Result<(), String> {
    for program in LOGIN {
        ctx.label_by_path("login", program).exec().because("it checks passwords");
    }
    ctx.label_by_path("reader", "/etc/shadow")
        .open()
        .unless_label("login")
        .because("it read password hashes");
    let address = |text: &str| text.parse().map_err(|error| format!("{text}: {error}"));
    let hooks = [Hook::SocketConnect, Hook::SocketSendmsg];
    for (loopback, prefix) in [("127.0.0.0", 8), ("::1", 128)] {
        ctx.allow_network(address(loopback)?, prefix, 0)
            .hooks(hooks)
            .because("nothing leaves the machine there");
    }
    for everywhere in ["0.0.0.0", "::"] {
        ctx.deny_network(address(everywhere)?, 0, 0)
            .hooks(hooks)
            .if_label("reader")
            .errno(Errno::EACCES)
            .because("whoever has read password hashes may not connect");
    }
    Ok(())
}

impl Plugin for Shadow {
    fn manifest() -> Manifest {
        Manifest::new("shadow", "1.0.0")
            .label("reader", LabelExec::Keep, LabelFull::Refuse)
            .label("login", LabelExec::Drop, LabelFull::Count)
            .deny_by_path()
            .deny_by_network()
            .deny_hook(Hook::FileOpen)
            .deny_hook(Hook::BprmCheckSecurity)
            .deny_hook(Hook::SocketConnect)
            .deny_hook(Hook::SocketSendmsg)
            .tick_ms(10 * 60 * 1000)
    }

    fn init(_config: &[u8], _seed: u64, ctx: &mut Ctx) -> Result<Self, String> {
        rules(ctx)?;
        Ok(Shadow)
    }

    /// Makes the rules again before they end.
    fn tick(&mut self, ctx: &mut Ctx) {
        // What `init` has made without an error is made without one again.
        let _made = rules(ctx);
    }
}

krsi_plugin::export!(Shadow);
