//! What rules may say beside a key, and what the operator says of all rules: path prefixes, answers
//! to errors, exempt processes, modes, capacities.

use std::fs::{self, File};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, ensure};
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::process::{Signal, getpid, kill_process};
use serde_json::Value;

use super::{Boot, Test, evasion};
use crate::harness::{Guest, Host, expect_errno, has_rule, listen, run};
use crate::scene::{Scene, SceneTest, Stage};

pub(crate) const TESTS: &[Test] = &[
    ("rule_path_denies_what_cannot_be_resolved", Boot::Each, path_unresolved),
    ("rule_on_error_answers", Boot::Each, on_error_answers),
    ("rule_on_error_passes_unless_said", Boot::Each, on_error_passes),
    ("rule_says_what_unread_means", Boot::Each, rule_says_what_unread_means),
    ("rule_exempt_by_tgid", Boot::Each, exempt_by_tgid),
    ("rule_map_full_evicts_nothing", Boot::Each, map_full),
    ("watch_without_texts_asks_what_was_read", Boot::Each, watch_without_texts),
    ("watch_knows_an_argument_that_is_null", Boot::Each, watch_null_argument),
];

pub(crate) const SCENES: &[SceneTest] = &[
    ("rule_path_denies_whole_components", Boot::Each, &RULED, path_denies),
    ("rule_path_denies_exec", Boot::Each, &RULED, path_denies_exec),
    ("rule_path_denies_both_names_of_a_rename", Boot::Each, &RULED, path_denies_rename),
];

/// The ruler with the lines as its rules.
pub(crate) const RULED: Stage =
    Stage { name: "stage-ruler", start: |guest, lines| ruled(guest, &lines.join("\n"), "", &[]) };

const EPERM: i32 = 1;
const EACCES: i32 = 13;
const EINVAL: i32 = 22;
/// `AF_INET` of `include/linux/socket.h`.
const AF_INET: u16 = 2;

/// The ruler's section of a configuration, its last one.
const RULER: &str = "[plugin.ruler]";

/// A folder with a file in it.
pub(crate) fn folder(guest: &Guest, name: &str) -> anyhow::Result<(PathBuf, PathBuf)> {
    let folder = guest.path(name);
    fs::create_dir_all(&folder)?;
    let file = folder.join("file");
    fs::write(&file, "content\n")?;
    Ok((folder, file))
}

/// Starts krsi-host with the ruler, rules and a configuration file. The operator grants the hooks of the
/// rules and no more, as others are not attached, and rules however broad.
pub(crate) fn ruled(
    guest: &Guest,
    rules: &str,
    config: &str,
    more: &[&str],
) -> anyhow::Result<Host> {
    let path = guest.path("krsi.toml");
    let hooks = rules.lines().filter_map(|line| line.split_whitespace().nth(3));
    let hooks = hooks.map(|hook| format!("{hook:?}")).collect::<Vec<_>>().join(", ");
    let section = if config.contains(RULER) { "" } else { RULER };
    fs::write(&path, format!("{config}\n{section}\nbroad = true\ndeny-hooks = [{hooks}]\n"))?;
    let path = path.display().to_string();
    let arguments = [&["--config", &path], more].concat();
    guest.host_with(&[("ruler", rules)], &arguments)
}

/// The record of a verdict: its rule id is there, and what else is asked.
pub(crate) fn verdict(host: &Host, fields: &[(&str, &str)]) -> anyhow::Result<Value> {
    let record = host.report(&[&[("kind", "verdict")], fields].concat())?;
    ensure!(has_rule(&record), "{record}");
    Ok(record)
}

/// What a summary counts of a hook.
pub(crate) fn count(summary: &Value, hook: &str, name: &str) -> anyhow::Result<u64> {
    let rows = summary["hooks"].as_array().context("hooks")?;
    let row = rows.iter().find(|row| row["hook"] == hook).context("the hook")?;
    row[name].as_u64().with_context(|| row.to_string())
}

/// Denials of all hooks together.
fn denied_in_all(summary: &Value) -> anyhow::Result<u64> {
    let rows = summary["hooks"].as_array().context("hooks")?;
    Ok(rows.iter().filter_map(|row| row["denied"].as_u64()).sum())
}

