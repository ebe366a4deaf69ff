//! The guest side: a test's folder, its krsi-host and its children, and what to expect of them.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::Boot;

/// Emulated guests are slow; nothing here should take a tenth of this, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Kernels without global functions verify each program as a whole.
const START_PATIENCE: Duration = Duration::from_secs(900);

/// Where a host looks for compiled plugins unless told: emulated, it needs seconds to compile one.
pub(crate) const CODE: &str = "/var/cache/krsi-host";

/// A test's folder in the guest.
pub(crate) struct Guest {
    folder: PathBuf,
    boot: Boot,
}

/// The sentry's section of a configuration: the hooks that its rules need.
fn sentry_grants(rules: &str) -> anyhow::Result<String> {
    let (mut seen, mut denied) = (vec!["sched_process_fork", "sched_process_exit"], Vec::new());
    for rule in rules.lines() {
        let verb = rule.split_whitespace().next().unwrap_or_default();
        let (sees, denies) = match verb {
            "open" | "audit" => (Some("file_open"), Some("file_open")),
            "exec" => (Some("bprm_committed_creds"), Some("bprm_check_security")),
            "process" | "lineage" => (Some("bprm_committed_creds"), Some("socket_connect")),
            "forebear" | "clan" => (Some("bprm_committed_creds"), Some("file_open")),
            "network" => (None, Some("socket_connect")),
            "kill" => (Some("bprm_committed_creds"), None),
            _ => bail!("{verb:?} is no verb of the sentry"),
        };
        seen.extend(sees);
        denied.extend(denies);
    }
    let section = "[plugin.sentry]";
    Ok(format!("{section}\nbroad = true\nhooks = {seen:?}\ndeny-hooks = {denied:?}\n"))
}

/// How krsi-host ended without getting ready.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) code: Option<i32>,
    pub(crate) stderr: String,
}

impl Guest {
    /// A folder of its own below /tmp, which is made.
    pub(crate) fn named(name: &str, boot: Boot) -> anyhow::Result<Self> {
        let folder = PathBuf::from("/tmp").join(name);
        fs::create_dir_all(&folder).context("its folder")?;
        Ok(Self { folder, boot })
    }

    /// Removes its folder: what a test filled must not starve the next one.
    pub(crate) fn clear(&self) {
        let _removed = fs::remove_dir_all(&self.folder);
    }

    /// A path in the test's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A folder in the test's own, for a second krsi-host.
    pub(crate) fn beside(&self, name: &str) -> anyhow::Result<Guest> {
        let folder = self.path(name);
        fs::create_dir_all(&folder)?;
        Ok(Guest { folder, boot: self.boot })
    }

    /// Boot of this guest.
    pub(crate) fn boot(&self) -> Boot {
        self.boot
    }

    /// Whether the kernel resolves the path of a hook's object for the backend that enforces here: opens
    /// alone for functions, and in 5.10 for them alone; names that are made or removed from 6.12 on.
    pub(crate) fn resolves(&self, hook: &str) -> bool {
        let kernel = kernel();
        match (hook, self.boot) {
            ("file_open", Boot::WithoutBpf) => true,
            (_, Boot::WithoutBpf) => false,
            ("file_open" | "bprm_check_security", _) => kernel != "5.10",
            _ => !matches!(&*kernel, "5.10" | "6.1"),
        }
    }

