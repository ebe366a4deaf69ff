//! Calls on a core where another task stands still inside the hook's program: the kernel skips the program.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::io::Errno;
use rustix::process::{Signal, setpriority_process};

use super::watches;
use crate::harness::{Guest, kernel, repeats, soaks};

/// Nice value that is denied to everybody.
const NICE: i32 = 7;
const WATCH: &str = "task_setnice: nice if nice == 7 deny EACCES";
/// Tasks that share the cores.
const CALLERS: usize = 6;
/// Calls of each in a round.
const CALLS: usize = 1000;
/// Rounds where nothing is waited for, usually and in a soak.
const ROUNDS: [usize; 2] = [2, 200];
/// How long preemption is waited for.
const PATIENCE: Duration = Duration::from_secs(100);

/// Of the matrix, only this one preempts itself as Debian configures it.
pub(super) fn preempts_itself() -> bool {
    kernel() == "7.x"
}

/// Only programs of other kinds are skipped since 6.2, and in what 6.1 took over of it.
pub(super) fn of_lsm(guest: &mut Guest) -> anyhow::Result<()> {
    let most = repeats(ROUNDS[0], ROUNDS[1]);
    let passed = flood(guest, |rounds, _| rounds < most)?;
    ensure!(passed == 0, "{passed} calls passed");
    Ok(())
}

/// Each call that passed is counted.
pub(super) fn of_fmod_ret(guest: &mut Guest) -> anyhow::Result<()> {
    let most = repeats(ROUNDS[0], ROUNDS[1]);
    if !preempts_itself() {
        return flood(guest, |rounds, _| rounds < most).map(drop);
    }
    let start = Instant::now();
    let goes_on = |rounds, passed| {
        let waits = passed == 0 && start.elapsed() < PATIENCE;
        waits || (soaks() && rounds < most)
    };
    let passed = flood(guest, goes_on)?;
    ensure!(passed > 0, "no program was preempted in {PATIENCE:?}");
    Ok(())
}

/// Denied calls in rounds for as long as `goes_on`, given rounds and what passed so far. What passed is
/// what the host says was missed, call by call.
fn flood(guest: &Guest, goes_on: impl Fn(usize, usize) -> bool) -> anyhow::Result<usize> {
    let mut arguments = watches(&[WATCH]);
    arguments.push("--witness".into());
    let host = guest.start(&arguments)?;
    setpriority_process(None, 0).context("a neighbour")?;
    let (mut rounds, mut passed) = (0, 0);
    while goes_on(rounds, passed) {
        let callers = std::array::from_fn::<_, CALLERS, _>(|_| std::thread::spawn(round));
        for caller in callers {
            passed += caller.join().ok().context("a caller panicked")??;
        }
        rounds += 1;
    }
    let summary = host.stop(Signal::INT)?;
    let rows = summary["hooks"].as_array().context("hooks")?;
    let row = rows.iter().find(|row| row["hook"] == "task_setnice").context("the hook's row")?;
    let calls = rounds * CALLERS * CALLS;
    ensure!(row["missed"] == passed, "{passed} calls passed: {row}");
    ensure!(row["denied"] == calls - passed && row["seen"] == calls + 1 - passed, "{calls} {row}");
    Ok(passed)
}

/// One caller's calls; how many passed.
fn round() -> anyhow::Result<usize> {
    let mut passed = 0;
    for _ in 0..CALLS {
        match setpriority_process(None, NICE) {
            Ok(()) => passed += 1,
            Err(Errno::ACCESS) => {}
            Err(errno) => anyhow::bail!("expected EACCES, got {errno}"),
        }
    }
    Ok(passed)
}
