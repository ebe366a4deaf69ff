//! Whom no rule refuses: whom the operator exempts, PID 1, the host's own; and what is too broad for a plugin.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::{Boot, Test, evasion};
use crate::harness::{Guest, Host, expect_errno, wait_for};
use crate::reload::{census, put};
use crate::rule::{folder, ruled, verdict};

pub(crate) const TESTS: &[Test] = &[
    ("exempt_is_whom_the_operator_meant", Boot::Each, by_executable),
    ("operator_is_never_locked_out", Boot::Each, operator),
    ("runtime_grants_broad_denials", Boot::Default, broad),
];

const EPERM: i32 = 1;
const EACCES: i32 = 13;
/// A user whom nobody has named, and one whom the operator has.
const USERS: [u32; 2] = [1000, 1001];
/// Reads one line of a file, by the shell itself.
const READ: &str = "read line < \"$1\"";
/// How often a child of the exempt shell executes something else.
const CHILDREN: usize = 20;

/// A shell of an executable runs a script on a file, as a user.
fn shell(executable: &Path, script: &str, file: &Path, uid: u32) -> std::io::Result<ExitStatus> {
    let mut command = Command::new(executable);
    command.args(["sh", "-c", script, "sh"]).arg(file).uid(uid).gid(uid);
    command.stdin(Stdio::null()).stderr(Stdio::null()).status()
}

/// A shell that reads a file once it is told to.
struct WaitingShell(Child);

impl WaitingShell {
    fn start(executable: &Path, file: &Path) -> anyhow::Result<Self> {
        let script = format!("read go && {READ}");
        let mut command = Command::new(executable);
        command.args(["sh", "-c", &script, "sh"]).arg(file);
        Ok(Self(command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn()?))
    }

    /// Tells the shell to read, and whether it could.
    fn reads(mut self) -> anyhow::Result<bool> {
        self.0.stdin.take().context("its input")?.write_all(b"go\n")?;
        Ok(self.0.wait()?.success())
    }
}

/// An executable that is named by a link makes root exempt, and whom the operator names, and nobody else; not
/// for what it executes, whether or not the host looks; and still after an upgrade and another start.
fn by_executable(guest: &mut Guest) -> anyhow::Result<()> {
    let (_, file) = folder(guest, "vault")?;
    fs::set_permissions(guest.path(""), fs::Permissions::from_mode(0o755))?;
    let (free, bound) = (guest.executable("busybox-free")?, guest.executable("busybox-bound")?);
    let (link, nowhere) = (guest.path("link"), guest.path("nowhere"));
    symlink(&free, &link)?;
    let path = guest.path("krsi.toml");
    let names = [&link, &nowhere].map(|path| path.display().to_string());
    let [_, named] = USERS;
    fs::write(
        &path,
        format!("[rules]\nexempt-executables = {names:?}\nexempt-uids = [0, {named}]\n"),
    )?;
    let is_secret = evasion::is_file("file", &file)?;
    let watch = format!("file_open: file.f_flags if {is_secret} deny EACCES");
    let arguments = ["--watch", &watch, "--config", &path.display().to_string()].map(str::to_owned);
    let before = WaitingShell::start(&free, &file)?;
    let host = guest.start(&arguments)?;
    host.note(&[&names[0], "is", &free.display().to_string(), "exempt"])?;
    host.note(&[&names[1], "exempts nobody"])?;
    ensure!(before.reads()?, "who ran before the host could not read");
    expect_errno(EACCES, File::open(&file))?;
    rules_apply(&free, &bound, &file)?;
    // No record is read now: the kernel alone knows who executes what.
    host.signal(Signal::STOP)?;
    let result = rules_apply(&free, &bound, &file);
    host.signal(Signal::CONT)?;
    result?;
    verdict(&host, &[("hook", "file_open"), ("plugin", "administrator")])?;
    // An upgrade puts another file in its place, while a process of the old one runs.
    let running = WaitingShell::start(&free, &file)?;
    let other = guest.executable("busybox-new")?;
    fs::rename(&other, &free)?;
    host.note(&[&names[0], "was replaced"])?;
    ensure!(shell(&free, READ, &file, 0)?.success(), "the new file is not exempt");
    host.stop(Signal::INT)?;
    let host = guest.start(&arguments)?;
    ensure!(running.reads()?, "the old file is not exempt after another start");
    rules_apply(&free, &bound, &file)?;
    host.stop(Signal::INT).map(drop)
}

