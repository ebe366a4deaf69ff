//! The act of every curated hook of calls: what to do so that the kernel asks that hook.
//!
//! An act changes nothing that outlives it but files of its own folder. It reaches other hooks on the
//! way; one rule on the act's own hook is told from them by what the caller then sees.

pub(crate) mod call;
pub(crate) mod confined;
mod deny;
mod enforce;
mod file;
mod instead;
mod ipc;
mod kernel;
mod mount;
mod observe;
mod process;
pub(crate) mod ring;
mod socket;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::{Boot, Test, boot};
use crate::harness::{Guest, wait_for};

pub(crate) const TESTS: &[Test] = &[
    ("acts_succeed_undisturbed", Boot::Default, succeed_undisturbed),
    ("acts_reach_their_hooks", Boot::Default, reach_their_hooks),
    ("acts_show_a_denial_as_told", Boot::Default, show_a_denial_as_told),
    ("acts_are_seen", Boot::Each, observe::see_each),
    ("acts_are_denied", Boot::Each, enforce::deny_each),
    ("acts_are_seen_by_inode_hooks", Boot::Each, instead::see_each),
    ("acts_are_denied_by_inode_hooks", Boot::Each, instead::deny_each),
];

/// What the caller of a denied act sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    /// The errno that the hook answered.
    Errno,
    /// This errno, whatever the hook said.
    As(i32),
    /// Nothing: the kernel does not ask the hook, it tells it, or goes on without what was denied.
    Unseen,
}

/// Whose call it is that reaches the hook: a rule on a process must be on that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// The process that performs the act.
    Own,
    /// A child of it: a rule on the process does not hold for it, one on its lineage does.
    Child,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Act {
    /// The hook that it reaches.
    pub(crate) hook: &'static str,
    /// The hook that it reaches on a kernel without that one.
    pub(crate) fallback: Option<&'static str>,
    /// Process that makes the call.
    pub(crate) caller: Caller,
    /// What the caller sees of a denial.
    pub(crate) denial: Denial,
    /// The errno that is its undisturbed outcome; `None` where it succeeds.
    pub(crate) outcome: Option<i32>,
    perform: fn(&Path) -> io::Result<()>,
}

const fn act(hook: &'static str, perform: fn(&Path) -> io::Result<()>) -> Act {
    let (caller, denial) = (Caller::Own, Denial::Errno);
    Act { hook, fallback: None, caller, denial, outcome: None, perform }
}

impl Act {
    const fn or(self, hook: &'static str) -> Self {
        Self { fallback: Some(hook), ..self }
    }

    const fn by_child(self) -> Self {
        Self { caller: Caller::Child, ..self }
    }

    const fn seen_as(self, errno: i32) -> Self {
        Self { denial: Denial::As(errno), ..self }
    }

    const fn unseen(self) -> Self {
        Self { denial: Denial::Unseen, ..self }
    }

    const fn fails_with(self, errno: i32) -> Self {
        Self { outcome: Some(errno), ..self }
    }

    /// Does it, in a folder of its own that is made for it and removed.
    pub(crate) fn perform(&self, guest: &Guest) -> io::Result<()> {
        let folder = guest.path(self.hook);
        fs::create_dir(&folder)?;
        let result = (self.perform)(&folder);
        // A denial may hold for this too: see `clear`.
        let _removed = fs::remove_dir_all(&folder);
        result
    }

    /// Does it in a thread that has a name meanwhile, and its children with it. The thread itself is
    /// set up and taken down under another, as a denial may hold for that too.
    pub(crate) fn perform_as(&self, guest: &Guest, name: &str) -> anyhow::Result<io::Result<()>> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                call::set_name(name)?;
                let result = self.perform(guest);
                call::set_name("vm-tests")?;
                Ok(result)
            });
            thread.join().map_err(|_| anyhow::anyhow!("{} panicked", self.hook))?
        })
    }

    /// Removes what a denied act could not remove itself, once it is denied no more.
    pub(crate) fn clear(&self, guest: &Guest) {
        let folder = guest.path(self.hook);
        mount::clear(&folder);
        let _absent = fs::remove_dir_all(&folder);
    }

    /// The hook that it reaches on the running kernel, if BPF may have one there.
    pub(crate) fn reached(&self) -> anyhow::Result<Option<&'static str>> {
        for hook in [Some(self.hook), self.fallback].into_iter().flatten() {
            if has_hook(hook)? {
                return Ok(Some(hook));
            }
        }
        Ok(None)
    }

    /// Checks that an act came to its undisturbed outcome.
    pub(crate) fn undisturbed(&self, result: &io::Result<()>) -> anyhow::Result<()> {
        let errno = result.as_ref().err().map(io::Error::raw_os_error);
        ensure!(errno == self.outcome.map(Some), "{}: {result:?}", self.hook);
        Ok(())
    }
}

