//! What a plugin may do: rules, watches and a scope that are granted, and what is refused of others.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use rustix::fs::{XattrFlags, setxattr};
use rustix::process::Signal;
use serde_json::Value;

use super::{Boot, Test};
use crate::act::call::set_name;
use crate::harness::{
    Connecting, Guest, expect_errno, has_rule, listen, run, wait_for, wait_for_errno,
};

pub(crate) const TESTS: &[Test] = &[
    ("runtime_grants", Boot::Default, grants),
    ("runtime_grants_watches", Boot::Default, grants_watches),
    ("runtime_scope", Boot::Default, scope),
    ("runtime_scope_by_cgroup", Boot::Default, scope_by_cgroup),
];

const EPERM: i32 = 1;
const EACCES: i32 = 13;

fn grants(guest: &mut Guest) -> anyhow::Result<()> {
    let config = guest.path("host.toml");
    let text = "[plugin.sentry]\nerrnos = [\"EACCES\"]\nmax-ttl-s = 60\ndeny-keys = [\"file\"]\nkill = false\n";
    fs::write(&config, text)?;
    let (a, b, c) = (guest.file("errno")?, guest.file("ttl")?, guest.file("good")?);
    let victim = guest.executable("busybox-victim")?;
    let lines = [
        format!("open {} 60000 1", a.display()),
        format!("open {} 61000 13", b.display()),
        format!("open {} 60000 13", c.display()),
        format!("process {} 60000 13", victim.display()),
        format!("kill {} 0 0", victim.display()),
    ];
    let more = ["--config", &config.display().to_string()];
    let host = guest.host_with(&[("sentry", &lines.join("\n"))], &more)?;
    host.note(&["sentry", "not granted", "process, lineage, network keys", "kill"])?;
    for file in [&a, &b, &c] {
        drop(File::open(file));
    }
    run(&victim, &["true"])?;
    // Each refusal is an audit line, in order, and nothing of it is in force.
    for words in [
        "EPERM is not granted",
        "a life of 61000 ms is not granted, at most 60000 ms are",
        "rules on process keys are not granted",
        "kill is not granted",
    ] {
        host.report(&[("kind", "refusal"), ("plugin", "sentry"), ("reason", words)])?;
    }
    wait_for_errno(EACCES, || File::open(&c))?;
    for allowed in [&a, &b] {
        File::open(allowed)?;
    }
    host.stop(Signal::INT).map(drop)
}

/// What is granted of the watches of a plugin's own decides what is loaded of them: one that refuses opens
/// of whoever is called nobody, and one that does not refuse.
fn grants_watches(guest: &mut Guest) -> anyhow::Result<()> {
    let (config, file) = (guest.path("host.toml"), guest.file("secret")?);
    let open_as = |name: &str| {
        std::thread::scope(|scope| {
            let open = || set_name(name).and_then(|()| File::open(&file).map(drop));
            scope.spawn(open).join().map_err(|_| anyhow::anyhow!("panicked"))
        })
    };
    // The operator's words, and why the refusing watch is left out.
    let cases = [
        ("permanent = true", None),
        ("permanent = true\ndeep = true", None),
        ("", Some("a denial without end is not granted")),
        (
            "permanent = true\nhooks = [\"path_mkdir\"]",
            Some("watches on file_open are not granted"),
        ),
        (
            "permanent = true\ndeny-hooks = [\"socket_connect\"]",
            Some("verdicts on file_open are not granted"),
        ),
        ("permanent = true\nerrnos = [\"EACCES\"]", Some("EPERM is not granted")),
        ("permanent = true\nscope = \"uid:1000\"", Some("a watch denies or labels whoever calls")),
    ];
    for (words, why) in cases {
        fs::write(&config, format!("[plugin.census]\n{words}\n"))?;
        let more = ["--config", &config.display().to_string()];
        let host = guest.host_with(&[("census_wide", "")], &more)?;
        open_as("somebody")?.with_context(|| words.to_owned())?;
        let is_deep = words.contains("deep");
        let shallow = |report: &Value| report.to_string().contains("`deep = true` grants it");
        if !is_deep && !words.contains("hooks") {
            wait_for("the refusal of what lies deep", || {
                Ok(host.reports()?.iter().any(shallow).then_some(()))
            })
            .with_context(|| words.to_owned())?;
        }
        match why {
            Some(why) => {
                open_as("nobody")?.with_context(|| words.to_owned())?;
                let told = |report: &Value| {
                    let reason = report["reason"].as_str().unwrap_or_default();
                    report["kind"] == "refusal" && reason.contains(why)
                };
                wait_for("the refusal", || Ok(host.reports()?.iter().any(told).then_some(())))
                    .with_context(|| format!("{words:?}: {why:?} in {:#?}", host.reports()))?;
            }
            None => {
                expect_errno(EPERM, open_as("nobody")?)?;
                let record = host.report(&[("kind", "verdict"), ("hook", "file_open")])?;
                ensure!(record["plugin"] == "census" && record["errno"] == "EPERM", "{record}");
                ensure!(has_rule(&record), "{record}");
            }
        }
        let told = host.reports()?.iter().any(shallow);
        ensure!(!is_deep || !told, "{words:?}: {:#?}", host.reports());
        host.stop(Signal::INT)?;
    }
    Ok(open_as("nobody")??)
}