/// Who may read a file: the exempt executable for root and a named user, not for another, and not what it executes.
fn rules_apply(free: &Path, bound: &Path, file: &Path) -> anyhow::Result<()> {
    let [stranger, named] = USERS;
    for (uid, reads) in [(0, true), (named, true), (stranger, false)] {
        ensure!(shell(free, READ, file, uid)?.success() == reads, "user {uid}: not {reads}");
    }
    ensure!(!shell(bound, READ, file, 0)?.success(), "another executable could read");
    let other = format!("exec {} cat \"$1\"", bound.display());
    let child = format!("{} cat \"$1\"", bound.display());
    for _ in 0..CHILDREN {
        for script in [&other, &child] {
            ensure!(!shell(free, script, file, 0)?.success(), "{script} could read");
        }
    }
    // A fork of the shell runs the same image.
    ensure!(shell(free, &format!("( {READ} )"), file, 0)?.success(), "a fork could not read");
    Ok(())
}

/// A plugin that was granted to deny every exec, every path and every address; then the administrator's own
/// watch on every exec.
fn operator(guest: &mut Guest) -> anyhow::Result<()> {
    let rules = "hook every 1 bprm_check_security\ndeny / 13 file_open\n\
                 network 0.0.0.0/0:0 13 socket_connect\n";
    // The runner reads what the host writes; its children are not exempt.
    let config = format!("[rules]\nexempt-tgids = [{}]\n", std::process::id());
    // Compiled anew by a child at the reload too; once is enough, as it takes seconds.
    let cache: &[&str] = if guest.boot() == Boot::Default { &["--no-cache"] } else { &[] };
    let host = ruled(guest, rules, &config, cache)?;
    wait_for("three rules", || Ok((host.status("ruler")?["rules"] == 3).then_some(())))?;
    let [stranger, _] = USERS;
    let locked = |uid: u32| -> anyhow::Result<()> {
        let run = |command: &mut Command| command.uid(uid).gid(uid).output();
        refused(run(Command::new("/bin/busybox").arg("true")))
    };
    locked(0)?;
    locked(stranger)?;
    let as_stranger = Command::new("/krsi/krsi-host").arg("--version").uid(stranger).output();
    refused(as_stranger)?;
    verbs(&host, "ruler")?;
    let (reloaded, said) = host.ask(&["reload", "ruler"])?;
    ensure!(reloaded && said.contains("took over"), "{said}");
    locked(0)?;
    init_goes_on()?;
    verdict(&host, &[("plugin", "ruler"), ("verdict", "denied")])?;
    host.stop(Signal::TERM)?;
    let folder = guest.path("plugins");
    fs::create_dir(&folder)?;
    let words = ["--watch", "bprm_check_security deny EPERM", "--plugin-dir", "plugins"];
    let host = guest.start(&words.map(str::to_owned))?;
    locked(0)?;
    verbs(&host, "krsi-host")?;
    // A plugin that comes now is compiled, and hooks that it is the first to want are proven, all by children.
    put(&folder.join("census.wasm"), &census("1.0.000", "TRAP-OFF")?)?;
    host.note(&["census 1.0.000 runs"])?;
    let (hooks, unproven) = (host.hooks()?, host.unproven()?);
    ensure!(hooks.iter().any(|hook| hook == "file_open") && unproven.is_empty(), "{unproven:?}");
    let (reloaded, said) = host.ask(&["reload", "census"])?;
    ensure!(reloaded && said.contains("took over"), "{said}");
    locked(0)?;
    host.stop(Signal::TERM)?;
    let run = Command::new("/bin/busybox").arg("true").status()?;
    ensure!(run.success() && TcpStream::connect("127.0.0.1:1").is_err(), "{run}");
    Ok(())
}

