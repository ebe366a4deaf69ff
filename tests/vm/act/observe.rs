//! Every act watched by a plugin that sees all calls: a record of its hook comes, with what was done.

use anyhow::{Context, bail, ensure};
use krsi_host_abi::hook::HOOKS;
use rustix::process::Signal;

use super::enforce::backend_is_that_of_the_boot;
use super::{ACTS, Act};
use crate::harness::{Guest, wait_for};

/// What a field must hold.
#[derive(Clone, Copy, Debug)]
pub(super) enum Is {
    /// A number or an address, as it is told.
    Value(&'static str),
    /// The field has a value, whatever it is.
    There,
    Text(&'static str),
    /// A path that ends so.
    Path(&'static str),
    /// The name of the thread.
    Name,
    /// The id of this process.
    Own,
}

use Is::{Name, Own, Path, Text, There, Value};

/// What each act does, as its hook's record tells it.
const EXPECTED: &[(&str, &[(&str, Is)])] = &[
    ("bprm_creds_for_exec", &[("path", Path("/busybox")), ("argc", Value("2"))]),
    ("bprm_creds_from_file", &[("path", Path("/busybox")), ("euid", Value("0"))]),
    ("bprm_committing_creds", &[("path", Path("/busybox")), ("euid", Value("0"))]),
    ("file_permission", &[("path", Path("/written")), ("mask", Value("2"))]),
    ("mmap_file", &[("path", Path("/file")), ("requested", Value("1")), ("flags", Value("2"))]),
    ("file_mprotect", &[("path", Path("/file")), ("requested", Value("5")), ("vm_start", There)]),
    ("path_unlink", &[("folder", Path("/path_unlink")), ("name", Text("file")), ("file", There)]),
    ("path_rename", &[("name", Text("file")), ("new_name", Text("renamed")), ("file", There)]),
    ("path_mkdir", &[("folder", Path("/path_mkdir")), ("name", Text("made"))]),
    ("path_rmdir", &[("folder", Path("/path_rmdir")), ("name", Text("made")), ("file", There)]),
    ("path_symlink", &[("name", Text("symlink")), ("target", Text("nowhere"))]),
    ("path_link", &[("source", Path("/file")), ("name", Text("link"))]),
    ("path_chmod", &[("path", Path("/file")), ("mode", Value("384"))]),
    ("path_chown", &[("path", Path("/file")), ("uid", Value("1")), ("gid", Value("1"))]),
    ("path_truncate", &[("path", Path("/file")), ("file", There)]),
    ("path_mknod", &[("name", Text("pipe")), ("mode", Value("4480"))]),
    ("inode_unlink", &[("path", Path("/file")), ("file", There), ("parent", There)]),
    ("inode_rename", &[("path", Path("/file")), ("new_path", Path("/renamed"))]),
    ("inode_mkdir", &[("path", Path("/made")), ("parent", There)]),
    ("inode_rmdir", &[("path", Path("/made")), ("file", There)]),
    ("inode_symlink", &[("path", Path("/symlink")), ("target", Text("nowhere"))]),
    ("inode_link", &[("source", Path("/file")), ("path", Path("/link"))]),
    ("inode_setattr", &[("path", Path("/file")), ("mode", Value("33152"))]),
    ("inode_mknod", &[("path", Path("/pipe")), ("mode", Value("4480"))]),
    (
        "inode_setxattr",
        &[("path", Path("/file")), ("name", Text("trusted.krsi")), ("size", Value("1"))],
    ),
    ("socket_create", &[("family", Value("1")), ("kind", Value("2"))]),
    ("socket_bind", &[("address", Value("127.0.0.1:0")), ("kind", Value("2"))]),
    ("socket_listen", &[("family", Value("2")), ("kind", Value("1")), ("backlog", There)]),
    ("socket_accept", &[("family", Value("2")), ("kind", Value("1")), ("port", There)]),
    ("socket_sendmsg", &[("address", Value("127.0.0.1:9")), ("size", Value("1"))]),
    ("ptrace_access_check", &[("target_tgid", There), ("target_comm", Name), ("mode", There)]),
    ("ptrace_traceme", &[("tracer_tgid", Own), ("tracer_start_boot_ns", There)]),
    ("task_kill", &[("target_tgid", There), ("target_comm", Name), ("signal", Value("0"))]),
    ("task_fix_setuid", &[("uid", Value("0")), ("new_uid", Value("65534"))]),
    ("capset", &[("effective", There), ("permitted", There)]),
    ("capable", &[("capability", Value("21"))]),
    ("kernel_read_file", &[("path", Path("/module")), ("purpose", Value("2"))]),
    ("kernel_load_data", &[("purpose", Value("2"))]),
    ("kernel_module_request", &[("name", Text("net-pf-9"))]),
    ("bpf", &[("command", Value("0")), ("size", Value("16"))]),
    ("bpf_prog", &[("kind", Value("1"))]),
    ("bpf_map", &[("kind", Value("2"))]),
    ("perf_event_open", &[("purpose", There)]),
    ("sb_mount", &[("path", Path("/mounted")), ("filesystem", Text("tmpfs"))]),
    ("sb_umount", &[("filesystem", Text("tmpfs")), ("flags", Value("0"))]),
    ("move_mount", &[("from", Path("/from")), ("to", Path("/to"))]),
    ("sb_pivotroot", &[("put_old", Path("")), ("new_root", Path(""))]),
    ("userns_create", &[("uid", Value("0")), ("euid", Value("0"))]),
    ("locked_down", &[("reason", There)]),
    ("settime", &[("seconds", There), ("nanoseconds", There)]),
    ("syslog", &[("action", Value("10"))]),
    ("key_alloc", &[("kind", Text("user")), ("uid", Value("0"))]),
    ("key_permission", &[("need", There), ("uid", Value("0"))]),
    ("ipc_permission", &[("id", There), ("wanted", There)]),
    ("shm_shmat", &[("id", There), ("uid", Value("0"))]),
    ("msg_queue_msgsnd", &[("kind", Value("1")), ("size", Value("8"))]),
    ("sem_semop", &[("operations", Value("1")), ("alters", Value("1"))]),
    ("task_alloc", &[("clone_flags", There)]),
    ("task_free", &[("tgid", There), ("comm", Name)]),
    ("uring_override_creds", &[("uid", Value("0")), ("euid", Value("0"))]),
    ("uring_sqpoll", &[]),
    ("uring_cmd", &[("path", Path("/null")), ("file", There)]),
];

/// An act's own fields, or of the hook that stands in for its own on an older kernel.
pub(super) fn expected(act: &Act, hook: &str) -> anyhow::Result<&'static [(&'static str, Is)]> {
    if hook != act.hook {
        return Ok(&[("path", Path("/file"))]);
    }
    let row = EXPECTED.iter().find(|(name, _)| *name == hook);
    row.map_or_else(|| bail!("{hook} is not among what is expected"), |(_, fields)| Ok(*fields))
}

/// What one record tells: of whom, which hook, and the values by their fields.
#[derive(Debug)]
pub(super) struct Told<'a> {
    pub(super) name: &'a str,
    pub(super) hook: &'a str,
    values: Vec<(&'a str, &'a str)>,
}