/// A rule on the lineage of a process in the scope ends where a descendant becomes another user.
fn leaves_the_scope(guest: &Guest, tree: &Path) -> anyhow::Result<()> {
    // cap_setuid and cap_setgid, effective: `struct vfs_cap_data` of `include/uapi/linux/capability.h`.
    let capable = [0x0200_0001_u32, 1 << 7 | 1 << 6, 0, 0, 0].map(u32::to_le_bytes).concat();
    setxattr(tree, "security.capability", &capable, XattrFlags::empty())?;
    fs::write("/etc/passwd", "root:x:0:0::/:/bin/sh\n")?;
    let other = guest.executable("busybox-other")?.display().to_string();
    let tree = tree.display().to_string();
    let mut shell = Command::new(&tree);
    shell.uid(1000).gid(1000);
    let outside = format!("{tree} start-stop-daemon -S -c root -x {other} -- nc");
    is_bounded(guest, shell, (&other, &outside), 7091)
}

/// A rule on a tree denies who of it is in the scope, and not who is `outside`: what a command connects by.
fn is_bounded(
    guest: &Guest,
    mut shell: Command,
    (own, outside): (&str, &str),
    port: u16,
) -> anyhow::Result<()> {
    listen(&format!("127.0.0.1:{port}"))?;
    let to = format!("127.0.0.1 {port} </dev/null");
    let script = format!(
        "while {own} sleep 0.2; do
            {own} nc {to}; inside=$?
            {outside} {to}; echo inside $inside outside $?
        done"
    );
    shell.args(["sh", "-c", &script]).stderr(Stdio::null());
    let connecting = Connecting::start(&mut shell, guest.path("connects"))?;
    // Before the rule both come through; with it, the one who is outside the scope still does.
    connecting.wait_for("inside 1 outside 0")?;
    for _ in 0..10 {
        std::thread::sleep(std::time::Duration::from_millis(300));
        ensure!(connecting.last()? == "inside 1 outside 0", "{}", connecting.last()?);
    }
    Ok(())
}

/// The same of a cgroup and what is below it, which a descendant leaves.
fn scope_by_cgroup(guest: &mut Guest) -> anyhow::Result<()> {
    let root = Path::new("/sys/fs/cgroup");
    let below = root.join("krsi-scope/below");
    fs::create_dir_all(&below)?;
    let config = guest.path("host.toml");
    fs::write(&config, "[plugin.sentry]\nscope = \"cgroup:/krsi-scope\"\n")?;
    let tree = guest.executable("busybox-tree")?;
    let other = guest.executable("busybox-other")?.display().to_string();
    let rule = format!("lineage {} 60000 13", tree.display());
    let more = ["--config", &config.display().to_string()];
    let host = guest.host_with(&[("sentry", &rule)], &more)?;
    // The shell moves itself, and is then the tree.
    let move_to = |cgroup: &Path| format!("echo 0 > {}", cgroup.join("cgroup.procs").display());
    let mut shell = Command::new(&other);
    let enter = format!("{}; exec {} \"$@\"", move_to(&below), tree.display());
    shell.args(["sh", "-c", &enter, "sh"]);
    let outside = format!("{other} sh -c '{}; exec {other} nc \"$@\"' sh", move_to(root));
    is_bounded(guest, shell, (&other, &outside), 7092)?;
    ensure!(host.status("sentry")?["scope"] == "cgroup /krsi-scope", "{}", host.status("sentry")?);
    host.stop(Signal::INT).map(drop)
}

fn scope(guest: &mut Guest) -> anyhow::Result<()> {
    let config = guest.path("host.toml");
    fs::write(&config, "[plugin.sentry]\nscope = \"uid:1000\"\n")?;
    let file = guest.file("secret")?;
    fs::set_permissions(guest.path(""), fs::Permissions::from_mode(0o755))?;
    let runner = guest.executable("busybox-runner")?;
    let tree = guest.executable("busybox-tree")?;
    let lines = [
        format!("open {} 60000 13", file.display()),
        format!("process {} 60000 13", runner.display()),
        format!("lineage {} 60000 13", tree.display()),
    ];
    let more = ["--config", &config.display().to_string()];
    let host = guest.host_with(&[("sentry", &lines.join("\n"))], &more)?;
    let as_user = |uid: u32| Command::new(&runner).arg("true").uid(uid).gid(uid).status();
    let records = || -> anyhow::Result<u64> {
        Ok(host.status("sentry")?["records"].as_u64().unwrap_or_default())
    };
    // What root does is not seen.
    let before = records()?;
    as_user(0)?;
    drop(File::open(&file));
    std::thread::sleep(std::time::Duration::from_millis(300));
    ensure!(records()? == before, "{before} records, then {}", records()?);
    // What uid 1000 does is; a rule on its process may be made, one for everybody may not.
    let mut lasting = Command::new(&runner).args(["sleep", "60"]).uid(1000).gid(1000).spawn()?;
    let rule = wait_for("a rule on the process", || {
        let is_rule = |report: &serde_json::Value| {
            report["kind"] == "rule" && report["text"].to_string().contains("process")
        };
        Ok(host.reports()?.into_iter().find(is_rule))
    });
    lasting.kill().and_then(|()| lasting.wait())?;
    rule.with_context(|| format!("{:#?}", host.reports()))?;
    let cat = Command::new(&runner).arg("cat").arg(&file).uid(1000).gid(1000).output()?;
    ensure!(cat.status.success(), "{cat:?}");
    host.report(&[("kind", "refusal"), ("reason", "only uid 1000 may be concerned")])?;
    File::open(&file)?;
    leaves_the_scope(guest, &tree)?;
    ensure!(host.status("sentry")?["scope"] == "uid 1000", "{}", host.status("sentry")?);
    host.stop(Signal::INT).map(drop)
}