/// A kernel that resolves no path: a rule that passes what is unresolved passes all, and says so.
fn unresolved_everywhere(summary: &Value, hook: &str) -> anyhow::Result<()> {
    ensure!(count(summary, hook, "errors")? > 0, "{summary}");
    Ok(())
}

fn path_denies(guest: &Guest) -> anyhow::Result<Scene<'_>> {
    let (vault, file) = folder(guest, "vault")?;
    let (_, namesake) = folder(guest, "vault-of-others")?;
    let (open, free) = folder(guest, "vault/open")?;
    let lines = vec![
        format!("deny {} 13 file_open", vault.display()),
        format!("allow {}/ 13 file_open", open.display()),
    ];
    let again = file.clone();
    let scene = Scene::new(lines, move |host| {
        if !guest.resolves("file_open") {
            return Ok(File::open(&file).map(drop)?);
        }
        expect_errno(EACCES, File::open(&file))?;
        let fields = [("hook", "file_open"), ("object", &*file.to_string_lossy())];
        let record = verdict(host, &fields)?;
        ensure!(record["errno"] == "EACCES" && record["plugin"] == "ruler", "{record}");
        expect_errno(EACCES, fs::read_dir(&vault))?;
        fs::read_to_string(&namesake)?;
        fs::read_to_string(&free)?;
        // A path is a name: a new one for the same file is not below the prefix.
        let link = guest.path("link");
        fs::hard_link(&file, &link)?;
        Ok(fs::read_to_string(&link).map(drop)?)
    });
    Ok(scene.ending(move |summary| {
        if !guest.resolves("file_open") {
            return unresolved_everywhere(summary, "file_open");
        }
        Ok(fs::read_to_string(&again).map(drop)?)
    }))
}

fn path_denies_exec(guest: &Guest) -> anyhow::Result<Scene<'_>> {
    const HOOK: &str = "bprm_check_security";
    folder(guest, "vault")?;
    folder(guest, "other")?;
    let busybox = |name: &str| -> anyhow::Result<PathBuf> {
        let path = guest.path(name);
        fs::copy("/bin/busybox", &path)?;
        Ok(path)
    };
    let (inside, outside) = (busybox("vault/busybox-a")?, busybox("other/busybox-a")?);
    let line = format!("deny {} 1 {HOOK}", guest.path("vault").display());
    let scene = Scene::new(vec![line], move |host| {
        if !guest.resolves(HOOK) {
            return Ok(run(&inside, &["true"])?);
        }
        expect_errno(EPERM, run(&inside, &["true"]))?;
        let object = inside.to_string_lossy().into_owned();
        let record = verdict(host, &[("hook", HOOK), ("object", &object)])?;
        ensure!(record["errno"] == "EPERM" && record["plugin"] == "ruler", "{record}");
        Ok(run(&outside, &["true"])?)
    });
    Ok(scene.ending(|summary| {
        if guest.resolves(HOOK) { Ok(()) } else { unresolved_everywhere(summary, HOOK) }
    }))
}

/// What is moved out of a folder and what is moved into it, over another file or not. What is allowed
/// of one name says nothing of the other.
fn path_denies_rename(guest: &Guest) -> anyhow::Result<Scene<'_>> {
    const HOOK: &str = "path_rename";
    let (vault, file) = folder(guest, "vault")?;
    let (other, neighbour) = folder(guest, "other")?;
    let lines = vec![
        format!("deny {} 13 {HOOK}", vault.display()),
        format!("allow {} 13 {HOOK}", other.display()),
    ];
    let again = (file.clone(), other.join("file"));
    let scene = Scene::new(lines, move |host| {
        if !guest.resolves(HOOK) {
            return Ok(fs::rename(&neighbour, vault.join("new"))?);
        }
        expect_errno(EACCES, fs::rename(&file, other.join("new")))?;
        expect_errno(EACCES, fs::rename(&neighbour, vault.join("new")))?;
        expect_errno(EACCES, fs::rename(&neighbour, &file))?;
        let record = verdict(host, &[("hook", HOOK)])?;
        ensure!(record["errno"] == "EACCES" && record["plugin"] == "ruler", "{record}");
        Ok(fs::rename(&neighbour, other.join("new"))?)
    });
    Ok(scene.ending(move |summary| {
        if !guest.resolves(HOOK) {
            return unresolved_everywhere(summary, HOOK);
        }
        ensure!(count(summary, HOOK, "denied")? == 3, "{summary}");
        let (from, to) = again;
        Ok(fs::rename(from, to)?)
    }))
}