impl<'a> Told<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(" | ");
        let (name, hook) = parts.next()?.split_once(' ')?;
        Some(Self { name, hook, values: parts.filter_map(|part| part.split_once('=')).collect() })
    }

    pub(super) fn has(&self, field: &str, is: Is, name: &str) -> bool {
        let value = self.values.iter().find(|(at, _)| *at == field).map(|(_, value)| *value);
        let value = value.unwrap_or("absent");
        let there = !matches!(value, "absent" | "null" | "unreadable");
        match is {
            Value(text) => value == text,
            There => there,
            Text(text) => value == text,
            Path(end) => there && value.ends_with(end),
            Name => value == name,
            Own => value == std::process::id().to_string(),
        }
    }
}

pub(super) fn see_each(guest: &mut Guest) -> anyhow::Result<()> {
    for row in HOOKS.iter().filter(|row| row.hook.is_call()) {
        ensure!(ACTS.iter().any(|act| act.hook == row.name), "{} has no act", row.name);
    }
    let grants = guest.path("grants.toml");
    std::fs::write(&grants, "[defaults]\nalerts-per-second = 100000\n")?;
    let grants = grants.to_string_lossy();
    let host = guest.host_with(&[("onlooker", "act- busybox")], &["--config", &grants])?;
    let mut reached = Vec::new();
    let mut lacking = String::new();
    for (number, act) in ACTS.iter().enumerate() {
        let Some(hook) = act.reached()? else { continue };
        let name = format!("act-{number:02}");
        act.undisturbed(&act.perform_as(guest, &name)?)?;
        reached.push((act, hook, name));
    }
    let waited = wait_for("every record", || {
        let reports = host.reports()?;
        let texts = reports.iter().filter_map(|report| report["text"].as_str());
        let told: Vec<Told<'_>> = texts.filter_map(Told::parse).collect();
        let mut faults = Vec::new();
        for (act, hook, name) in &reached {
            let Some(fault) = missing(&told, act, hook, name)? else { continue };
            if *hook == "task_free" {
                // Freed in whatever process is interrupted; in krsi-host it is no record.
                act.undisturbed(&act.perform_as(guest, name)?)?;
            }
            faults.push(fault);
        }
        lacking = faults.join("\n");
        Ok(lacking.is_empty().then_some(()))
    });
    waited.with_context(|| lacking)?;
    backend_is_that_of_the_boot(&host.stop(Signal::INT)?)
}

/// Says which record is missing, with those of the same hook that came.
fn missing(told: &[Told<'_>], act: &Act, hook: &str, name: &str) -> anyhow::Result<Option<String>> {
    let fields = expected(act, hook)?;
    // Once a program runs, its thread has its name; a task is freed by whoever comes by.
    let whose = match hook {
        "bprm_committing_creds" => Some("busybox"),
        "task_free" => None,
        _ => Some(name),
    };
    let near: Vec<&Told<'_>> = told
        .iter()
        .filter(|told| told.hook == hook && whose.is_none_or(|whose| whose == told.name))
        .collect();
    let fits = |told: &&Told<'_>| fields.iter().all(|(field, is)| told.has(field, *is, name));
    if near.iter().any(fits) {
        return Ok(None);
    }
    let shown: Vec<&&Told<'_>> = near.iter().take(3).collect();
    Ok(Some(format!("{} at {hook}, {} records: {shown:?}", act.hook, near.len())))
}
