//! Processes that are faster than a rule, and processes that come by the number of a denied one.

use std::cell::Cell;
use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::Signal;

use super::call::in_child;
use super::denial;
use super::preempt::preempts_itself;
use crate::Boot;
use crate::harness::{Connecting, Guest, listen, wait_for};
use crate::scene::Scene;

const CONNECTING: &str = "/krsi/stand-in-miner";
/// Where the first and the second act go to.
const POOL: &str = "127.0.0.1:7401";
/// The kernel gives no number up to this one a second time (`RESERVED_PIDS` of kernel/pid.c).
const RESERVED_PIDS: u32 = 300;
/// Numbers that remain for all processes and threads that start; 301 would leave one.
const FREE_PIDS: u32 = 160;
/// Times that the kernel may go through them.
const ROUNDS: u32 = 4;
const PID_MAX: &str = "/proc/sys/kernel/pid_max";

/// A host that is stopped sees nothing: the first act succeeds. The second one, by a child, does not.
pub(super) fn first_act(guest: &Guest) -> anyhow::Result<Scene<'_>> {
    listen(POOL)?;
    let root = guest.executable("busybox-root")?;
    let line = format!("lineage {} 600000 1", root.display());
    let stopped = Rc::new(Cell::new(Duration::ZERO));
    let told = Rc::clone(&stopped);
    let scene = Scene::new(vec![line], move |host| {
        let [first, second, go] = ["first", "second", "go"].map(|name| guest.path(name));
        let script = format!(
            "{CONNECTING} -o {POOL} > {}; until [ -e {} ]; do sleep 1; done; {CONNECTING} -o {POOL} > {}",
            first.display(),
            go.display(),
            second.display()
        );
        host.signal(Signal::STOP)?;
        let start = Instant::now();
        let mut child = Command::new(&root).args(["sh", "-c", &script]).spawn()?;
        let succeeded = outcome(&first).and_then(|text| ends(&text, ": ok"));
        told.set(start.elapsed());
        host.signal(Signal::CONT)?;
        succeeded?;
        let reason = format!("sentry: lineage {}", root.display());
        host.report(&[("kind", "rule"), ("plugin", "sentry"), ("reason", &reason)])?;
        File::create(go)?;
        ends(&outcome(&second)?, ": EPERM")?;
        child.wait()?;
        let record = denial(host, "socket_connect", POOL, "sentry")?;
        ensure!(record["errno"] == "EPERM" && record["comm"] == "stand-in-miner", "{record}");
        drop(TcpStream::connect(POOL)?);
        Ok(())
    });
    Ok(scene.ending(move |summary| {
        let (delay, stopped) = (summary["delay_p99_ns"].as_u64(), stopped.get());
        let delay = Duration::from_nanos(delay.context("delay_p99_ns")?);
        // Of the exec that caused the rule; what else is counted is the process's own start.
        ensure!(delay * 2 > stopped, "{delay:?} after a stop of {stopped:?}");
        Ok(())
    }))
}

/// What became of the only connection of a process, as it says.
fn outcome(file: &Path) -> anyhow::Result<String> {
    wait_for("a connection", || {
        let text = fs::read_to_string(file).unwrap_or_default();
        Ok(text.strip_suffix('\n').map(str::to_owned))
    })
}

fn ends(text: &str, end: &str) -> anyhow::Result<()> {
    ensure!(text.ends_with(end), "no {end} in {text}");
    Ok(())
}

/// Forks until a child has a number; what it does there.
fn as_process(tgid: u32, act: impl Fn() -> io::Result<()>) -> anyhow::Result<io::Result<()>> {
    for _ in 0..ROUNDS * FREE_PIDS {
        let result = in_child(|| {
            let own = std::process::id() == tgid;
            if own { act() } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
        });
        if !result.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::ESRCH)) {
            return Ok(result);
        }
    }
    bail!("no process was {tgid} again")
}

