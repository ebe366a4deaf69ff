//! Labels: what the kernel remembers of a process decides its next step, while the host stands still.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::Signal;

use super::{Boot, Test};
use crate::harness::{Guest, Host, expect_errno, wait_for};
use crate::rule::{count, verdict};

pub(crate) const TESTS: &[Test] = &[
    ("label_of_a_reader_decides_what_it_does_next", Boot::Each, reader),
    ("label_of_an_executable_opens_what_is_closed", Boot::Each, executable),
    ("label_by_hand_and_without_room", Boot::Each, by_hand),
    ("label_of_a_memfd_may_not_connect", Boot::Each, memfd),
];

const EACCES: i32 = 13;
/// A port that nobody else of this boot listens at.
const PORT: u16 = 7041;

/// Starts krsi-host with the labeller. It is granted rules however broad: it has some on whole hooks.
fn labelled(guest: &Guest, lines: &[String], config: &str) -> anyhow::Result<Host> {
    let path = guest.path("krsi.toml");
    fs::write(&path, format!("{config}\n[plugin.labeller]\nbroad = true\n"))?;
    let path = path.display().to_string();
    guest.host_with(&[("labeller", &lines.join("\n"))], &["--config", &path])
}

/// Opens a file until a rule on it is in force: the labeller learns from the event which file it is.
fn teach(host: &Host, file: &Path) -> anyhow::Result<()> {
    drop(File::open(file)?);
    let text = format!("a rule on {}", file.display());
    host.report(&[("kind", "alert"), ("text", &text)])?;
    Ok(())
}

/// A file with a line in it, which a shell can read.
fn file(guest: &Guest, name: &str) -> anyhow::Result<PathBuf> {
    let path = guest.path(name);
    fs::write(&path, "content\n")?;
    Ok(path)
}

/// Runs a script in a fresh shell.
fn script(script: &str) -> anyhow::Result<ExitStatus> {
    let mut shell = Command::new("/bin/busybox");
    Ok(shell.args(["sh", "-c", script]).stdout(Stdio::null()).stderr(Stdio::null()).status()?)
}

/// A copy of busybox, which is an executable of its own, under the name of an applet.
fn applet(guest: &Guest, name: &str) -> anyhow::Result<PathBuf> {
    let folder = guest.path("own");
    fs::create_dir_all(&folder)?;
    let path = folder.join(name);
    fs::copy("/bin/busybox", &path)?;
    Ok(path)
}

fn reader(guest: &mut Guest) -> anyhow::Result<()> {
    let (secret, target) = (file(guest, "secret")?, file(guest, "target")?);
    let listener = TcpListener::bind(("127.0.0.1", PORT))?;
    let lines = [
        format!("label keep file_open {}", secret.display()),
        format!("deny 13 file_open {} if keep", target.display()),
        format!("deny 111 socket_connect port {PORT} if keep"),
    ];
    let host = labelled(guest, &lines, "")?;
    teach(&host, &target)?;
    // Whoever teaches has read the secret before its rule is there: it has no label.
    teach(&host, &secret)?;
    let (secret, target) = (secret.display(), target.display());
    host.signal(Signal::STOP)?;
    let tries = [
        ("the reader itself", format!("read a < {secret}; read b < {target}"), false),
        ("a later child", format!("read a < {secret}; (read b < {target})"), false),
        ("after an exec", format!("read a < {secret}; exec cat {target}"), false),
        ("who opens the other first", format!("read b < {target}; read a < {secret}"), true),
        ("a neighbour", format!("read b < {target}"), true),
        ("a parent of the reader", format!("(read a < {secret}); read b < {target}"), true),
    ];
    for (who, text, passes) in tries {
        ensure!(script(&text)?.success() == passes, "{who}: {text}");
    }
    for _ in 0..30 {
        ensure!(!script(&format!("read a < {secret}; read b < {target}"))?.success(), "passed");
    }
    let connects = format!("nc 127.0.0.1 {PORT} < /dev/null");
    ensure!(!script(&format!("read a < {secret}; {connects}"))?.success(), "it connected");
    drop(TcpStream::connect(("127.0.0.1", PORT)).context("a neighbour's connection")?);
    host.signal(Signal::CONT)?;
    let record = verdict(&host, &[("hook", "file_open"), ("object", &target.to_string())])?;
    ensure!(record["errno"] == "EACCES" && record["plugin"] == "labeller", "{record}");
    let record = verdict(&host, &[("hook", "socket_connect")])?;
    ensure!(record["errno"] == "ECONNREFUSED" && record["plugin"] == "labeller", "{record}");
    let labels = labels(&host)?;
    ensure!(labels.contains(&("labeller.keep".into(), 0)), "{labels:?}");
    let summary = host.stop(Signal::INT)?;
    ensure!(count(&summary, "file_open", "denied")? == 33, "{summary}");
    drop(listener);
    ensure!(script(&format!("read a < {secret}; read b < {target}"))?.success(), "it stayed");
    Ok(())
}

