//! The verbs that tell of a kernel: what `hooks` and `doctor` say, against lists and the kernel's own files.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::coverage::{Coverage, Names, compare, names};
use super::{Boot, Test};
use crate::harness::{Guest, Host, expect_errno, has_rule, wait_for, wait_for_errno};

pub(crate) const TESTS: &[Test] = &[
    ("hooks_lists_what_the_survey_found", Boot::Default, lists_what_the_survey_found),
    ("hooks_shows_what_is_attached", Boot::Default, shows_what_is_attached),
    ("hooks_tells_anybody_what_btf_says", Boot::Default, tells_anybody_what_btf_says),
    ("doctor_says_what_is_missing", Boot::Default, says_what_is_missing),
    ("doctor_says_what_is_missing_without_bpf_lsm", Boot::WithoutBpf, without_bpf_lsm),
];

/// Runs a verb; its exit code and the JSON that it says.
fn ask(command: &mut Command) -> anyhow::Result<(i32, Value)> {
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let told = String::from_utf8_lossy(&output.stderr);
    let value = serde_json::from_str(&text).with_context(|| format!("{text}\n{told}"))?;
    Ok((output.status.code().context("a signal")?, value))
}

fn verb(words: &[&str]) -> Command {
    let mut command = Command::new("/krsi/krsi-host");
    command.args(words).args(["--output", "json"]);
    command
}

fn rows(listing: &Value) -> anyhow::Result<&Vec<Value>> {
    listing["hooks"].as_array().context("hooks")
}

fn lists_what_the_survey_found(_guest: &mut Guest) -> anyhow::Result<()> {
    let (code, listing) = ask(&mut verb(&["hooks"]))?;
    ensure!(code == 0, "exit code {code}");
    let release = listing["kernel"].as_str().context("kernel")?;
    let (list, exact) = Coverage::of(release)?;
    let such = |has: &dyn Fn(&Value) -> bool| -> anyhow::Result<Names> {
        let rows = rows(&listing)?.iter().filter(|row| has(row));
        Ok(rows.filter_map(|row| row["hook"].as_str()).map(str::to_owned).collect())
    };
    // A newer kernel may have lost hooks, and others.
    let all = such(&|_| true)?;
    let newer = (!exact).then_some(&all);
    let refused =
        |grounds: &'static str| such(&move |row| row["lsm"]["refused"]["grounds"] == grounds);
    compare("lsm", &such(&|row| row["lsm"] == "accepted")?, &names(&list.lsm), newer)?;
    let sleepable = such(&|row| row["can_sleep"] == true)?;
    compare("sleepable", &sleepable, &names(&list.sleepable), newer)?;
    let fmod_ret = such(&|row| row["fmod_ret"] == "accepted")?;
    compare("fmod_ret", &fmod_ret, &list.modifiable()?, newer)?;
    compare("own", &refused("no_hook")?, &names(&list.own), newer)?;
    compare("disabled", &refused("disabled")?, &names(&list.disabled), newer)?;
    // Every row says what it is, and every refusal why.
    for row in rows(&listing)? {
        let hook = row["hook"].as_str().context("hook")?;
        let signature = row["signature"].as_str().unwrap_or_default();
        ensure!(signature.contains(&format!("{hook}(")), "{row}");
        let void = signature.starts_with("void ");
        ensure!(row["can_deny"] != void, "{row}");
        let said = row["lsm"]["refused"]["words"].as_str();
        ensure!(
            row["lsm"] == "accepted" || said.is_some_and(|words| words.contains(hook)),
            "{row}"
        );
    }
    Ok(())
}

fn shows_what_is_attached(guest: &mut Guest) -> anyhow::Result<()> {
    let (secret, neighbour) = (guest.file("secret")?, guest.file("neighbour")?);
    fs::write("/proc/sys/kernel/bpf_stats_enabled", "1")?;
    let config = format!("open {} 60000 13", secret.display());
    let host = guest.sentry(&config, &["--watch", WATCH])?;
    shows_watches(guest, &host)?;
    drop(File::open(&secret)?);
    wait_for_errno(13, || File::open(&secret))?;
    drop(File::open(&neighbour)?);
    let (succeeded, text) = host.ask(&["hooks", "--output", "json", "file_open", "path_unlink"])?;
    fs::write("/proc/sys/kernel/bpf_stats_enabled", "0")?;
    ensure!(succeeded, "{text}");
    let listing: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    let rows = rows(&listing)?;
    let row = rows.iter().find(|row| row["hook"] == "file_open").context("file_open")?;
    ensure!(row["denied"].as_u64() >= Some(1), "{row}");
    // Of a kernel that does not tell where programs are, they are listed apart.
    let places = [&row["attached"], &listing["unplaced"]];
    let programs = places.iter().filter_map(|place| place.as_array()).flatten();
    let ours = |program: &&Value| program["name"] == "file_open";
    let program = programs.clone().find(ours).with_context(|| text.clone())?;
    ensure!(program["kind"] == "lsm" && program["run_cnt"].as_u64() >= Some(3), "{program}");
    ensure!(program["run_time_ns"].as_u64() > Some(0), "{program}");
    let holder = &program["holders"][0];
    ensure!(holder["tgid"] == host.pid() && holder["comm"] == "krsi-host", "{program}");
    let other = rows.iter().find(|row| row["hook"] == "path_unlink").context("path_unlink")?;
    ensure!(other["attached"] == Value::Array(Vec::new()) && other["denied"].is_null(), "{other}");
    host.stop(Signal::INT).map(drop)
}

