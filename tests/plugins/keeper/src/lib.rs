//! Makes the rules that its configuration names, on hooks that change names and modes, and tells their calls.
//! One on a file is made at the first call that names the file, which tells its generation too; the others at
//! its start.
//!
//! ```text
//! hook HOOK ERRNO            deny every call of a hook
//! file INO DEV HOOK ERRNO    deny a hook's calls about a file
//! ```

use std::fmt::Write;
use std::time::Duration;

use krsi_plugin::{Call, Ctx, Errno, Hook, Manifest, Meta, Plugin, RuleBuilder, Severity, Value};

/// The rules of this plugin are its work.
struct Keeper {
    /// Rules on files that no call has named yet: inode number, device, the hook and the errno.
    waiting: Vec<(u64, u32, Hook, u16)>,
}

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
        let mut keeper = Keeper { waiting: Vec::new() };
        for line in text.lines() {
            let wrong = || format!("{line:?} is not VERB [OBJECT] HOOK ERRNO");
            keeper.rule(line, ctx).ok_or_else(wrong)?;
        }
        Ok(keeper)
    }

    fn call(&mut self, meta: &Meta, call: &Call, ctx: &mut Ctx) {
        for value in &call.values {
            let Value::File(file) = value else { continue };
            self.waiting.retain(|(ino, dev, hook, errno)| {
                let is_other = (*ino, *dev) != (file.ino, file.dev);
                if !is_other {
                    issue(ctx.deny_file(*file), *hook, *errno);
                }
                is_other
            });
        }
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

impl Keeper {
    fn rule(&mut self, line: &str, ctx: &mut Ctx) -> Option<()> {
        let mut words = line.split_whitespace();
        let verb = words.next()?;
        let file = match verb {
            "hook" => None,
            "file" => Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?)),
            _ => return None,
        };
        let (hook, errno) = (Hook::from_name(words.next()?)?, words.next()?.parse().ok()?);
        match file {
            Some((ino, dev)) => self.waiting.push((ino, dev, hook, errno)),
            None => issue(ctx.deny_hook(), hook, errno),
        }
        Some(())
    }
}

fn issue(rule: RuleBuilder<'_>, hook: Hook, errno: u16) {
    let rule = rule.hook(hook).errno(Errno(errno)).ttl(Duration::from_secs(3600));
    rule.because(format!("keeper: {}", hook.name()));
}

krsi_plugin::export!(Keeper);