/// Labels by name, each with how many processes have it.
fn labels(host: &Host) -> anyhow::Result<Vec<(String, u64)>> {
    let status = host.whole_status()?;
    let rows = status["labels"].as_array().context("labels")?;
    let row = |row: &serde_json::Value| {
        Some((row["label"].as_str()?.to_owned(), row["processes"].as_u64()?))
    };
    rows.iter().map(|each| row(each).with_context(|| each.to_string())).collect()
}

/// A shell that waits for a line before it goes on.
pub(crate) fn waiting(shell: &Path, script: &str) -> anyhow::Result<Child> {
    let mut command = Command::new(shell);
    // The applet is told by the name.
    command.arg0("sh").args(["-c", &format!("read go && {script}")]);
    Ok(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
}

/// Lets it go on.
pub(crate) fn go(mut child: Child) -> anyhow::Result<ExitStatus> {
    child.stdin.take().context("its input")?.write_all(b"go\n")?;
    Ok(child.wait()?)
}

fn executable(guest: &mut Guest) -> anyhow::Result<()> {
    let key = file(guest, "key")?;
    let (cat, shell) = (applet(guest, "cat")?, applet(guest, "sh")?);
    let lame = guest.path("own/lame");
    fs::write(&lame, "#!/nowhere/at/all\n")?;
    fs::set_permissions(&lame, fs::Permissions::from_mode(0o755))?;
    let before = waiting(&shell, &format!("read a < {}", key.display()))?;
    let other = waiting(Path::new("/bin/busybox"), &format!("read a < {}", key.display()))?;
    let mut lines: Vec<String> = [&cat, &shell, &lame]
        .iter()
        .map(|file| format!("label drop bprm_check_security {}", file.display()))
        .collect();
    lines.push(format!("deny 13 file_open {} unless drop", key.display()));
    let host = labelled(guest, &lines, "")?;
    [&cat, &shell, &lame, &key].into_iter().try_for_each(|file| teach(&host, file))?;
    host.signal(Signal::STOP)?;
    let run = |program: &Path, script: &str| -> anyhow::Result<bool> {
        let mut command = Command::new(program);
        command.arg0("sh").args(["-c", script]).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command.status()?.success())
    };
    let key = key.display();
    ensure!(run(&shell, &format!("read a < {key}"))?, "the executable could not open it");
    ensure!(run(&shell, &format!("(read a < {key})"))?, "a child of its could not open it");
    ensure!(!run(&shell, &format!("exec /bin/busybox cat {key}"))?, "another one has its label");
    let through = format!("exec {} {key}", cat.display());
    ensure!(run(Path::new("/bin/busybox"), &through)?, "what it executes is not labelled");
    ensure!(go(before)?.success(), "what ran before the host could not open it");
    ensure!(!go(other)?.success(), "somebody else who ran before could");
    // An exec that fails gives nothing: neither now nor with the next one.
    ensure!(Command::new(&lame).exec().raw_os_error() == Some(2), "the interpreter is there");
    expect_errno(EACCES, File::open(guest.path("key")))?;
    ensure!(!run(Path::new("/bin/busybox"), &format!("read a < {key}"))?, "a child has the label");
    let again = format!("{}; exec /bin/busybox cat {key}", lame.display());
    ensure!(!run(Path::new("/bin/busybox"), &again)?, "it came with the next exec");
    host.signal(Signal::CONT)?;
    let record = verdict(&host, &[("hook", "file_open"), ("object", &key.to_string())])?;
    ensure!(record["errno"] == "EACCES" && record["plugin"] == "labeller", "{record}");
    host.stop(Signal::INT)?;
    drop(File::open(guest.path("key"))?);
    Ok(())
}

