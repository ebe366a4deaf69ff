//! Modes of rules: of the whole host, of a plugin, of one rule beside others.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use rustix::process::Signal;

use super::{Boot, Test};
use crate::harness::{Guest, Host, expect_errno, listen, wait_for, wait_for_errno};
use crate::rule::{RULED, count, folder, ruled, verdict};
use crate::scene::{Scene, SceneTest};

pub(crate) const TESTS: &[Test] = &[
    ("rule_mode_off_judges_nothing", Boot::Each, mode_off),
    ("rule_mode_audit_of_a_plugin", Boot::Each, mode_audit_of_plugin),
    ("rule_mode_off_of_a_plugin", Boot::Each, mode_off_of_plugin),
    ("rule_in_force_follows_the_grant", Boot::Default, in_force_follows),
];

pub(crate) const SCENES: &[SceneTest] =
    &[("rule_modes_side_by_side", Boot::Each, &RULED, side_by_side)];

const EACCES: i32 = 13;

/// Opens a file below a denied prefix, with success, under a mode; what is told of the open.
fn under_mode(guest: &Guest, config: &str, more: &[&str]) -> anyhow::Result<(Host, PathBuf)> {
    let (vault, _) = folder(guest, "vault")?;
    let file = vault.join("tell-me");
    fs::write(&file, "content\n")?;
    let host = ruled(guest, &format!("deny {} 13 file_open", vault.display()), config, more)?;
    host.report(&[("kind", "rule"), ("plugin", "ruler")])?;
    fs::read_to_string(&file)?;
    host.report(&[("kind", "alert"), ("plugin", "ruler")])?;
    Ok((host, file))
}

/// Checks that a host judged nothing.
fn decided_nothing(host: Host) -> anyhow::Result<()> {
    let summary = host.stop(Signal::INT)?;
    for name in ["denied", "audited"] {
        ensure!(count(&summary, "file_open", name)? == 0, "{summary}");
    }
    ensure!(summary["rules"] == 1, "{summary}");
    Ok(())
}

fn mode_off(guest: &mut Guest) -> anyhow::Result<()> {
    let (host, _) = under_mode(guest, "", &["--mode", "off"])?;
    decided_nothing(host)
}

fn mode_off_of_plugin(guest: &mut Guest) -> anyhow::Result<()> {
    let (host, _) = under_mode(guest, "[plugin.ruler]\nmode = \"off\"", &[])?;
    decided_nothing(host)
}

fn mode_audit_of_plugin(guest: &mut Guest) -> anyhow::Result<()> {
    let (host, file) = under_mode(guest, "[plugin.ruler]\nmode = \"audit\"", &[])?;
    let object = file.to_string_lossy().into_owned();
    let record = verdict(&host, &[("hook", "file_open"), ("object", &object)])?;
    ensure!(record["verdict"] == "audited" && record["errno"] == "EACCES", "{record}");
    let summary = host.stop(Signal::INT)?;
    ensure!(count(&summary, "file_open", "denied")? == 0, "{summary}");
    Ok(())
}

/// Three rules of one plugin, each on a destination of its own.
fn side_by_side(_: &Guest) -> anyhow::Result<Scene<'_>> {
    fn to(port: u16) -> String {
        format!("127.0.0.1:{port}")
    }
    (4731..=4734).try_for_each(|port| listen(&to(port)))?;
    let rule = |port, mode| format!("network 127.0.0.1/32:{port} 13 socket_connect {mode}");
    let lines = vec![rule(4731, ""), rule(4732, "audit"), rule(4733, "off")];
    let scene = Scene::new(lines, |host| {
        for (port, word) in [(4731, "deny"), (4732, "audit"), (4733, "off")] {
            let text = format!("{word} socket_connect on 127.0.0.1/32 port {port}");
            host.report(&[("kind", "rule"), ("text", &text)])?;
        }
        expect_errno(EACCES, TcpStream::connect(to(4731)))?;
        (4732..=4734).try_for_each(|port| TcpStream::connect(to(port)).map(drop))?;
        for (port, word) in [(4731, "denied"), (4732, "audited")] {
            let record = verdict(host, &[("hook", "socket_connect"), ("object", &to(port))])?;
            ensure!(record["verdict"] == word && record["errno"] == "EACCES", "{record}");
        }
        let about = |port| -> anyhow::Result<usize> {
            let reports = host.reports()?.into_iter();
            let verdicts = reports.filter(|report| report["kind"] == "verdict");
            Ok(verdicts.filter(|report| report["object"] == *to(port)).count())
        };
        wait_for("both records", || Ok((about(4731)? + about(4732)? == 2).then_some(())))?;
        ensure!(about(4733)? + about(4734)? == 0, "{:#?}", host.reports()?);
        Ok(())
    });
    Ok(scene.ending(|summary| {
        ensure!(count(summary, "socket_connect", "audited")? == 1, "{summary}");
        (4731..=4733).try_for_each(|port| TcpStream::connect(to(port)).map(drop))?;
        Ok(())
    }))
}

/// A rule that was made by an event follows what the operator says at each reload: it does less, does its
/// work again, and ends, with the reason, when its kind of key is not granted any more.
fn in_force_follows(guest: &mut Guest) -> anyhow::Result<()> {
    let (config, file, other) =
        (guest.path("host.toml"), guest.file("secret")?, guest.file("other")?);
    let say = |words: &str| fs::write(&config, format!("[plugin.sentry]\n{words}\n"));
    say("mode = \"enforce\"")?;
    let lines = format!("open {} 3600000 13", file.display());
    let more = ["--config", &config.display().to_string()];
    let host = guest.host_with(&[("sentry", &lines), ("ruler", "")], &more)?;
    drop(File::open(&file));
    wait_for_errno(EACCES, || File::open(&file))?;
    let reload = |words: &str| -> anyhow::Result<()> {
        say(words)?;
        let (done, text) = host.ask(&["reload", "sentry"])?;
        ensure!(done && text.contains("took over"), "{words}: {text}");
        Ok(())
    };
    reload("mode = \"off\"")?;
    File::open(&file).context("the plugin is off")?;
    host.note(&["sentry: its grants changed", "1 changed their mode"])?;
    reload("mode = \"audit\"")?;
    File::open(&file).context("the plugin audits")?;
    let object = file.to_string_lossy().into_owned();
    host.report(&[("kind", "verdict"), ("verdict", "audited"), ("object", &object)])?;
    reload("mode = \"enforce\"")?;
    expect_errno(EACCES, File::open(&file))?;
    host.report(&[("kind", "verdict"), ("verdict", "denied"), ("object", &object)])?;
    File::open(&other)?;
    reload("deny-keys = [\"network\"]")?;
    File::open(&file).context("rules on files are not granted any more")?;
    host.note(&["sentry: rule", "ended, deny file_open", "rules on file keys are not granted"])?;
    ensure!(host.status("sentry")?["rules"] == 0, "{}", host.status("sentry")?);
    host.stop(Signal::INT).map(drop)
}