    /// A file with some content.
    pub(crate) fn file(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, name)?;
        Ok(path)
    }

    /// An executable of its own inode: a shell with applets, as its name starts with busybox.
    pub(crate) fn executable(&self, name: &str) -> anyhow::Result<PathBuf> {
        ensure!(name.starts_with("busybox"), "{name} would not run applets");
        let path = self.path(name);
        fs::copy("/bin/busybox", &path)?;
        Ok(path)
    }

    /// A cache of the test's own with what was compiled before the boot.
    pub(crate) fn copied_code(&self) -> anyhow::Result<PathBuf> {
        let cache = self.path("cache");
        fs::DirBuilder::new().mode(0o700).create(&cache)?;
        for entry in fs::read_dir(CODE)? {
            let entry = entry?;
            fs::copy(entry.path(), cache.join(entry.file_name()))?;
        }
        Ok(cache)
    }

    /// Starts krsi-host with one plugin and waits until it is ready. The operator grants the sentry the hooks of
    /// its rules and no more: others are not attached, and the verifier's time is most of a start.
    pub(crate) fn host(&self, plugin: &str, config: &str) -> anyhow::Result<Host> {
        if plugin == "sentry" {
            return self.sentry(config, &[]);
        }
        self.host_with(&[(plugin, config)], &[])
    }

    /// Starts krsi-host with the sentry, granted as by [`Guest::host`], and further arguments.
    pub(crate) fn sentry(&self, config: &str, more: &[&str]) -> anyhow::Result<Host> {
        let path = self.path("krsi.toml");
        fs::write(&path, sentry_grants(config)?)?;
        let path = path.to_string_lossy();
        self.host_with(&[("sentry", config)], &[&["--config", &*path], more].concat())
    }

    /// Starts krsi-host with plugins, further arguments and the witness as judge of the end, and waits
    /// until it is ready.
    pub(crate) fn host_with(
        &self,
        plugins: &[(&str, &str)],
        more: &[&str],
    ) -> anyhow::Result<Host> {
        let more = more.iter().chain(&["--witness"]);
        let mut arguments: Vec<String> = more.map(|word| (*word).to_owned()).collect();
        for (plugin, config) in plugins {
            let path = self.path(&format!("{plugin}.conf"));
            fs::write(&path, config)?;
            arguments.extend(["--plugin".into(), format!("/krsi/{plugin}.wasm")]);
            arguments.extend(["--plugin-config".into(), path.display().to_string()]);
        }
        self.start(&arguments)
    }

    /// Starts krsi-host with arguments and waits until it is ready.
    pub(crate) fn start(&self, arguments: &[String]) -> anyhow::Result<Host> {
        self.start_as(arguments, |_| {})
    }

    /// The same with what else is to be said of the command.
    pub(crate) fn start_as(
        &self,
        arguments: &[String],
        prepare: impl FnOnce(&mut Command),
    ) -> anyhow::Result<Host> {
        let ready = self.path("ready");
        let _absent = fs::remove_file(&ready);
        let (out, err) = (self.path("host.out"), self.path("host.err"));
        let control = self.path("control.sock");
        let mut command = Command::new("/krsi/krsi-host");
        command.args(["--output", "json", "--color", "never", "--control"]).arg(&control);
        // An emulated guest on a busy machine stands still for longer than a plugin may.
        if !arguments.iter().any(|word| word == "--deadline-ms") {
            command.args(["--deadline-ms", "60000"]);
        }
        command.args(arguments).current_dir(&self.folder);
        command.arg("--ready-file").arg(&ready);
        command.stdin(Stdio::null()).stdout(File::create(&out)?).stderr(File::create(&err)?);
        prepare(&mut command);
        let child = command.spawn().context("krsi-host")?;
        let judged = arguments.iter().any(|word| word == "--witness");
        let mut host = Host { child, out, err, control, judged };
        wait_at_most(START_PATIENCE, "krsi-host to be ready", || {
            if let Some(status) = host.child.try_wait()? {
                bail!("krsi-host ended with {status}: {}", host.stderr());
            }
            Ok(ready.exists().then_some(()))
        })
        .with_context(|| host.stderr())?;
        Ok(host)
    }

    /// Runs krsi-host, which is expected to refuse.
    pub(crate) fn refused(&self, command: &mut Command) -> anyhow::Result<Refused> {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let waited = wait_at_most(START_PATIENCE, "krsi-host to refuse", || Ok(child.try_wait()?));
        if waited.is_err() {
            child.kill()?;
        }
        let output = child.wait_with_output()?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        waited.with_context(|| stderr.clone())?;
        Ok(Refused { code: output.status.code(), stderr })
    }
}

/// A running krsi-host; killed when dropped.
pub(crate) struct Host {
    child: Child,
    out: PathBuf,
    err: PathBuf,
    control: PathBuf,
    /// Whether the witness judges what it denies.
    judged: bool,
}

impl Drop for Host {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

impl Host {
    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(&self.err).unwrap_or_default()
    }

    /// Every report so far.
    pub(crate) fn reports(&self) -> anyhow::Result<Vec<Value>> {
        let text = fs::read_to_string(&self.out)?;
        let whole = text.rfind('\n').and_then(|end| text.get(..end)).unwrap_or_default();
        whole.lines().map(|line| serde_json::from_str(line).context(line.to_owned())).collect()
    }