/// The administrator sees who has a label, and takes it from a process, which then may what its twin may not.
fn cleared(host: &Host, give: &Path, target: &Path) -> anyhow::Result<()> {
    let (give, target) = (give.display(), target.display());
    let reader = format!("read a < {give}; read go; read b < {target}");
    let busybox = Path::new("/bin/busybox");
    let mut shells = [waiting(busybox, &reader)?, waiting(busybox, &reader)?];
    for shell in &mut shells {
        shell.stdin.as_mut().context("its input")?.write_all(b"go\n")?;
    }
    wait_for("both labels", || {
        Ok(labels(host)?.contains(&("labeller.keep".into(), 2)).then_some(()))
    })?;
    let [first, twin] = shells.each_ref().map(|shell| shell.id().to_string());
    let (done, list) = host.ask(&["label", "list"])?;
    let has = |pid: &str| list.lines().any(|row| row.trim() == format!("{pid}  labeller.keep"));
    ensure!(done && has(&first) && has(&twin), "{list}");
    let (done, said) = host.ask(&["label", "clear", &first])?;
    ensure!(done && said.contains("labeller.keep"), "{said}");
    host.note(&[&format!("process {first}: the administrator took the labels labeller.keep")])?;
    let (done, said) = host.ask(&["label", "clear", &first])?;
    ensure!(!done && said.contains("has no label"), "{said}");
    for (mut shell, passes) in shells.into_iter().zip([true, false]) {
        shell.stdin.take().context("its input")?.write_all(b"go\n")?;
        ensure!(shell.wait()?.success() == passes, "not {passes}");
    }
    wait_for("their end", || Ok(labels(host)?.contains(&("labeller.keep".into(), 0)).then_some(())))
}

fn by_hand(guest: &mut Guest) -> anyhow::Result<()> {
    let (target, few) = (file(guest, "target")?, file(guest, "few")?);
    let (give, take) = (file(guest, "label-me")?, file(guest, "unlabel-me")?);
    let lines = [
        format!("deny 13 file_open {} if keep", target.display()),
        format!("label few file_open {}", few.display()),
    ];
    let config = "[rules.capacity]\nlabels = 2\n";
    let host = labelled(guest, &lines, config)?;
    teach(&host, &target)?;
    teach(&host, &few)?;
    cleared(&host, &give, &target)?;
    let says = |text: &str| host.report(&[("kind", "alert"), ("text", text)]);
    let (target, few) = (target.display(), few.display());
    let mut shell = waiting(
        Path::new("/bin/busybox"),
        &format!(
            "read a < {}; read go; if read b < {target}; then exit 1; fi; read c < {}; read go; read b < {target}",
            give.display(),
            take.display()
        ),
    )?;
    let mut input = shell.stdin.take().context("its input")?;
    input.write_all(b"go\n")?;
    says("labelled")?;
    wait_for("the label", || {
        Ok(labels(&host)?.contains(&("labeller.keep".into(), 1)).then_some(()))
    })?;
    input.write_all(b"go\n")?;
    says("no label")?;
    wait_for("its end", || {
        Ok(labels(&host)?.contains(&("labeller.keep".into(), 0)).then_some(()))
    })?;
    // The shell has one of the two places, this one takes the other, and a third finds none.
    let holder = waiting(Path::new("/bin/busybox"), "true")?;
    let mut second = Command::new("/bin/busybox");
    second.args(["sh", "-c", &format!("read a < {few} && read go")]).stdin(Stdio::piped());
    let mut second = second.stderr(Stdio::null()).spawn()?;
    wait_for("the second place", || {
        Ok(labels(&host)?.contains(&("labeller.few".into(), 1)).then_some(()))
    })?;
    ensure!(!script(&format!("read a < {few}"))?.success(), "there was room for a third");
    let record = verdict(&host, &[("hook", "file_open"), ("errno", "EAGAIN")])?;
    ensure!(record["verdict"] == "denied", "{record}");
    input.write_all(b"go\n")?;
    ensure!(shell.wait()?.success(), "it had the label, or has it still");
    drop(second.stdin.take());
    second.wait()?;
    ensure!(go(holder)?.success());
    ensure!(script(&format!("read a < {few}"))?.success(), "room was not given back");
    let summary = host.stop(Signal::INT)?;
    ensure!(count(&summary, "file_open", "denied")? >= 2, "{summary}");
    Ok(())
}

