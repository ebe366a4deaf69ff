//! A host that records, and the recordings played again in the same guest, without it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::ensure;
use rustix::process::Signal;

use super::{Boot, Test};
use crate::harness::{Guest, Host, run, wait_for_errno};
use crate::surroundings::mounted;

pub(crate) const TESTS: &[Test] =
    &[("runtime_record_and_replay", Boot::Default, record_and_replay)];

/// Plays a recording with the plugin that was recorded; its exit code and what it says.
fn replay(file: &Path, more: &[&str]) -> anyhow::Result<(Option<i32>, String)> {
    let mut command = Command::new("/krsi/krsi-host");
    command.arg("replay").arg(file).args(["--plugin", "/krsi/sentry.wasm"]).args(more);
    let output = command.args(["--cache-dir", "/var/cache/krsi-host"]).output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8_lossy(&text).into_owned()))
}

fn says(text: &str, words: &[&str]) -> anyhow::Result<()> {
    for word in words {
        ensure!(text.contains(word), "no {word:?} in {text}");
    }
    Ok(())
}

/// A recording whose file system is full is taken down: what became of it is told once, and the flight recorder goes on.
fn one_that_ends_by_itself(guest: &Guest, host: &Host, acts: &Path) -> anyhow::Result<()> {
    let small = guest.path("small");
    let held = guest.path("held-again.rec").display().to_string();
    mounted(&small, "size=4k", || {
        let file = small.join("full.rec").display().to_string();
        let (done, text) = host.ask(&["record", "-o", &file, "--detach"])?;
        ensure!(done, "{text}");
        let began = Instant::now();
        loop {
            run(acts, &["true"])?;
            let (done, text) = host.ask(&["record", "--now", "-o", &held])?;
            if done {
                break;
            }
            ensure!(began.elapsed() < Duration::from_secs(60), "it still records: {text}");
            std::thread::sleep(Duration::from_millis(200));
        }
        let (done, text) = host.ask(&["record", "--stop"])?;
        ensure!(done && text.contains("cannot be written to"), "{text}");
        let (done, text) = host.ask(&["record", "--stop"])?;
        ensure!(!done && text.contains("nothing is being recorded"), "{text}");
        Ok(())
    })
}

fn record_and_replay(guest: &mut Guest) -> anyhow::Result<()> {
    let (first, second) = (guest.path("first.rec"), guest.path("second.rec"));
    let [early, late, other] =
        ["busybox-early", "busybox-late", "busybox-other"].map(|name| guest.executable(name));
    let (early, late, other) = (early?, late?, other?);
    let config = [&early, &late].map(|path| format!("exec {} 600000 1\n", path.display())).concat();
    let at = first.display().to_string();
    let more = ["--record", &at, "--flight-mib", "16"];
    let host = guest.host_with(&[("sentry", &config)], &more)?;
    let rule = |path: &Path| -> anyhow::Result<()> {
        run(path, &["true"])?;
        host.report(&[("kind", "alert"), ("text", &format!("saw exec {}", path.display()))])?;
        wait_for_errno(libc::EPERM, || run(path, &["true"]))
    };
    rule(&early)?;
    // One at a time, and never over what is there.
    let then = second.display().to_string();
    let (done, text) = host.ask(&["record", "-o", &then, "--detach"])?;
    ensure!(!done && text.contains("being recorded to already"), "{text}");
    let (done, text) = host.ask(&["record", "--stop"])?;
    ensure!(done && text.contains("entries to"), "{text}");
    let (done, text) = host.ask(&["record", "--stop"])?;
    ensure!(!done && text.contains("nothing is being recorded"), "{text}");
    let (done, text) = host.ask(&["record", "-o", &at, "--detach"])?;
    ensure!(!done && text.contains("is there already"), "{text}");
    // The flight recorder began when that recording ended, and holds what happens since.
    run(&guest.executable("busybox-held")?, &["true"])?;
    let held = guest.path("held.rec");
    let (done, text) = host.ask(&["record", "--now", "-o", &held.display().to_string()])?;
    ensure!(done && text.contains("wrote what happened last"), "{text}");
    one_that_ends_by_itself(guest, &host, &other)?;
    // What runs already is recorded from its state on.
    let (done, text) = host.ask(&["record", "-o", &then, "--detach"])?;
    ensure!(done && text.contains("recording to"), "{text}");
    rule(&late)?;
    run(&other, &["true"])?;
    host.stop(Signal::INT)?;
    for file in [&first, &second, &held] {
        let mode = fs::metadata(file)?.mode() & 0o7777;
        ensure!(mode == 0o600, "{}: mode {mode:o}", file.display());
    }

    // Nothing is refused any more, and nobody runs: the recordings alone say what happened.
    run(&early, &["true"])?;
    let saw = |path: &Path| format!("saw exec {}", path.display());
    let (code, text) = replay(&first, &[])?;
    ensure!(code == Some(0), "{text}");
    says(
        &text,
        &["sentry: 0.1.0 starts, the file that was recorded", &saw(&early), "calls as on the tape"],
    )?;
    ensure!(!text.contains(&saw(&late)), "{text}");
    let again = replay(&first, &[])?;
    ensure!(again == (code, text.clone()), "{text}\nis not\n{}", again.1);

    let (code, text) = replay(&second, &[])?;
    ensure!(code == Some(0), "{text}");
    says(&text, &["ran already when the recording began", &saw(&late)])?;
    ensure!(!text.contains(&saw(&early)), "{text}");

    let (code, text) = replay(&held, &[])?;
    ensure!(code == Some(0), "{text}");
    says(&text, &["ran already when the recording began", "what the flight recorder held"])?;

    // On the stream the plugin is configured by nothing: it wants nothing.
    let (code, text) = replay(&first, &["--on", "stream"])?;
    ensure!(code == Some(0) && !text.contains("saw exec"), "{text}");
    Ok(())
}