/// A watch with an octal number and permission bits among its fields.
const WATCH: &str =
    "inode_mkdir: dentry.d_name.name as name, mode if bits(mode, 0o777) == 0o751 deny EACCES";

/// The watch refuses one of two acts; its record, the status and the list of hooks say so.
fn shows_watches(guest: &Guest, host: &Host) -> anyhow::Result<()> {
    // A name that would pass for fields, and two lines.
    let refused = guest.path("x mode=0o777\nb");
    let mkdir = |path: &Path, mode| fs::DirBuilder::new().mode(mode).create(path);
    expect_errno(13, mkdir(&refused, 0o751))?;
    mkdir(&guest.path("neighbour-dir"), 0o750)?;
    let own = std::process::id();
    let seen = wait_for("the record", || {
        let mut reports = host.reports()?.into_iter();
        Ok(reports.find(|report| report["kind"] == "watch" && report["tgid"] == own))
    })?;
    let fields = serde_json::json!([["name", "x mode=0o777\nb"], ["mode", "0o751"]]);
    ensure!(seen["fields"] == fields && seen["verdict"] == "denied", "{seen}");
    let verdict = host.report(&[("kind", "verdict"), ("decided_by", "watch")])?;
    let object = "\"x mode=0o777\\nb\" 0o751";
    ensure!(verdict["object"] == object && has_rule(&verdict), "{verdict}");
    let (succeeded, text) = host.ask(&["status", "--json"])?;
    ensure!(succeeded, "{text}");
    let status: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    let watch = &status["watches"][0];
    ensure!(watch["watch"] == WATCH && watch["plugin"] == "administrator", "{status}");
    ensure!(watch["denied"] == 1 && watch["matched"] == 1, "{status}");
    ensure!(watch["seen"].as_u64() >= Some(2), "{status}");
    let (succeeded, text) = host.ask(&["hooks", "--output", "json", "inode_mkdir"])?;
    ensure!(succeeded, "{text}");
    let listing: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    let row = rows(&listing)?.first().context("inode_mkdir")?;
    ensure!(row["denied"] == 1 && row["watches"][0] == *watch, "{row} {watch}");
    Ok(())
}

fn tells_anybody_what_btf_says(_guest: &mut Guest) -> anyhow::Result<()> {
    let (code, listing) = ask(verb(&["hooks", "file_open", "task_free"]).uid(65534))?;
    ensure!(code == 0 && rows(&listing)?.len() == 2, "{code}: {listing}");
    for row in rows(&listing)? {
        ensure!(row["lsm"] == "untried" && row["can_sleep"].is_null(), "{row}");
    }
    let row = rows(&listing)?.first().context("file_open")?;
    ensure!(
        row["signature"] == "int file_open(struct file *file)" && row["can_deny"] == true,
        "{row}"
    );
    ensure!(listing["unknown"].as_array().is_some_and(|lines| lines.len() == 2), "{listing}");
    let (code, listing) = ask(&mut verb(&["hooks", "no_such_hook"]))?;
    ensure!(code == 2 && rows(&listing)?.is_empty(), "{code}: {listing}");
    Ok(())
}

/// Whether the kernel has a function, as it says itself.
fn has_function(name: &str) -> anyhow::Result<bool> {
    let symbols = fs::read_to_string("/proc/kallsyms")?;
    Ok(symbols.lines().any(|line| line.split_whitespace().nth(2) == Some(name)))
}