/// A plugin is told which of its labels a caller had, and which the call gave.
fn told(host: &Host, guest: &Guest, secret: &str) -> anyhow::Result<()> {
    let tell = file(guest, "tell-labels")?;
    let says = |text: &str| host.report(&[("kind", "alert"), ("text", text)]);
    let tell = tell.display();
    ensure!(script(&format!("read b < {tell}"))?.success());
    says("had false, gave false")?;
    ensure!(script(&format!("read a < {secret}; read b < {tell}; read c < {secret}"))?.success());
    says("had true, gave false")?;
    says(&format!("{secret}: had false"))?;
    let reports = host.reports()?;
    let again = reports.iter().any(|report| report["text"] == format!("{secret}: had true"));
    ensure!(!again, "a label that it had was given: {reports:#?}");
    Ok(())
}

/// The administrator sees who has his label.
fn listed(host: &Host, image: &Path) -> anyhow::Result<()> {
    let waits = waiting(image, "true")?;
    let list = wait_for("the label", || {
        let (done, list) = host.ask(&["label", "list"])?;
        Ok((done && list.contains("host.memfd")).then_some(list))
    })?;
    ensure!(list.lines().any(|row| row.trim() == format!("{}  host.memfd", waits.id())), "{list}");
    ensure!(labels(host)?.contains(&("host.memfd".into(), 1)), "{:?}", labels(host)?);
    ensure!(go(waits)?.success());
    Ok(())
}

/// Watches of the fifth example of docs/labels.md, and one on a label of a plugin's.
fn watches() -> [String; 4] {
    [
        "bprm_check_security if bprm.file.f_path.dentry.d_name.name == \"busybox-runtime\" \
         label host.runtime"
            .to_owned(),
        "bprm_check_security: bprm.filename if bprm.file.f_inode.i_nlink == 0 \
         && !label(\"host.runtime\") label memfd"
            .to_owned(),
        "socket_connect: address if label(\"host.memfd\") && family(address) in [2, 10] deny EACCES"
            .to_owned(),
        format!(
            "socket_connect: address if label(\"labeller.keep\") && port(address) == {PORT} \
             deny ECONNREFUSED"
        ),
    ]
}

/// A host with the watches, and the labeller in a folder from which it can be taken away.
fn watching(guest: &Guest, secret: &Path) -> anyhow::Result<(Host, PathBuf)> {
    let folder = guest.path("plugins");
    fs::create_dir_all(&folder)?;
    let plugin = folder.join("labeller.wasm");
    fs::copy("/krsi/labeller.wasm", &plugin)?;
    fs::write(folder.join("labeller.toml"), format!("label keep file_open {}", secret.display()))?;
    let config = guest.path("krsi.toml");
    fs::write(
        &config,
        "[labels.memfd]\nexec = \"keep\"\nfull = \"refuse\"\n\
         [labels.runtime]\nexec = \"drop\"\nfull = \"count\"\n",
    )?;
    let (folder, config) = (folder.display().to_string(), config.display().to_string());
    let words = ["--plugin-dir", &folder, "--config", &config, "--witness"].map(str::to_owned);
    let watches = watches().into_iter().flat_map(|watch| ["--watch".to_owned(), watch]);
    Ok((guest.start(&words.into_iter().chain(watches).collect::<Vec<_>>())?, plugin))
}

/// What ends the listener.
const END: &str = "end";

/// Closes each connection, which whoever connects waits for, until it is told to end.
fn server() -> anyhow::Result<JoinHandle<bool>> {
    let listener = TcpListener::bind(("127.0.0.1", PORT))?;
    Ok(std::thread::spawn(move || {
        let mut closed = listener.incoming().flatten().map(|mut stream| {
            let mut sent = String::new();
            let _set = stream.set_read_timeout(Some(Duration::from_secs(1)));
            stream.read_to_string(&mut sent).is_ok_and(|_| sent == END)
        });
        closed.any(|is_end| is_end)
    }))
}

