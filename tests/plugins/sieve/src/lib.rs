//! Asks one filter of each kind, each of a hook of its own, and tells every call that comes through.
//!
//! ```text
//! path_mkdir            only under the user id 4242
//! path_rmdir            only two a second of a process
//! path_chmod            only the first of a process on a file
//! path_mknod            only from the root cgroup
//! file_open             only to cut the file off
//! socket_connect        only to port 4721
//! bprm_check_security   only below /tmp/filter_path_prefix/kept/
//! bprm_committed_creds, sched_process_fork, sched_process_exit   only under the user id 4242
//! ```

use krsi_plugin::{
    Call, Connect, Ctx, Exec, FileOpen, Filter, Hook, Manifest, Meta, Plugin, Severity,
};

/// `O_TRUNC` of `include/uapi/asm-generic/fcntl.h`.
const O_TRUNC: u32 = 0o1000;

/// Where executables are told.
const KEPT: &str = "/tmp/filter_path_prefix/kept/";

/// A plugin without state.
struct Sieve;

impl Plugin for Sieve {
    fn manifest() -> Manifest {
        let asked = [
            (Hook::PathMkdir, Filter::new(Hook::PathMkdir).uid(4242)),
            (Hook::PathRmdir, Filter::new(Hook::PathRmdir).per_process_rate(2)),
            (Hook::PathChmod, Filter::new(Hook::PathChmod).first_seen()),
            (Hook::PathMknod, Filter::new(Hook::PathMknod).cgroup(1)),
            (Hook::FileOpen, Filter::new(Hook::FileOpen).flags_any(O_TRUNC)),
            (Hook::SocketConnect, Filter::new(Hook::SocketConnect).port(4721)),
            (Hook::BprmCheckSecurity, Filter::new(Hook::BprmCheckSecurity).path_prefix(KEPT)),
        ];
        let followed = [Hook::BprmCommittedCreds, Hook::SchedProcessFork, Hook::SchedProcessExit];
        let followed = followed.map(|hook| (hook, Filter::new(hook).uid(4242)));
        asked
            .into_iter()
            .chain(followed)
            .fold(Manifest::new("sieve", "0.1.0"), |manifest, (hook, filter)| {
                manifest.hook(hook).filter(filter)
            })
    }

    fn init(_config: &[u8], _seed: u64, _ctx: &mut Ctx) -> Result<Self, String> {
        Ok(Sieve)
    }

    fn exec_check(&mut self, meta: &Meta, exec: &Exec, ctx: &mut Ctx) {
        tell(meta, "bprm_check_security", &exec.path, ctx);
    }

    fn exec(&mut self, meta: &Meta, exec: &Exec, ctx: &mut Ctx) {
        tell(meta, "bprm_committed_creds", &exec.path, ctx);
    }

    fn file_open(&mut self, meta: &Meta, open: &FileOpen, ctx: &mut Ctx) {
        tell(meta, "file_open", &open.path, ctx);
    }

    fn connect(&mut self, meta: &Meta, connect: &Connect, ctx: &mut Ctx) {
        tell(meta, "socket_connect", &connect.port.to_string(), ctx);
    }

    fn call(&mut self, meta: &Meta, call: &Call, ctx: &mut Ctx) {
        let values = call.values.iter().map(ToString::to_string).collect::<Vec<_>>();
        tell(meta, call.hook.name(), &values.join(" "), ctx);
    }
}

fn tell(meta: &Meta, hook: &str, object: &str, ctx: &mut Ctx) {
    ctx.alert("", Severity::Info, meta.process, format!("{hook} {object}"));
}

krsi_plugin::export!(Sieve);