/// Before 6.12 nothing resolves the path of a name that is removed: a rule says what that means.
fn path_unresolved(guest: &mut Guest) -> anyhow::Result<()> {
    let unresolved = !guest.resolves("path_unlink");
    let (vault, file) = folder(guest, "vault")?;
    let (_, neighbour) = folder(guest, "other")?;
    let (lax, lax_file) = folder(guest, "lax")?;
    let rules =
        format!("strict {} 1 path_unlink\ndeny {} 13 path_unlink", file.display(), lax.display());
    let host = ruled(guest, &rules, "", &[])?;
    expect_errno(EPERM, fs::remove_file(&file))?;
    let record = verdict(&host, &[("hook", "path_unlink")])?;
    ensure!(record["errno"] == "EPERM", "{record}");
    let object = record["object"].as_str().unwrap_or_default();
    ensure!(!guest.resolves("file_open") || object.contains(&*vault.to_string_lossy()), "{record}");
    if unresolved {
        expect_errno(EPERM, fs::remove_file(&neighbour))?;
    } else {
        expect_errno(EACCES, fs::remove_file(&lax_file))?;
        fs::remove_file(&neighbour)?;
    }
    let summary = host.stop(Signal::INT)?;
    let errors = count(&summary, "path_unlink", "errors")?;
    ensure!((errors > 0) == unresolved, "{errors}");
    fs::remove_file(&file)?;
    Ok(())
}

/// Connects to an address that is cut off after its port.
fn short_connect() -> anyhow::Result<std::io::Result<()>> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    let address: [u16; 4] = [AF_INET, 4711_u16.to_be(), 0, 0];
    let place = std::ptr::from_ref(&address).cast::<libc::sockaddr>();
    // SAFETY: the address is as long as the call is told.
    let answer = unsafe { libc::connect(socket.as_raw_fd(), place, 8) };
    Ok(if answer == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) })
}

/// A rule on destinations of nobody's, so that connects are judged.
const NETWORK: (&str, &str) = ("sentry", "network 192.0.2.1/32:1 60000 13");

fn on_error_answers(guest: &mut Guest) -> anyhow::Result<()> {
    let config = guest.path("krsi.toml");
    fs::write(&config, "[rules.on-error]\nsocket_connect = \"deny EACCES\"")?;
    listen("127.0.0.1:4722")?;
    let host = guest.host_with(&[NETWORK], &["--config", &config.to_string_lossy()])?;
    expect_errno(EACCES, short_connect()?)?;
    let record = verdict(&host, &[("hook", "socket_connect"), ("verdict", "denied")])?;
    ensure!(record["errno"] == "EACCES" && record["plugin"] == "administrator", "{record}");
    ensure!(record["reason"] == "on-error of socket_connect", "{record}");
    TcpStream::connect("127.0.0.1:4722")?;
    let summary = host.stop(Signal::INT)?;
    ensure!(count(&summary, "socket_connect", "errors")? == 1, "{summary}");
    expect_errno(EINVAL, short_connect()?)
}

fn on_error_passes(guest: &mut Guest) -> anyhow::Result<()> {
    let host = guest.host_with(&[NETWORK], &[])?;
    expect_errno(EINVAL, short_connect()?)?;
    let summary = host.stop(Signal::INT)?;
    ensure!(count(&summary, "socket_connect", "errors")? == 1, "{summary}");
    ensure!(count(&summary, "socket_connect", "denied")? == 0, "{summary}");
    Ok(())
}

