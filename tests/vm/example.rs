//! The plugins of docs/labels.md: what each refuses while the host stands still, and the innocent twins.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use rustix::process::Signal;

use super::Boot;
use crate::harness::{Guest, Host, listen};
use crate::label::{go, waiting};
use crate::rule::verdict;
use crate::scene::{Scene, SceneTest, Stage};

/// Their labels are given by paths of executables, which is the BPF LSM's from 6.1 on.
pub(crate) const SCENES: &[SceneTest] = &[
    ("example_shadow", Boot::Default, &EXAMPLES, shadow),
    ("example_keys", Boot::Default, &EXAMPLES, keys),
    ("example_web", Boot::Default, &EXAMPLES, web),
];

/// The plugins as they come.
const EXAMPLES: Stage = Stage { name: "stage-examples", start: |guest, lines| guest.start(lines) };

const BUSYBOX: &str = "/bin/busybox";
/// An address of this machine that is not loopback's, and a port that listens there.
const ADDRESS: &str = "192.0.2.9";
const PORT: u16 = 7051;

fn plugin(name: &str) -> Vec<String> {
    vec!["--plugin".to_owned(), format!("/krsi/{name}.wasm")]
}

/// Puts a copy of busybox where a program of the system would be.
fn install(path: &str) -> anyhow::Result<()> {
    let path = Path::new(path);
    fs::create_dir_all(path.parent().context("a folder")?)?;
    fs::copy(BUSYBOX, path)?;
    Ok(())
}

/// Has a copy of busybox run a script as a shell; whether that succeeded.
fn run(program: &str, script: &str) -> anyhow::Result<bool> {
    let mut command = Command::new(program);
    command.arg0("sh").args(["-c", script]).stdin(Stdio::null());
    Ok(command.stdout(Stdio::null()).stderr(Stdio::null()).status()?.success())
}

/// Programs, what each does, and whether it succeeds, while the host stands still: only the kernel can decide.
fn while_stopped(host: &Host, tries: &[(&str, &str, &str, bool)]) -> anyhow::Result<()> {
    host.signal(Signal::STOP)?;
    let tried = tries.iter().try_for_each(|(who, program, script, passes)| {
        ensure!(run(program, script)? == *passes, "{who}, not {passes}: {program} {script}");
        Ok(())
    });
    host.signal(Signal::CONT)?;
    tried
}

fn shadow(_: &Guest) -> anyhow::Result<Scene<'_>> {
    fs::write("/etc/shadow", "root:*:1::::::\n")?;
    install("/usr/bin/sudo")?;
    let words = ["ip", "addr", "add", &format!("{ADDRESS}/32"), "dev", "lo"];
    ensure!(Command::new(BUSYBOX).args(words).status()?.success(), "an address");
    // It closes each connection, by which nc ends.
    listen(&format!("0.0.0.0:{PORT}"))?;
    let scene = Scene::new(plugin("shadow"), |host| {
        let away = format!("{BUSYBOX} nc {ADDRESS} {PORT} < /dev/null");
        let read = "read a < /etc/shadow";
        let (reader, child) = (format!("{read}; {away}"), format!("{read}; ({away})"));
        let later = format!("{read}; exec {away}");
        let home = format!("{read}; {BUSYBOX} nc 127.0.0.1 {PORT} < /dev/null");
        let session = format!("exec {BUSYBOX} sh -c '{reader}'");
        while_stopped(
            host,
            &[
                ("a reader", BUSYBOX, &reader, false),
                ("its child", BUSYBOX, &child, false),
                ("a reader after an exec", BUSYBOX, &later, false),
                ("the shell of a session", "/usr/bin/sudo", &session, false),
                ("who checks passwords", "/usr/bin/sudo", &reader, true),
                ("a reader that stays at home", BUSYBOX, &home, true),
                ("a neighbour", BUSYBOX, &away, true),
            ],
        )?;
        let record = verdict(host, &[("hook", "socket_connect"), ("plugin", "shadow")])?;
        ensure!(record["errno"] == "EACCES" && record["verdict"] == "denied", "{record}");
        let reason = "whoever has read password hashes may not connect";
        ensure!(record["reason"] == reason, "{record}");
        Ok(())
    });
    Ok(scene.ending(|_| {
        let script = format!("read a < /etc/shadow; {BUSYBOX} nc {ADDRESS} {PORT} < /dev/null");
        ensure!(run(BUSYBOX, &script)?, "a reader is refused though the host has ended");
        Ok(())
    }))
}

fn keys(_: &Guest) -> anyhow::Result<Scene<'_>> {
    const KEY: &str = "/root/.ssh/id_ed25519";
    fs::create_dir_all("/root/.ssh")?;
    fs::write(KEY, "a key\n")?;
    fs::write(format!("{KEY}.pub"), "its other half\n")?;
    ["/usr/bin/ssh", "/usr/bin/ssh-agent"].into_iter().try_for_each(install)?;
    let read = format!("read a < {KEY}");
    let agent = waiting(Path::new("/usr/bin/ssh-agent"), &read)?;
    let stranger = waiting(Path::new(BUSYBOX), &read)?;
    Ok(Scene::new(plugin("keys"), move |host| {
        let started = format!("exec {BUSYBOX} cat {KEY}");
        let other = format!("read a < {KEY}.pub");
        while_stopped(
            host,
            &[
                ("ssh", "/usr/bin/ssh", &read, true),
                ("a program that ssh starts", "/usr/bin/ssh", &started, false),
                ("another program", BUSYBOX, &read, false),
                ("another file", BUSYBOX, &other, true),
            ],
        )?;
        ensure!(go(agent)?.success(), "an agent from before the host could not open the key");
        ensure!(!go(stranger)?.success(), "somebody else from before the host could");
        let record = verdict(host, &[("hook", "file_open"), ("object", KEY)])?;
        ensure!(record["errno"] == "EACCES" && record["plugin"] == "keys", "{record}");
        ensure!(record["reason"] == "only ssh may open a key", "{record}");
        Ok(())
    }))
}

fn web(_: &Guest) -> anyhow::Result<Scene<'_>> {
    const DASH: &str = "/usr/bin/dash";
    ["/usr/sbin/nginx", DASH].into_iter().try_for_each(install)?;
    Ok(Scene::new(plugin("web"), |host| {
        // Refused with EACCES, of which a shell makes 126.
        let shell = format!("{DASH}; [ $? = 126 ]");
        let between = format!("{BUSYBOX} sh -c '{shell}'");
        let page = format!("{BUSYBOX} true");
        while_stopped(
            host,
            &[
                ("the server's shell", "/usr/sbin/nginx", &shell, true),
                ("a shell further below", "/usr/sbin/nginx", &between, true),
                ("another program of the server", "/usr/sbin/nginx", &page, true),
                ("somebody else's shell", DASH, "true", true),
            ],
        )?;
        let record = verdict(host, &[("hook", "bprm_check_security"), ("object", DASH)])?;
        ensure!(record["errno"] == "EACCES" && record["plugin"] == "web", "{record}");
        Ok(())
    }))
}