    /// The first report in which all the given fields have the given values.
    pub(crate) fn report(&self, fields: &[(&str, &str)]) -> anyhow::Result<Value> {
        wait_for(&format!("a report with {fields:?}"), || {
            let has = |report: &Value| fields.iter().all(|(key, value)| report[*key] == *value);
            Ok(self.reports()?.into_iter().find(has))
        })
        .with_context(|| format!("reports: {:#?}\n{}", self.reports(), self.stderr()))
    }

    /// Asks it something; standard output and error of the asking command, and whether it succeeded.
    pub(crate) fn ask(&self, words: &[&str]) -> anyhow::Result<(bool, String)> {
        let mut command = Command::new("/krsi/krsi-host");
        command.args(words).arg("--control").arg(&self.control);
        let output = command.stdin(Stdio::null()).output()?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
    }

    /// Has it reload a plugin, without a process for the question; its answer.
    pub(crate) fn reload(&self, plugin: &str) -> anyhow::Result<String> {
        self.converse(&format!("{{\"ask\":\"reload\",\"plugin\":\"{plugin}\",\"accept\":false}}\n"))
    }

    fn converse(&self, line: &str) -> anyhow::Result<String> {
        let mut stream = UnixStream::connect(&self.control)?;
        stream.write_all(line.as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }

    /// What its status says of a plugin.
    pub(crate) fn status(&self, plugin: &str) -> anyhow::Result<Value> {
        let status = self.whole_status()?;
        let plugins = status["plugins"].as_array().context("plugins")?;
        let found = plugins.iter().find(|row| row["plugin"] == plugin).cloned();
        Ok(found.unwrap_or_default())
    }

    /// Hooks with a program, once for each, as its status says.
    pub(crate) fn hooks(&self) -> anyhow::Result<Vec<Value>> {
        let status = self.whole_status()?;
        status["hooks"].as_array().cloned().context("hooks")
    }

    /// What its status says is not proven.
    pub(crate) fn unproven(&self) -> anyhow::Result<Vec<String>> {
        Ok(serde_json::from_value(self.whole_status()?["unproven"].take())?)
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Everything that its status says.
    pub(crate) fn whole_status(&self) -> anyhow::Result<Value> {
        let text = self.converse("{\"ask\":\"status\"}\n")?;
        let mut answer: Value = serde_json::from_str(&text).context(text)?;
        Ok(answer["status"].take())
    }

    /// The first note that holds all the words.
    pub(crate) fn note(&self, words: &[&str]) -> anyhow::Result<Value> {
        wait_for(&format!("a note with {words:?}"), || {
            let has = |report: &Value| {
                let text = report["text"].as_str().unwrap_or_default();
                report["kind"] == "note" && words.iter().all(|word| text.contains(word))
            };
            Ok(self.reports()?.into_iter().find(has))
        })
        .with_context(|| format!("reports: {:#?}\n{}", self.reports(), self.stderr()))
    }

    /// Process id of the host.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal. One that stops it has stopped every thread when this returns.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id())?;
        kill_process(Pid::from_raw(pid).context("a pid")?, signal)?;
        if signal == Signal::STOP {
            wait_for("every thread to stop", || Ok(self.has_stopped()?.then_some(())))?;
        }
        Ok(())
    }

    /// Whether all its threads have stopped.
    fn has_stopped(&self) -> anyhow::Result<bool> {
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // One that ends meanwhile is looked for again.
            let Ok(stat) = fs::read_to_string(thread?.path().join("stat")) else {
                return Ok(false);
            };
            // The state comes after the name, which may hold anything.
            let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
            if !state.starts_with('T') {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Ends it with a signal; returns its summary.
    pub(crate) fn stop(mut self, signal: Signal) -> anyhow::Result<Value> {
        self.signal(signal)?;
        let status = wait_for("krsi-host to end", || Ok(self.child.try_wait()?))?;
        ensure!(status.success(), "krsi-host ended with {status}: {}", self.stderr());
        let reports = self.reports()?;
        let summary = reports.into_iter().find(|report| report["kind"] == "summary");
        let summary = summary.context("no summary")?;
        let witness = summary["witness"].as_array().context("witness")?;
        for row in summary["hooks"].as_array().context("hooks")? {
            let seen = witness.iter().any(|judge| judge["hook"] == row["hook"]);
            ensure!(!self.judged || row["denied"] == 0 || seen, "denied without a judge: {row}");
        }
        for row in witness {
            let number = |name: &str| row[name].as_u64().context("a number");
            // A preempted witness misses calls, and says how many.
            let judged = number("refused")? + number("missed")?;
            ensure!(judged >= number("denied")?, "a denial did not stand: {summary}");
        }
        Ok(summary)
    }
}

/// Whether tests repeat what they repeat for hours: `cargo xtask soak`.
pub(crate) fn soaks() -> bool {
    std::env::var_os("KRSI_SOAK").is_some()
}

/// How often a test repeats something: as often as there is time for in every run, or in a soak.
pub(crate) fn repeats(usually: usize, soaking: usize) -> usize {
    if soaks() { soaking } else { usually }
}

/// How the matrix calls the kernel that runs, as the runner says.
pub(crate) fn kernel() -> String {
    std::env::var("KRSI_KERNEL").unwrap_or_default()
}

/// A number of a report that is written as a text: an id or a time.
pub(crate) fn number(report: &Value, name: &str) -> anyhow::Result<u64> {
    let text = report[name].as_str().with_context(|| format!("no text {name}: {report}"))?;
    text.parse().with_context(|| format!("no number {name}: {report}"))
}

/// Whether a report names the rule that decided.
pub(crate) fn has_rule(report: &Value) -> bool {
    number(report, "rule_id").is_ok_and(|rule_id| rule_id > 0)
}

/// Repeats a question until it has an answer.
pub(crate) fn wait_for<T>(
    what: &str,
    question: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    wait_at_most(PATIENCE, what, question)
}

/// Repeats a question for so long at most.
pub(crate) fn wait_at_most<T>(
    patience: Duration,
    what: &str,
    mut question: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = question()? {
            return Ok(answer);
        }
        ensure!(Instant::now() < deadline, "waited {patience:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until an act fails with an errno.
pub(crate) fn wait_for_errno<T: Debug>(
    errno: i32,
    mut act: impl FnMut() -> io::Result<T>,
) -> anyhow::Result<()> {
    wait_for(&format!("errno {errno}"), || Ok(expect_errno(errno, act()).is_ok().then_some(())))
}

/// Waits until an act succeeds.
pub(crate) fn wait_for_ok<T>(mut act: impl FnMut() -> io::Result<T>) -> anyhow::Result<T> {
    wait_for("success", || Ok(act().ok()))
}

/// That an act failed with an errno, and no other.
pub(crate) fn expect_errno<T: Debug>(errno: i32, result: io::Result<T>) -> anyhow::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(errno) => Ok(()),
        other => bail!("expected errno {errno}, got {other:?}"),
    }
}

/// Runs an executable of [`Guest::executable`] with arguments.
pub(crate) fn run(path: &Path, arguments: &[&str]) -> io::Result<()> {
    Command::new(path).args(arguments).stdout(Stdio::null()).status().map(drop)
}

/// Listens on a port of the guest and takes every connection, unless another test of this guest does already.
pub(crate) fn listen(address: &str) -> anyhow::Result<()> {
    let listener = match TcpListener::bind(address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Ok(()),
        listener => listener.with_context(|| address.to_owned())?,
    };
    std::thread::spawn(move || listener.incoming().for_each(drop));
    Ok(())
}

/// A process that keeps connecting; killed when dropped.
pub(crate) struct Connecting {
    child: Child,
    out: PathBuf,
}

impl Connecting {
    /// Starts `command`, which prints what became of each connection into `out`.
    pub(crate) fn start(command: &mut Command, out: PathBuf) -> anyhow::Result<Self> {
        let child = command.stdout(File::create(&out)?).stdin(Stdio::null()).spawn()?;
        Ok(Self { child, out })
    }

    /// Process id of the child.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until its last connection ended with `outcome`.
    pub(crate) fn wait_for(&self, outcome: &str) -> anyhow::Result<()> {
        wait_for(&format!("a connection that ends with {outcome}"), || {
            Ok((self.last()? == outcome).then_some(()))
        })
        .with_context(|| fs::read_to_string(&self.out).unwrap_or_default())
    }

    /// What became of the last connection.
    pub(crate) fn last(&self) -> anyhow::Result<String> {
        let text = fs::read_to_string(&self.out)?;
        let line = text.lines().last().unwrap_or_default();
        Ok(line.rsplit(": ").next().unwrap_or_default().to_owned())
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}
