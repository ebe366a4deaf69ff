//! Opens and forks beyond what the ring holds: no verdict changes and none is lost.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::Signal;

use super::call::in_child;
use super::preempt::preempts_itself;
use super::{EACCES, denial, denials};
use crate::Boot;
use crate::harness::{Guest, expect_errno, repeats, wait_for, wait_for_errno};

/// Denied opens amid the flood, usually and in a soak.
const ACTS: [usize; 2] = [40, 4000];

pub(super) fn of_opens_and_forks(guest: &mut Guest) -> anyhow::Result<()> {
    let (secret, neighbour) = (guest.file("secret")?, guest.file("neighbour")?);
    let rules = format!("open {} 600000 13", secret.display());
    let host = guest.sentry(&rules, &["--ring-bytes", "32768"])?;
    drop(File::open(&secret)?);
    wait_for_errno(EACCES, || File::open(&secret))?;
    let (over, acts) = (AtomicBool::new(false), repeats(ACTS[0], ACTS[1]));
    let passed = std::thread::scope(|scope| {
        let repeat = |act: &dyn Fn() -> std::io::Result<()>| -> anyhow::Result<u64> {
            let mut times = 0;
            while !over.load(Ordering::Relaxed) {
                act()?;
                times += 1;
            }
            Ok(times)
        };
        let opening = scope.spawn(move || repeat(&|| File::open(&neighbour).map(drop)));
        let forking = scope.spawn(move || repeat(&|| in_child(|| Ok(()))));
        let result = (0..acts).try_fold(0, |passed, _| {
            std::thread::sleep(Duration::from_millis(10));
            match File::open(&secret) {
                Ok(_) => Ok(passed + 1),
                refused => expect_errno(EACCES, refused).map(|()| passed),
            }
        });
        over.store(true, Ordering::Relaxed);
        for flood in [opening, forking] {
            let times = flood.join().map_err(|_| anyhow::anyhow!("a flood panicked"))??;
            ensure!(times > 0, "no flood");
        }
        result
    })?;
    // Programs of functions are skipped on a core where another is preempted: see `preempt`.
    let may_pass = guest.boot() == Boot::WithoutBpf && preempts_itself();
    ensure!(passed == 0 || may_pass, "{passed} opens passed");
    // The last of the first opens was denied, too.
    let denied = acts + 1 - passed;
    let object = secret.to_string_lossy();
    wait_for("a record of each denial", || {
        Ok((denials(&host, &object)?.len() == denied).then_some(()))
    })?;
    denial(&host, "file_open", &object, "sentry")?;
    let summary = host.stop(Signal::INT)?;
    let rows = summary["hooks"].as_array().context("hooks")?;
    let row = rows.iter().find(|row| row["hook"] == "file_open").context("file_open")?;
    ensure!(row["denied"] == denied && row["lost"].as_u64() > Some(0), "{row}");
    ensure!(row["missed"].as_u64() >= Some(passed as u64), "{passed} opens passed: {row}");
    Ok(())
}