/// Each rule says what a call means whose destination cannot be read; the operator's word comes first.
fn rule_says_what_unread_means(guest: &mut Guest) -> anyhow::Result<()> {
    listen("127.0.0.1:4724")?;
    let nobodys = |more: &str| {
        format!(
            "network 192.0.2.1/32:1 1 socket_connect\n\
             network 192.0.2.2/32:1 13 socket_connect {more}"
        )
    };
    let on_error = |word: &str| format!("[rules.on-error]\nsocket_connect = {word:?}");
    let answers = |host: &Host, errno, decided: Option<(&str, &str)>| -> anyhow::Result<()> {
        expect_errno(errno, short_connect()?)?;
        TcpStream::connect("127.0.0.1:4724")?;
        let Some((plugin, verdict)) = decided else { return Ok(()) };
        let fields = [("hook", "socket_connect"), ("plugin", plugin), ("verdict", verdict)];
        self::verdict(host, &fields).map(drop)
    };
    let counts = |summary: &Value| -> anyhow::Result<[u64; 3]> {
        let count = |name| count(summary, "socket_connect", name);
        Ok([count("errors")?, count("denied")?, count("audited")?])
    };
    // What the rule says, the answer, who gave it. The rules of each version take the place of those before.
    let host = ruled(guest, &nobodys(""), "", &[])?;
    for (rule, errno, decided) in [
        ("", EINVAL, None),
        ("apply", EACCES, Some(("ruler", "denied"))),
        ("apply audit", EINVAL, Some(("ruler", "audited"))),
        ("apply off", EINVAL, None),
    ] {
        fs::write(guest.path("ruler.conf"), nobodys(rule))?;
        let reloaded = host.reload("ruler")?;
        answers(&host, errno, decided).with_context(|| format!("{rule:?}: {reloaded}"))?;
    }
    let summary = host.stop(Signal::INT)?;
    ensure!(counts(&summary)? == [4, 1, 1], "{summary}");
    // The administrator's word, beside the rule's.
    for (word, errno, decided, expected) in [
        ("audit EPERM", EACCES, ("ruler", "denied"), [1, 1, 0]),
        ("deny EPERM", EPERM, ("administrator", "denied"), [1, 1, 0]),
    ] {
        let host = ruled(guest, &nobodys("apply"), &on_error(word), &[])?;
        answers(&host, errno, Some(decided)).context(word)?;
        let summary = host.stop(Signal::INT)?;
        ensure!(counts(&summary)? == expected, "{word}: {summary}");
    }
    expect_errno(EINVAL, short_connect()?)
}

/// Reads a file by a shell of its own, without another executable.
fn read_by(shell: &Path, file: &Path, command: &str) -> anyhow::Result<ExitStatus> {
    let mut child = Command::new(shell);
    child.args(["sh", "-c", command, "sh"]).arg(file).stderr(Stdio::null());
    Ok(child.status()?)
}

/// Shell command that reads a file once.
const READ: &str = "read line < \"$1\"";

fn exempt_by_tgid(guest: &mut Guest) -> anyhow::Result<()> {
    let (vault, file) = folder(guest, "vault")?;
    let bound = guest.executable("busybox-bound")?;
    let config = format!("[rules]\nexempt-tgids = [{}]", std::process::id());
    let host = ruled(guest, &format!("deny {} 13 file_open", vault.display()), &config, &[])?;
    // From the first call on, although its start was known to a clock tick only.
    fs::read_to_string(&file)?;
    ensure!(!read_by(&bound, &file, READ)?.success(), "a child could read");
    let object = file.to_string_lossy().into_owned();
    let record = verdict(&host, &[("hook", "file_open"), ("object", &object)])?;
    ensure!(record["tgid"] != std::process::id(), "{record}");
    host.stop(Signal::INT).map(drop)
}