/// In the order of the hooks' ids.
pub(crate) const ACTS: &[Act] = &[
    act("bprm_creds_for_exec", file::exec).by_child(),
    act("bprm_creds_from_file", file::exec).by_child(),
    act("bprm_committing_creds", file::exec).by_child().unseen(),
    act("file_permission", file::write),
    act("mmap_file", file::map),
    act("file_mprotect", file::protect),
    act("path_unlink", file::unlink).or("inode_unlink"),
    act("path_rename", file::rename).or("inode_rename"),
    act("path_mkdir", file::mkdir).or("inode_mkdir"),
    act("path_rmdir", file::rmdir).or("inode_rmdir"),
    act("path_symlink", file::symbolic_link).or("inode_symlink"),
    act("path_link", file::link).or("inode_link"),
    act("path_chmod", file::chmod).or("inode_setattr"),
    act("path_chown", file::change_owner).or("inode_setattr"),
    act("path_truncate", file::truncate).or("inode_setattr"),
    act("path_mknod", file::mknod).or("inode_mknod"),
    act("inode_unlink", file::unlink),
    act("inode_rename", file::rename),
    act("inode_mkdir", file::mkdir),
    act("inode_rmdir", file::rmdir),
    act("inode_symlink", file::symbolic_link),
    act("inode_link", file::link),
    act("inode_setattr", file::chmod),
    act("inode_mknod", file::mknod),
    act("inode_setxattr", file::setxattr),
    act("socket_create", socket::create),
    act("socket_bind", socket::bind),
    act("socket_listen", socket::listen),
    act("socket_accept", socket::accept),
    act("socket_sendmsg", socket::send),
    act("ptrace_access_check", process::attach),
    act("ptrace_traceme", process::trace_me).by_child(),
    act("task_kill", process::kill),
    act("task_fix_setuid", process::setuid).by_child(),
    act("capset", process::capset).by_child(),
    act("capable", process::capable).seen_as(libc::EPERM),
    act("kernel_read_file", kernel::read_module).fails_with(libc::ENOEXEC),
    act("kernel_load_data", kernel::load_module).fails_with(libc::ENOEXEC),
    act("kernel_module_request", kernel::request_module).unseen().fails_with(libc::EAFNOSUPPORT),
    act("bpf", kernel::make_map),
    act("bpf_prog", kernel::load_program),
    act("bpf_map", kernel::make_map),
    act("perf_event_open", kernel::open_perf_event),
    act("sb_mount", mount::mount),
    act("sb_umount", mount::mount),
    act("move_mount", mount::move_mount),
    act("sb_pivotroot", mount::pivot_root).by_child(),
    act("userns_create", process::new_user_namespace).by_child(),
    act("locked_down", kernel::open_memory),
    act("settime", kernel::set_clock),
    act("syslog", kernel::ask_log),
    act("key_alloc", ipc::add_key),
    act("key_permission", ipc::use_key),
    act("ipc_permission", ipc::send_message).seen_as(libc::EACCES),
    act("shm_shmat", ipc::attach_memory),
    act("msg_queue_msgsnd", ipc::send_message),
    act("sem_semop", ipc::operate_semaphore),
    act("task_alloc", process::fork),
    act("task_free", process::fork).unseen(),
    act("uring_override_creds", ring::other_credentials),
    act("uring_sqpoll", ring::polling_thread),
    act("uring_cmd", ring::command),
];

/// Whether the running kernel lets BPF have an LSM hook.
fn has_hook(name: &str) -> anyhow::Result<bool> {
    Ok(row(listing()?, name).is_ok_and(|row| row["lsm"] == "accepted"))
}

