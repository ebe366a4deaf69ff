//! Makes the rules that its configuration names, all at its start, on hooks that change names and modes, and
//! tells their calls.
//!
//! ```text
//! hook HOOK ERRNO            deny every call of a hook
//! file INO DEV HOOK ERRNO    deny a hook's calls about a file
//! ```

use std::fmt::Write;
use std::time::Duration;

use krsi_plugin::{Call, Ctx, Errno, FileKey, Hook, Manifest, Meta, Plugin, Severity, Value};

/// Keeps nothing: its rules are its work.
struct Keeper;

impl Plugin for Keeper {
    fn manifest() -> Manifest {
        Manifest::new("keeper", "0.1.0")
            .hook(Hook::PathUnlink)
            .hook(Hook::PathRename)
            .hook(Hook::PathMkdir)
            .hook(Hook::PathRmdir)
            .hook(Hook::PathSymlink)
            .hook(Hook::PathLink)
            .hook(Hook::PathChmod)
            .hook(Hook::PathChown)
            .hook(Hook::PathTruncate)
            .hook(Hook::PathMknod)
            .deny_by_file()
            .deny_by_hook()
            .deny_hook(Hook::PathUnlink)
            .deny_hook(Hook::PathChmod)
    }

    fn init(config: &[u8], _seed: u64, ctx: &mut Ctx) -> Result<Self, String> {
        let text = std::str::from_utf8(config).map_err(|error| error.to_string())?;
        for line in text.lines() {
            rule(line, ctx).ok_or_else(|| format!("{line:?} is not VERB [OBJECT] HOOK ERRNO"))?;
        }
        Ok(Keeper)
    }

    fn call(&mut self, meta: &Meta, call: &Call, ctx: &mut Ctx) {
        let mut text = format!("{} {}", meta.comm, call.hook.name());
        for (row, value) in call.hook.fields().iter().zip(&call.values) {
            // Writing to a String cannot fail.
            let _ok = match value {
                Value::Absent(_) => write!(text, " | {}=absent", row.name),
                value => write!(text, " | {}={value}", row.name),
            };
        }
        ctx.alert("", Severity::Info, meta.process, text);
    }
}

fn rule(line: &str, ctx: &mut Ctx) -> Option<()> {
    let mut words = line.split_whitespace();
    let rule = match words.next()? {
        "hook" => ctx.deny_hook(),
        "file" => {
            let (ino, dev) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            ctx.deny_file(FileKey { ino, dev })
        }
        _ => return None,
    };
    let (hook, errno) = (Hook::from_name(words.next()?)?, words.next()?.parse().ok()?);
    let rule = rule.hook(hook).errno(Errno(errno)).ttl(Duration::from_secs(3600));
    rule.because(format!("keeper: {}", hook.name()));
    Some(())
}

krsi_plugin::export!(Keeper);