/// A rule on a process, or on a lineage, ends with the process that it is on, though the host is
/// stopped and cannot take it back.
pub(super) fn pid_reuse(guest: &mut Guest) -> anyhow::Result<()> {
    let pid_max = fs::read_to_string(PID_MAX)?;
    fs::write(PID_MAX, (RESERVED_PIDS + FREE_PIDS).to_string())?;
    let result = reuse(guest);
    fs::write(PID_MAX, pid_max)?;
    result
}

/// Execs that may stay unseen, and how long the rule that an exec causes may take to come.
const UNSEEN: u64 = 2;
const SEEN_WITHIN: Duration = Duration::from_secs(20);

fn reuse(guest: &Guest) -> anyhow::Result<()> {
    let pool = "127.0.0.1:7411";
    listen(pool)?;
    let address: SocketAddr = pool.parse()?;
    let connect = || TcpStream::connect_timeout(&address, Duration::from_secs(30)).map(drop);
    // Numbers up to there are given once, after the boot.
    for _ in 0..RESERVED_PIDS {
        let past = in_child(|| match std::process::id() {
            ..=RESERVED_PIDS => Err(io::Error::from_raw_os_error(libc::ESRCH)),
            _ => Ok(()),
        });
        if past.is_ok() {
            break;
        }
    }
    let [single, root] = ["single", "root"].map(|name| guest.path(name));
    for path in [&single, &root] {
        fs::copy(CONNECTING, path)?;
    }
    let rules =
        format!("process {} 600000 1\nlineage {} 600000 1", single.display(), root.display());
    let host = guest.host("sentry", &rules)?;
    let (outs, mut unseen) = ([&single, &root].map(|path| path.with_extension("out")), 0);
    let mut start = |path| denied_from_now(guest, path, pool, &mut unseen);
    let denied = [start(&single)?, start(&root)?];
    for process in &denied {
        let tgid = process.pid();
        wait_for("a record of each", || {
            let of =
                |report: &serde_json::Value| report["kind"] == "verdict" && report["tgid"] == tgid;
            Ok(host.reports()?.iter().any(of).then_some(()))
        })?;
    }
    denial(&host, "socket_connect", pool, "sentry")?;
    host.signal(Signal::STOP)?;
    let tgids = [denied[0].pid(), denied[1].pid()];
    // They still are denied, and end.
    for (process, out) in denied.iter().zip(outs) {
        let size = || fs::metadata(&out).map(|meta| meta.len());
        let before = size()?;
        wait_for("another connection", || Ok((size()? > before).then_some(())))?;
        ensure!(process.last()? == "EPERM", "{} is not denied", process.pid());
    }
    drop(denied);
    let strangers = tgids.map(|tgid| as_process(tgid, connect));
    host.signal(Signal::CONT)?;
    for stranger in strangers {
        stranger?.context("a stranger was denied")?;
    }
    let summary = host.stop(Signal::INT)?;
    let rows = summary["hooks"].as_array().context("hooks")?;
    let missed: u64 = rows.iter().filter_map(|row| row["missed"].as_u64()).sum();
    ensure!(missed >= unseen, "{unseen} execs were not seen, {missed} missed: {summary}");
    Ok(())
}

/// Starts what a rule on its executable's process denies. Programs of functions are skipped on a core where
/// another is preempted (see `preempt`), so an exec can stay unseen there: it is counted as missed.
fn denied_from_now(
    guest: &Guest,
    path: &Path,
    pool: &str,
    unseen: &mut u64,
) -> anyhow::Result<Connecting> {
    let may_miss = guest.boot() == Boot::WithoutBpf && preempts_itself();
    loop {
        let mut command = Command::new(path);
        command.args(["--repeat", "40000", "--every", "50", "-o", pool]);
        let process = Connecting::start(&mut command, path.with_extension("out"))?;
        if !may_miss || *unseen == UNSEEN {
            process.wait_for("EPERM")?;
            return Ok(process);
        }
        let start = Instant::now();
        while start.elapsed() < SEEN_WITHIN {
            if process.last().is_ok_and(|outcome| outcome == "EPERM") {
                return Ok(process);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        *unseen += 1;
    }
}
