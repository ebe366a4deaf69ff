//! Plugins' files as they come: links, names, spellings, what is no file, and a kernel that gives no signs of them.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use minisign::KeyPair;
use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::Signal;

use super::{Boot, Test};
use crate::harness::{Guest, Host, wait_for};
use crate::reload::{census, count, put};
use crate::runtime::sign;

pub(crate) const TESTS: &[Test] = &[
    ("reload_files_as_they_come", Boot::Default, as_they_come),
    ("reload_files_without_signs", Boot::Default, without_signs),
    ("reload_files_refused_by_name", Boot::Default, refused_by_name),
];

/// A custom section: what runs is the same, the bytes are not.
const SECTION: &[u8] = b"\0\x02\x01x";

/// What lies in a folder and is no plugin, because it is no file.
fn no_files(folder: &Path) -> anyhow::Result<()> {
    mkfifoat(CWD, folder.join("fifo.wasm"), Mode::RUSR | Mode::WUSR)?;
    fs::create_dir(folder.join("folder.wasm"))?;
    Ok(symlink("/dev/zero", folder.join("zero.wasm"))?)
}

/// Gives a link another target at once.
fn swap(link: &Path, target: &str) -> anyhow::Result<()> {
    let new = link.with_file_name("..next");
    symlink(target, &new).context("the new link")?;
    fs::rename(new, link).context("the link in its place")
}

fn as_they_come(guest: &mut Guest) -> anyhow::Result<()> {
    let folder = guest.path("sub");
    for version in ["v1", "v2"] {
        fs::create_dir_all(folder.join(version))?;
    }
    no_files(&folder)?;
    put(&folder.join("v1/census.wasm"), &census("1.0.000", "TRAP-OFF")?)?;
    put(&folder.join("v2/census.wasm"), &census("1.0.001", "TRAP-OFF")?)?;
    symlink("v1", folder.join("..data"))?;
    symlink("..data/census.wasm", folder.join("census.wasm"))?;
    fs::write(folder.join("Census.toml"), "not read")?;
    let (audited, ruler) = (guest.file("audited")?, fs::read("/krsi/ruler.wasm")?);
    put(&guest.path("ruler.wasm"), &ruler)?;
    let rule = format!("deny {} 13 file_open", audited.display());
    fs::write(guest.path("ruler.conf"), &rule)?;
    put(&guest.path("beside.wasm"), &census("2.0.000", "TRAP-OFF")?)?;
    let pipe = guest.path("pipe");
    mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR)?;
    let into = pipe.clone();
    let words = "[plugin.ruler]\nmode = \"audit\"\n[plugin.cesnus]\nmemory-mib = 8\n";
    let writer = std::thread::spawn(move || fs::write(into, words));
    let spelt = "--plugin ./ruler.wasm --plugin-config ./ruler.conf --shadow ./beside.wasm --plugin-dir sub \
                 --plugin-dir ./sub/../sub/ --plugin-dir later --config pipe";
    let host = guest.start(&spelt.split(' ').map(str::to_owned).collect::<Vec<_>>())?;
    writer.join().map_err(|_| anyhow::anyhow!("the writer"))??;
    told_at_the_start(&host)?;
    File::open(&audited)?;

    // What was moved over a file that was named by a relative path.
    put(&guest.path("beside.wasm"), &census("2.0.001", "TRAP-OFF")?)?;
    host.note(&["census: shadow 2.0.001 runs without effect"])?;
    put(&guest.path("ruler.conf"), format!("{rule}\n").as_bytes())?;
    host.note(&["ruler 0.1.0 runs", "in place of 0.1.0"])?;
    put(&guest.path("ruler.wasm"), &[&ruler, SECTION].concat())?;
    wait_for("the second swap", || Ok((host.status("ruler")?["swaps"] == 2).then_some(())))?;
    // A link on the way leads elsewhere; a hard link appears.
    swap(&folder.join("..data"), "v2")?;
    host.note(&["census 1.0.001 runs", "in place of 1.0.000"])?;
    fs::hard_link(guest.path("ruler.wasm"), folder.join("again.wasm")).context("a link")?;
    host.note(&["again.wasm: its name \"ruler\" is taken by"])?;
    fs::remove_file(folder.join("fifo.wasm"))?;
    wait_for("the FIFO to be forgotten", || {
        let rejected = rejected(&host)?;
        let has = |name: &str| rejected.iter().any(|file| file.ends_with(name));
        Ok((!has("fifo.wasm") && has("again.wasm") && rejected.len() == 3).then_some(()))
    })?;
    comes_later(guest, &host)?;
    // Everything is read again, but for what came from a pipe: the rule is as harmless as before, and there.
    audits(&host, &audited)?;
    host.signal(Signal::HUP)?;
    wait_for("the reload", || Ok((host.status("ruler")?["swaps"] == 3).then_some(())))?;
    audits(&host, &audited)?;
    tells_numbers(guest, &host)?;
    outputs(guest, &host)?;
    fifo_instead(guest, &host)?;
    let ready = guest.path("ready");
    ensure!(ready.exists(), "no ready file");
    let summary = host.stop(Signal::TERM)?;
    ensure!(!ready.exists(), "a ready file of nobody");
    let rows = summary["plugins"].as_array().cloned().unwrap_or_default();
    let row = rows.iter().find(|row| row["plugin"] == "census");
    ensure!(row.is_some_and(|row| row["metrics"]["reports"] == 1.0), "{summary}");
    Ok(())
}