/// Scripts, who runs them by which program, and whether they may connect.
fn tried(tries: &[(&str, &Path, String, bool)]) -> anyhow::Result<()> {
    for (who, program, script, passes) in tries {
        let mut shell = Command::new(program);
        shell.arg0("sh").args(["-c", script]).stdout(Stdio::null()).stderr(Stdio::null());
        ensure!(shell.status()?.success() == *passes, "{who}: {script}");
    }
    Ok(())
}

fn memfd(guest: &mut Guest) -> anyhow::Result<()> {
    let mut command = Command::new("/krsi/krsi-host");
    let refused =
        guest.refused(command.args(["--watch", "file_open if label('nobody.x') deny 1"]))?;
    let words = "no plugin nobody that declares the label x runs";
    ensure!(refused.code == Some(2) && refused.stderr.contains(words), "{refused:?}");
    let secret = file(guest, "secret")?;
    let server = server()?;
    let memory = memfd_create("kworker", MemfdFlags::empty())?;
    let image = format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd());
    fs::copy("/bin/busybox", &image)?;
    let script_memory = memfd_create("script", MemfdFlags::empty())?;
    let text = format!("/proc/{}/fd/{}", std::process::id(), script_memory.as_raw_fd());
    fs::write(&text, format!("#!/bin/busybox sh\nnc 127.0.0.1 {PORT} < /dev/null\n"))?;
    let runtime = guest.executable("busybox-runtime")?;
    let (host, plugin) = watching(guest, &secret)?;
    teach(&host, &secret)?;
    host.signal(Signal::STOP)?;
    let busybox = Path::new("/bin/busybox");
    let connects = format!("nc 127.0.0.1 {PORT} < /dev/null");
    let (secret, image) = (secret.display(), Path::new(&image));
    let tries = [
        ("what came from memory", image, connects.clone(), false),
        ("a child of it", image, format!("({connects}); exit $?"), false),
        ("what it executes", image, format!("exec /bin/busybox {connects}"), false),
        ("a script in memory", busybox, format!("exec {text}"), false),
        ("whoever starts it", busybox, format!("{text}; {connects}"), true),
        ("what a runtime starts from memory", &runtime, format!("exec {text}"), true),
        ("what a runtime starts", &runtime, connects.clone(), true),
        ("a neighbour", busybox, connects.clone(), true),
        (
            "a reader, by the plugin's label",
            busybox,
            format!("read a < {secret}; {connects}"),
            false,
        ),
    ];
    tried(&tries)?;
    // An exec that fails labels nobody, now or with the next one.
    let lame_memory = memfd_create("lame", MemfdFlags::empty())?;
    let lame = format!("/proc/{}/fd/{}", std::process::id(), lame_memory.as_raw_fd());
    fs::write(&lame, "#!/nowhere/at/all\n")?;
    ensure!(script(&format!("{lame}; exec /bin/busybox {connects}"))?.success(), "{lame}");
    host.signal(Signal::CONT)?;
    for (errno, label) in [("EACCES", "host.memfd"), ("ECONNREFUSED", "labeller.keep")] {
        let record = verdict(&host, &[("hook", "socket_connect"), ("errno", errno)])?;
        ensure!(record["plugin"] == "administrator" && record["labels"][0] == label, "{record}");
    }
    let record = host.report(&[("kind", "watch"), ("hook", "bprm_check_security")])?;
    ensure!(record["gave_labels"][0] == "host.memfd", "{record}");
    ensure!(record["labels"].as_array().is_some_and(Vec::is_empty), "{record}");
    told(&host, guest, &secret.to_string())?;
    listed(&host, image)?;
    // Without the plugin nobody is taken for one who lacks its label.
    fs::remove_file(plugin)?;
    host.note(&["left out: no plugin labeller that declares the label keep runs"])?;
    ensure!(script(&format!("read a < {secret}; {connects}"))?.success(), "it is still watched");
    ensure!(!script(&text)?.success(), "the other watches have gone with it");
    host.stop(Signal::INT)?;
    TcpStream::connect(("127.0.0.1", PORT))?.write_all(END.as_bytes())?;
    ensure!(server.join().is_ok_and(|ended| ended), "the listener");
    Ok(())
}
