//! Tells every call and every sight of its watches, with all values; denies by each kind of key at its start.

use std::fmt::Write;

use krsi_plugin::{
    Call, Ctx, Filter, Hook, Manifest, Meta, Plugin, Severity, Value, Watch, record,
};

/// Tells what it is given.
pub struct Caller;

impl Plugin for Caller {
    fn manifest() -> Manifest {
        let calls = Hook::all().filter(|hook| hook.is_call());
        calls
            .fold(Manifest::new("caller", "0.1.0"), Manifest::hook)
            .watch("inode_getattr: path")
            .filter(Filter::new(Hook::FilePermission).path_prefix("/etc/").per_process_rate(10))
            .deny_hook(Hook::FileMprotect)
            .deny_by_cgroup()
            .deny_by_path()
            .deny_by_digest()
            .deny_by_hook()
    }

    fn init(_config: &[u8], _seed: u64, ctx: &mut Ctx) -> Result<Self, String> {
        ctx.deny_cgroup(7).hook(Hook::FileMprotect).because("a cgroup");
        ctx.deny_path("/srv/").hook(Hook::FileMprotect).because("a path");
        ctx.deny_digest([7; 32]).hook(Hook::FileMprotect).because("a digest");
        ctx.deny_hook().hook(Hook::FileMprotect).because("a hook");
        Ok(Caller)
    }

    fn call(&mut self, meta: &Meta, call: &Call, ctx: &mut Ctx) {
        let mut text = told(call.hook.name(), &call.values);
        if record::FileMprotect::try_from(call).is_ok_and(|mprotect| mprotect.gains_exec()) {
            text.push_str(" gains exec");
        }
        ctx.alert("", Severity::Info, meta.process, text);
    }

    fn watch(&mut self, meta: &Meta, watch: &Watch, ctx: &mut Ctx) {
        let name = format!("watch {} {}", watch.index, watch.hook);
        ctx.alert("", Severity::Info, meta.process, told(&name, &watch.values));
    }
}

fn told(name: &str, values: &[Value]) -> String {
    let mut text = name.to_owned();
    for value in values {
        // Writing to a String cannot fail.
        let _ok = write!(text, " {value}");
    }
    text
}

krsi_plugin::export!(Caller);