/// A folder and a FIFO that come later.
fn comes_later(guest: &Guest, host: &Host) -> anyhow::Result<()> {
    fs::create_dir(guest.path("later"))?;
    fs::hard_link(guest.path("ruler.wasm"), guest.path("later/again.wasm")).context("a link")?;
    host.note(&["later/again.wasm: its name \"ruler\" is taken by"])?;
    mkfifoat(CWD, guest.path("sub/late.wasm"), Mode::RUSR)?;
    host.note(&["late.wasm: cannot be read: a FIFO lies there"]).map(drop)
}

/// A FIFO in the place of the file of a plugin that runs.
fn fifo_instead(guest: &Guest, host: &Host) -> anyhow::Result<()> {
    let fifo = guest.path("fifo");
    mkfifoat(CWD, &fifo, Mode::RUSR)?;
    fs::rename(&fifo, guest.path("ruler.wasm"))?;
    host.note(&["ruler.wasm: cannot be read: a FIFO lies there"])?;
    let status = host.status("ruler")?;
    ensure!(status["state"] == "running" && status["swaps"] == 5, "{status}");
    Ok(())
}

/// What lies in the folder and what was named by mistake is told, and stops nothing.
fn told_at_the_start(host: &Host) -> anyhow::Result<()> {
    host.note(&["fifo.wasm: cannot be read: a FIFO lies there"])?;
    host.note(&["folder.wasm: cannot be read: a folder lies there"])?;
    host.note(&["zero.wasm: cannot be read: a device lies there"])?;
    host.note(&["[plugin.cesnus] is unused", "is \"census\" meant?"])?;
    host.note(&["census 1.0.000 runs", "without a configuration", "Census.toml is not read"])?;
    host.note(&["ruler 0.1.0 runs", "configured by", "ruler.conf"])?;
    host.note(&["--plugin-dir", "later: No such file", "will run"])?;
    host.note(&["census: shadow 2.0.000 runs without effect"])?;
    ensure!(rejected(host)?.len() == 3, "{:?}", rejected(host));
    Ok(())
}

/// Files that do not run, by the status.
fn rejected(host: &Host) -> anyhow::Result<Vec<String>> {
    let (done, text) = host.ask(&["status", "--json"])?;
    ensure!(done, "{text}");
    let status: serde_json::Value = serde_json::from_str(&text)?;
    let rows = status["rejected"].as_array().cloned().unwrap_or_default();
    Ok(rows.iter().map(|row| row["file"].as_str().unwrap_or_default().to_owned()).collect())
}

