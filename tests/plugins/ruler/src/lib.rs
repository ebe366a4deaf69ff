//! Makes the rules that its configuration names, all at its start: verb, object, errno, hook.
//!
//! ```text
//! deny PREFIX ERRNO HOOK              deny what lies below a path
//! strict PREFIX ERRNO HOOK            the same, and what has no path that can be told
//! allow PREFIX ERRNO HOOK             lift that again
//! network ADDR/BITS:PORT ERRNO HOOK   deny a destination
//! cgroup ID ERRNO HOOK                deny whoever runs in a cgroup
//! hook every ERRNO HOOK               deny every call
//! ```
//! After the hook may stand `audit` or `off`, the rule's mode, `apply`: it applies to what cannot be
//! read, and `tcp` or `udp`: it is about sockets of that protocol.
//! An open of `…/tell-me` raises an alert.

use std::time::Duration;

use krsi_plugin::{
    Ctx, Errno, FileOpen, Hook, IfUnread, IfUnresolved, Manifest, Meta, Plugin, Protocol, RuleMode,
    Severity,
};

/// Keeps nothing: its rules are its work.
struct Ruler;

impl Plugin for Ruler {
    fn manifest() -> Manifest {
        Manifest::new("ruler", "0.1.0")
            .hook(Hook::FileOpen)
            .deny_by_path()
            .deny_by_network()
            .deny_by_cgroup()
            .deny_by_hook()
            .deny_hook(Hook::FileOpen)
            .deny_hook(Hook::BprmCheckSecurity)
            .deny_hook(Hook::FilePermission)
            .deny_hook(Hook::PathRename)
            .deny_hook(Hook::PathUnlink)
            .deny_hook(Hook::SocketConnect)
            .deny_hook(Hook::SocketSendmsg)
    }

    fn init(config: &[u8], _seed: u64, ctx: &mut Ctx) -> Result<Self, String> {
        let text = std::str::from_utf8(config).map_err(|error| error.to_string())?;
        for line in text.lines() {
            rule(line, ctx)
                .ok_or_else(|| format!("{line:?} is not VERB OBJECT ERRNO HOOK [WORD]"))?;
        }
        Ok(Ruler)
    }

    fn file_open(&mut self, meta: &Meta, open: &FileOpen, ctx: &mut Ctx) {
        if open.path.ends_with("/tell-me") {
            ctx.alert("T1083", Severity::Info, meta.process, format!("opened {}", open.path));
        }
    }
}

fn rule(line: &str, ctx: &mut Ctx) -> Option<()> {
    let mut words = line.split_whitespace();
    let (verb, object) = (words.next()?, words.next()?);
    let (errno, hook) = (words.next()?.parse().ok()?, Hook::from_name(words.next()?)?);
    let rule = match verb {
        "deny" => ctx.deny_path(object),
        "strict" => ctx.deny_path(object).if_unresolved(IfUnresolved::Apply),
        "allow" => ctx.allow_path(object),
        "network" => {
            let (network, port) = object.rsplit_once(':')?;
            let (address, bits) = network.split_once('/')?;
            ctx.deny_network(address.parse().ok()?, bits.parse().ok()?, port.parse().ok()?)
        }
        "cgroup" => ctx.deny_cgroup(object.parse().ok()?),
        "hook" => ctx.deny_hook(),
        _ => return None,
    };
    let mut rule = rule.hook(hook).errno(Errno(errno)).ttl(Duration::from_secs(3600));
    for word in words {
        rule = match word {
            "audit" => rule.mode(RuleMode::Audit),
            "off" => rule.mode(RuleMode::Off),
            "apply" => rule.if_unread(IfUnread::Apply),
            "tcp" => rule.protocol(Protocol::TCP),
            "udp" => rule.protocol(Protocol::UDP),
            _ => return None,
        };
    }
    rule.because(format!("ruler: {verb} {object}"));
    Some(())
}

krsi_plugin::export!(Ruler);