/// A plugin takes no more than its share of a map, and what a full one has no room for is refused: what is in
/// force stays.
fn map_full(guest: &mut Guest) -> anyhow::Result<()> {
    let folders: Vec<(PathBuf, PathBuf)> =
        ["a", "b", "c"].into_iter().map(|name| folder(guest, name)).collect::<Result<_, _>>()?;
    let rule = |(folder, _): &(PathBuf, PathBuf)| format!("deny {} 13 file_open", folder.display());
    let mut rules = folders.iter().map(rule).collect::<Vec<_>>();
    let to = |port: u16| format!("127.0.0.1:{port}");
    for port in 4761..=4762 {
        listen(&to(port))?;
        rules.push(format!("network 127.0.0.1/32:{port} 13 socket_connect"));
    }
    let config = "[rules.capacity]\npath = 3\nrules = 3";
    let host = ruled(guest, &rules.join("\n"), config, &[])?;
    let share = "2 keys of the PATH map are this plugin's already: others need the rest";
    for reason in [share, "the HITS map is full"] {
        host.report(&[("kind", "refusal"), ("plugin", "ruler"), ("reason", reason)])?;
    }
    let mut files = folders.iter().map(|(_, file)| file);
    for file in files.by_ref().take(2) {
        expect_errno(EACCES, File::open(file))?;
        verdict(&host, &[("hook", "file_open"), ("object", &file.to_string_lossy())])?;
    }
    fs::read_to_string(files.next().context("a third file")?)?;
    expect_errno(EACCES, TcpStream::connect(to(4761)))?;
    TcpStream::connect(to(4762))?;
    let summary = host.stop(Signal::INT)?;
    ensure!(summary["map_full"] == 1 && summary["rules"] == 3, "{summary}");
    Ok(())
}

/// A test that must be false, and one whether something could be read, in a watch of numbers only.
fn watch_without_texts(guest: &mut Guest) -> anyhow::Result<()> {
    let (secret, neighbour) = (guest.file("secret")?, guest.file("neighbour")?);
    let is_secret = evasion::is_file("file", &secret)?;
    let watch = |is: &str| format!("file_open: file.f_flags if {is_secret} && {is} deny EACCES");
    let others = watch("current_cred.uid != 4242 && present(file.f_flags)");
    let nobody = watch("!present(file.f_flags)");
    let arguments = [&others, &nobody].map(|text| ["--watch".to_owned(), text.clone()]);
    let host = guest.start(&arguments.concat())?;
    expect_errno(EACCES, File::open(&secret))?;
    fs::read_to_string(&neighbour)?;
    let read = |uid| Command::new("/bin/busybox").arg("cat").arg(&secret).uid(uid).output();
    ensure!(!read(4243)?.status.success(), "another user could read");
    ensure!(read(4242)?.status.success(), "the user could not read");
    let reason = format!("watch {others}");
    let record = verdict(&host, &[("hook", "file_open"), ("reason", &reason)])?;
    ensure!(record["errno"] == "EACCES" && record["plugin"] == "administrator", "{record}");
    let summary = host.stop(Signal::INT)?;
    ensure!(denied_in_all(&summary)? == 2, "{summary}");
    Ok(())
}

/// Who sends a signal by kill(2) is judged by his own credentials: `cred` is NULL, its neighbours are not.
fn watch_null_argument(guest: &mut Guest) -> anyhow::Result<()> {
    let own = std::process::id();
    let watch = |signal: Signal, is: &str| {
        let signal = signal.as_raw();
        format!("task_kill: p.tgid, sig if sig == {signal} && p.tgid == {own} && {is} deny EACCES")
    };
    // Nobody minds these two.
    let absent = watch(Signal::WINCH, "!present(cred.uid.val)");
    let present = watch(Signal::CONT, "present(cred.uid.val)");
    let arguments = [&absent, &present].map(|text| ["--watch".to_owned(), text.clone()]);
    let host = guest.start(&arguments.concat())?;
    let send = |signal| kill_process(getpid(), signal).map_err(std::io::Error::from);
    expect_errno(EACCES, send(Signal::WINCH))?;
    send(Signal::CONT)?;
    let record = verdict(&host, &[("hook", "task_kill")])?;
    ensure!(record["errno"] == "EACCES", "{record}");
    let summary = host.stop(Signal::INT)?;
    ensure!(denied_in_all(&summary)? == 1, "{summary}");
    Ok(send(Signal::WINCH)?)
}