/// The findings of a severity, as lines of text.
fn findings(answer: &Value, severity: &str) -> anyhow::Result<Vec<String>> {
    let all = answer["findings"].as_array().context("findings")?;
    let such = all.iter().filter(|finding| finding["severity"] == severity);
    such.map(|finding| {
        let part = |name: &str| finding[name].as_str().filter(|text| !text.is_empty());
        let parts = (part("what"), part("cost"), part("fix"));
        let (Some(what), Some(cost), Some(fix)) = parts else {
            anyhow::bail!("a part is missing: {finding}")
        };
        Ok(format!("{what} | {cost} | {fix}"))
    })
    .collect()
}

fn says_what_is_missing(_guest: &mut Guest) -> anyhow::Result<()> {
    let (code, answer) = ask(&mut verb(&["doctor"]))?;
    let limits = findings(&answer, "limits")?;
    ensure!(answer["backend"] == "lsm" && findings(&answer, "blocks")?.is_empty(), "{answer}");
    ensure!(code == i32::from(!limits.is_empty()), "exit code {code}: {limits:?}");
    let named = |name: &str| limits.iter().any(|line| line.contains(name));
    for name in ["bpf_path_d_path", "bpf_ima_file_hash", "ima_file_hash"] {
        let told = named(&format!("not have {name} |"));
        ensure!(told != has_function(name)?, "{name}: {limits:?}");
    }
    for name in ["userns_create", "uring_sqpoll", "uring_cmd", "path_unlink", "settime"] {
        let there = has_function(&format!("bpf_lsm_{name}"))?;
        ensure!(named(&format!("no hook {name}:")) != there, "{name}: {limits:?}");
    }
    // Whoever is not root learns that first.
    let blocked = |answer: &Value, word: &str| -> anyhow::Result<()> {
        let blocks = findings(answer, "blocks")?;
        ensure!(blocks.len() == 1 && blocks.iter().all(|line| line.contains(word)), "{answer}");
        Ok(())
    };
    let (code, answer) = ask(verb(&["doctor"]).uid(65534))?;
    ensure!(code == 3 && answer["backend"] == "none", "exit code {code}: {answer}");
    blocked(&answer, "not root")?;
    let (code, answer) = with_hidden("/sys/kernel/btf", || ask(&mut verb(&["doctor"])))?;
    ensure!(code == 3, "exit code {code}: {answer}");
    blocked(&answer, "CONFIG_DEBUG_INFO_BTF")?;
    let (code, answer) = with_hidden("/sys/kernel/security", || ask(&mut verb(&["doctor"])))?;
    ensure!(code == 1 && answer["backend"] == "lsm", "exit code {code}: {answer}");
    ensure!(
        findings(&answer, "limits")?.iter().any(|line| line.contains("securityfs")),
        "{answer}"
    );
    fs::write("/proc/sys/kernel/ftrace_enabled", "0")?;
    let asked = ask(&mut verb(&["doctor"]));
    fs::write("/proc/sys/kernel/ftrace_enabled", "1")?;
    let (code, answer) = asked?;
    ensure!(code == 3, "exit code {code}: {answer}");
    blocked(&answer, "ftrace_enabled=1")
}

/// Does something while an empty folder is in the place of another.
fn with_hidden<T>(folder: &str, act: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let busybox = |arguments: &[&str]| Command::new("/bin/busybox").args(arguments).status();
    ensure!(Path::new(folder).exists(), "{folder} is not there to be hidden");
    ensure!(busybox(&["mount", "-t", "tmpfs", "none", folder])?.success(), "mount");
    let result = act();
    ensure!(busybox(&["umount", folder])?.success(), "umount");
    result
}

fn without_bpf_lsm(_guest: &mut Guest) -> anyhow::Result<()> {
    let (code, answer) = ask(&mut verb(&["doctor"]))?;
    ensure!(code == 1 && answer["health"] == "limited", "exit code {code}: {answer}");
    ensure!(answer["backend"] == "fmod_ret", "{answer}");
    let limits = findings(&answer, "limits")?;
    let list = fs::read_to_string("/sys/kernel/security/lsm")?;
    let words = [format!("({})", list.trim()), "lsm=lockdown,yama,bpf".to_owned()];
    let found =
        limits.iter().filter(|line| words.iter().all(|word| line.contains(word.as_str()))).count();
    ensure!(found == 1, "{limits:?}");
    // LSM programs load here all the same, which must not be mistaken for a hook that works.
    let (code, listing) = ask(&mut verb(&["hooks", "file_open"]))?;
    ensure!(code == 0 && rows(&listing)?.iter().all(|row| row["lsm"] == "accepted"), "{listing}");
    let unknown = listing["unknown"].as_array().context("unknown")?;
    ensure!(
        unknown.iter().any(|line| line.as_str().is_some_and(|line| line.contains("never called"))),
        "{listing}"
    );
    Ok(())
}