/// That the rule on a file is there, and only reports.
fn audits(host: &Host, audited: &Path) -> anyhow::Result<()> {
    let object = audited.display().to_string();
    let told = || -> anyhow::Result<usize> {
        let is_told = |report: &serde_json::Value| {
            report["verdict"] == "audited" && report["object"] == *object
        };
        Ok(host.reports()?.iter().filter(|report| is_told(report)).count())
    };
    let before = told()?;
    wait_for("an audited open", || {
        File::open(audited)?;
        Ok((told()? > before).then_some(()))
    })
}

/// What a plugin measures is told by the status.
fn tells_numbers(guest: &Guest, host: &Host) -> anyhow::Result<()> {
    drop(File::create(guest.path("seq-1")));
    let opens = count(guest, host)?.number("opens")?;
    let metrics = host.status("census")?["metrics"].clone();
    ensure!(metrics["reports"] == 1.0 && metrics["opens"] == opens as f64, "{metrics}");
    let (done, text) = host.ask(&["status"])?;
    ensure!(done && text.contains("metrics opens") && text.contains("not run: "), "{text}");
    Ok(())
}

/// An output that is closed ends nothing; one that takes nothing is told.
fn outputs(guest: &Guest, host: &Host) -> anyhow::Result<()> {
    let control = guest.path("control.sock");
    for verb in [&["status"][..], &["status", "--json"], &["reload", "ruler"]] {
        let ask = |out: Stdio| {
            let mut command = Command::new("/krsi/krsi-host");
            command.args(verb).arg("--control").arg(&control).stdin(Stdio::null());
            command.stdout(out).stderr(Stdio::piped()).output()
        };
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let closed = ask(writer.into())?;
        ensure!(closed.status.success() && closed.stderr.is_empty(), "{verb:?}: {closed:?}");
        let full = ask(OpenOptions::new().write(true).open("/dev/full")?.into())?;
        let said = String::from_utf8_lossy(&full.stderr);
        ensure!(full.status.code() == Some(1), "{verb:?}: {full:?}");
        ensure!(said.contains("standard output cannot be written to"), "{verb:?}: {said}");
    }
    ensure!(host.status("ruler")?["swaps"] == 5, "{}", host.status("ruler")?);
    Ok(())
}

/// Does something while there is none of what a limit of inotify counts.
fn limited<T>(limit: &str, act: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let path = Path::new("/proc/sys/fs/inotify").join(limit);
    let before = fs::read_to_string(&path)?;
    fs::write(&path, "0")?;
    let result = act();
    fs::write(&path, before.trim())?;
    result
}

/// Without inotify, what changes is taken up all the same, if later; and a module whose signature comes last runs once
/// both are there.
fn without_signs(guest: &mut Guest) -> anyhow::Result<()> {
    let (key, public) = (KeyPair::generate_unencrypted_keypair()?, guest.path("key.pub"));
    fs::write(&public, key.pk.to_box()?.into_string())?;
    let folder = guest.path("sub");
    fs::create_dir(&folder)?;
    let arguments = ["--plugin-dir", "sub", "--require-signed", "key.pub"].map(str::to_owned);
    let doctor = || Ok(Command::new("/krsi/krsi-host").arg("doctor").output()?);
    let said = limited("max_user_instances", doctor)?.stdout;
    let said = String::from_utf8_lossy(&said);
    ensure!(said.contains("the kernel does not tell of files that change"), "{said}");
    let host = limited("max_user_instances", || guest.start(&arguments))?;
    host.note(&["the kernel does not tell of files that change", "no inotify instance is left"])?;
    put(&folder.join("census.wasm"), &census("1.0.000", "TRAP-OFF")?)?;
    host.note(&["census.wasm: not signed", "it runs once its signature lies beside it"])?;
    sign(&key, &folder.join("census.wasm"))?;
    host.note(&["census 1.0.000 runs", "signed by"])?;
    ensure!(rejected(&host)?.is_empty(), "{:?}", rejected(&host));
    // By signal and by verb at once.
    host.signal(Signal::HUP)?;
    host.note(&["census 1.0.000 runs", "in place of 1.0.000"])?;
    let (done, text) = host.ask(&["reload", "census"])?;
    ensure!(done && text.contains("took over from 1.0.000"), "{text}");
    // Removed and made again within a moment: never without it.
    let swaps = host.status("census")?["swaps"].as_u64();
    for name in ["census.wasm", "census.wasm.minisig"] {
        let path = folder.join(name);
        let bytes = fs::read(&path)?;
        fs::remove_file(&path)?;
        fs::write(&path, bytes)?;
    }
    std::thread::sleep(std::time::Duration::from_secs(4));
    let status = host.status("census")?;
    ensure!(status["swaps"].as_u64() == swaps && status["state"] == "running", "{status}");
    host.stop(Signal::TERM).map(drop)
}