/// That an exec was refused: by the rule on its hook, or by the one on paths when the file was opened for it.
fn refused<T: Debug>(result: io::Result<T>) -> anyhow::Result<()> {
    let errno = result.as_ref().err().and_then(io::Error::raw_os_error);
    ensure!(matches!(errno, Some(EPERM | EACCES)), "{result:?}");
    Ok(())
}

/// PID 1 opens files, where opens are denied below `/`.
fn init_goes_on() -> anyhow::Result<()> {
    let [reads, writes] = ["/tmp/init-reads", "/tmp/init-writes"];
    fs::write(reads, "word\n")?;
    kill_process(Pid::INIT, Signal::USR1)?;
    wait_for("PID 1", || {
        Ok(fs::read_to_string(writes).is_ok_and(|text| text == "word\n").then_some(()))
    })
}

/// Root's verbs work.
fn verbs(host: &Host, word: &str) -> anyhow::Result<()> {
    let (answered, said) = host.ask(&["status"])?;
    ensure!(answered && said.contains(word), "{said}");
    Ok(())
}

/// What is broad is refused without its grant, what is next to it is not.
fn broad(guest: &mut Guest) -> anyhow::Result<()> {
    let (vault, file) = folder(guest, "vault")?;
    let own = format!("deny {} 13 file_open", vault.display());
    let cases = [
        ("hook every 1 path_unlink", "it covers every call of path_unlink"),
        ("deny / 13 file_open", "most files lie below /"),
        ("deny /usr 13 file_open", "most files lie below /usr"),
        ("deny /bin/busybox 13 file_open", "nobody comes in without what PID 1 runs"),
        ("deny /bin/sh 13 file_open", "nobody comes in without what PID 1 runs"),
        ("deny /krsi/krsi-host 13 file_open", "nobody comes in without krsi-host"),
        ("network 10.0.0.0/8:0 13 socket_connect", "10.0.0.0/8 is too much of the network"),
        ("network ::/32:0 13 socket_connect", "::/32 is too much of the network"),
        (
            "network 11.128.0.0/9:7 13 socket_connect",
            "the plugin's prefixes together are too much of the network",
        ),
        ("cgroup 1 13 file_open", "PID 1 or the host is in cgroup 1"),
    ];
    let narrow = ["network 11.0.0.0/9:7 13 socket_connect", &own, "hook every 1 path_unlink audit"];
    let rules = narrow.into_iter().chain(cases.iter().map(|(rule, _)| *rule));
    let path = guest.path("krsi.toml");
    fs::write(
        &path,
        "[plugin.ruler]\ndeny-hooks = [\"file_open\", \"socket_connect\", \"path_unlink\"]\n",
    )?;
    let rules = rules.collect::<Vec<_>>().join("\n");
    let host = guest.host_with(&[("ruler", &rules)], &["--config", &path.display().to_string()])?;
    for (_, words) in cases {
        let reason =
            format!("{words}, and broad denials are not granted: `broad = true` grants them");
        host.report(&[("kind", "refusal"), ("plugin", "ruler"), ("reason", &reason)])
            .with_context(|| words.to_owned())?;
    }
    wait_for("three rules", || Ok((host.status("ruler")?["rules"] == 3).then_some(())))?;
    if guest.resolves("file_open") {
        expect_errno(EACCES, File::open(&file))?;
    }
    fs::remove_file(guest.file("neighbour")?)?;
    host.stop(Signal::INT).map(drop)
}