fn succeed_undisturbed(guest: &mut Guest) -> anyhow::Result<()> {
    let mut faults = Vec::new();
    for act in ACTS {
        if act.reached()?.is_some() {
            faults.extend(act.undisturbed(&act.perform(guest)).err());
        }
    }
    ensure!(faults.is_empty(), "{faults:#?}");
    Ok(())
}

const TRACING: &str = "/sys/kernel/tracing";

/// A kernel probe on the function of every hook counts who comes by: no judge of ours.
fn reach_their_hooks(guest: &mut Guest) -> anyhow::Result<()> {
    let listing = listing()?;
    let mut events = String::new();
    for act in ACTS {
        if let Some(hook) = act.reached()? {
            let function = row(listing, hook)?["function"].as_str().context(hook)?;
            let name = function.split(['(', ' ']).find(|word| word.starts_with("security_"));
            events += &format!("p:krsi/{} {}\n", act.hook, name.context(hook)?);
        }
    }
    fs::write(format!("{TRACING}/kprobe_events"), &events).context(events)?;
    let result = probes_fire(guest);
    fs::write(format!("{TRACING}/events/krsi/enable"), "0")?;
    fs::write(format!("{TRACING}/kprobe_events"), "")?;
    result
}

fn probes_fire(guest: &Guest) -> anyhow::Result<()> {
    fs::write(format!("{TRACING}/events/krsi/enable"), "1")?;
    for act in ACTS {
        if act.reached()?.is_none() {
            continue;
        }
        let before = hits(act.hook)?;
        act.undisturbed(&act.perform(guest))?;
        // A task is freed late.
        wait_for(act.hook, || Ok((hits(act.hook)? > before).then_some(())))?;
    }
    Ok(())
}

/// How often the probe of a hook was hit.
fn hits(hook: &str) -> anyhow::Result<u64> {
    let profile = fs::read_to_string(format!("{TRACING}/kprobe_profile"))?;
    for line in profile.lines() {
        let mut words = line.split_whitespace();
        if words.next() == Some(hook) {
            return Ok(words.next().context(hook.to_owned())?.parse()?);
        }
    }
    bail!("no probe {hook} in {profile}")
}

/// Denies each act without krsi-host: at its hook, to whose call it is, and to nobody else.
fn show_a_denial_as_told(guest: &mut Guest) -> anyhow::Result<()> {
    let listing = listing()?;
    let mut faults = Vec::new();
    for act in ACTS {
        let Some(hook) = act.reached()? else { continue };
        let id = row(listing, hook)?["function_btf_id"].as_u64().context(hook)?;
        let denying = deny::Denying::start(u32::try_from(id)?, act.caller).context(hook)?;
        let denied = act.perform(guest);
        drop(denying);
        act.clear(guest);
        let seen = match act.denial {
            Denial::Errno => Some(deny::ERRNO),
            Denial::As(errno) => Some(errno),
            Denial::Unseen => act.outcome,
        };
        let errno = denied.as_ref().err().map(io::Error::raw_os_error);
        if errno != seen.map(Some) {
            faults.push(format!("{}: {denied:?}", act.hook));
        }
        // It was that program, and it is gone.
        faults.extend(act.undisturbed(&act.perform(guest)).err().map(|error| error.to_string()));
    }
    ensure!(faults.is_empty(), "{faults:#?}");
    Ok(())
}

/// What `krsi-host hooks` says, asked once a boot.
fn listing() -> anyhow::Result<&'static Value> {
    static LISTING: OnceLock<Value> = OnceLock::new();
    if let Some(listing) = LISTING.get() {
        return Ok(listing);
    }
    let mut command = std::process::Command::new("/krsi/krsi-host");
    let output = command.args(["hooks", "--output", "json"]).output()?;
    let listing = serde_json::from_slice(&output.stdout)?;
    Ok(LISTING.get_or_init(|| listing))
}

fn row<'a>(listing: &'a Value, hook: &str) -> anyhow::Result<&'a Value> {
    let rows = listing["hooks"].as_array().context("hooks")?;
    rows.iter().find(|row| row["hook"] == hook).with_context(|| hook.to_owned())
}