/// What was named by mistake is refused with its name, and stays as it was.
fn refused_by_name(guest: &mut Guest) -> anyhow::Result<()> {
    let folder = guest.path("sub");
    fs::create_dir(&folder)?;
    no_files(&folder)?;
    let precious = guest.path("precious");
    fs::write(&precious, "precious")?;
    let (path, plugin) = (precious.display().to_string(), "/krsi/ruler.wasm");
    let open = guest.path("open");
    fs::create_dir(&open)?;
    fs::set_permissions(&open, Permissions::from_mode(0o777))?;
    put(&open.join("census.wasm"), &census("1.0.000", "TRAP-OFF")?)?;
    fs::write(open.join("host.toml"), "")?;
    let cases: [(&[&str], i32, &str); 10] = [
        (
            &["--plugin", plugin, "--config", "open/host.toml"],
            2,
            "open: everybody may write there, as its mode is 0777",
        ),
        (
            &["--plugin", "open/census.wasm"],
            2,
            "open: everybody may write there, as its mode is 0777",
        ),
        (&["--plugin", "sub/fifo.wasm"], 4, "fifo.wasm: cannot be read: a FIFO lies there"),
        (&["--plugin", "sub/folder.wasm"], 4, "folder.wasm: cannot be read: a folder lies there"),
        (&["--plugin", "sub/zero.wasm"], 4, "zero.wasm: cannot be read: a device lies there"),
        (&["--plugin-dir", &path], 2, "precious: not a folder"),
        (
            &["--plugin", plugin, "--control", &path],
            2,
            "precious: is there already and is not a socket",
        ),
        (&["--plugin", plugin, "--ready-file", &path], 2, "precious: is already there"),
        (&["--plugin", plugin, "--config", "/dev/zero"], 2, "/dev/zero: longer than"),
        (
            &["--plugin", plugin, "--plugin-config", &path, "--plugin-config", "b.toml"],
            2,
            "b.toml: there are fewer --plugin",
        ),
    ];
    for (arguments, code, words) in cases {
        let mut command = Command::new("/krsi/krsi-host");
        command.args(arguments).current_dir(guest.path(""));
        let refused = guest.refused(&mut command)?;
        ensure!(refused.code == Some(code), "{arguments:?}: {refused:?}");
        ensure!(refused.stderr.contains(words), "{arguments:?}: {}", refused.stderr);
    }
    ensure!(fs::read(&precious)? == b"precious", "it is not what it was");
    others_may_change(guest)
}

/// In a folder it is told and stops nothing; where the operator says so, it runs.
fn others_may_change(guest: &Guest) -> anyhow::Result<()> {
    let host =
        limited("max_user_watches", || guest.start(&["--plugin-dir", "open"].map(str::to_owned)))?;
    host.note(&["the kernel does not tell of files that change", "no inotify watch is left"])?;
    host.note(&["open/census.wasm: others may change", "--allow-writable"])?;
    ensure!(rejected(&host)?.len() == 1, "{:?}", rejected(&host));
    host.stop(Signal::TERM)?;
    let words = ["--plugin-dir", "open", "--config", "open/host.toml", "--allow-writable"];
    let host = limited("max_user_watches", || guest.start(&words.map(str::to_owned)))?;
    host.note(&["open/census.wasm: others may change", "allowed by"])?;
    host.note(&["open/host.toml: others may change", "allowed by"])?;
    host.note(&["census 1.0.000 runs"])?;
    host.signal(Signal::HUP)?;
    host.note(&["census 1.0.000 runs", "in place of 1.0.000"])?;
    host.stop(Signal::TERM).map(drop)
}
