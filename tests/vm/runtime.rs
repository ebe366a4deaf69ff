//! What a plugin may use, and what becomes of one that wants more: nobody else is harmed.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use minisign::KeyPair;
use rustix::process::Signal;

use super::{Boot, Test};
use crate::bomb;
use crate::harness::{Guest, Host, expect_errno, wait_for, wait_for_errno};
use crate::reload::{census, count, host, put, trigger};

pub(crate) const TESTS: &[Test] = &[
    ("runtime_restarts_from_its_checkpoint", Boot::Default, restarts),
    ("runtime_quarantines", Boot::Default, quarantines),
    ("runtime_withdraws_rules_on_request", Boot::Default, withdraws),
    ("runtime_floods", Boot::Default, floods),
    ("runtime_limits_name_themselves", Boot::Default, limits),
    ("runtime_wrong_configuration", Boot::Default, wrong_configuration),
    ("runtime_signature", Boot::Default, signature),
    ("runtime_cached_code", Boot::Default, cached),
    ("runtime_compiles_apart", Boot::Default, apart),
    ("runtime_control", Boot::Default, control),
];

const EACCES: i32 = 13;

fn restarts(guest: &mut Guest) -> anyhow::Result<()> {
    let (host, _plugin) = host(guest, &[])?;
    let denied = guest.file("deny-me")?;
    drop(File::open(&denied));
    wait_for_errno(EACCES, || File::open(&denied))?;
    drop(File::create(guest.path("seq-1")));
    wait_for("the first open", || Ok((count(guest, &host)?.number("opens")? == 1).then_some(())))?;
    // A checkpoint is made with the first batch a second after the last.
    std::thread::sleep(std::time::Duration::from_millis(1200));
    drop(File::create(guest.path("seq-2")));
    wait_for("both opens", || Ok((count(guest, &host)?.number("opens")? == 2).then_some(())))?;
    trigger(guest, "trap-me")?;
    let failure = host.report(&[("kind", "failure"), ("plugin", "census")])?;
    let reason = failure["reason"].as_str().unwrap_or_default();
    ensure!(reason.contains("told to trap by"), "{failure}");
    ensure!(failure["rules"].as_str().is_some_and(|text| text.contains("in 0 ms")), "{failure}");
    let count = count(guest, &host)?;
    ensure!(count.number("opens")? >= 1 && count.word("known") == "true", "{count:?}");
    expect_errno(EACCES, File::open(&denied))?;
    let status = host.status("census")?;
    ensure!(status["restarts"] == 1 && status["state"] == "running", "{status}");
    ensure!(status["lost_plugin"].as_u64() >= Some(1), "{status}");
    host.stop(Signal::INT).map(drop)
}

fn quarantines(guest: &mut Guest) -> anyhow::Result<()> {
    let config = guest.path("host.toml");
    fs::write(&config, "[plugin.census]\nfaults = 3\n")?;
    let (host, plugin) = host(guest, &["--config", &config.display().to_string()])?;
    let denied = guest.file("deny-me")?;
    drop(File::open(&denied));
    wait_for_errno(EACCES, || File::open(&denied))?;
    for fault in 1..=3 {
        trigger(guest, "trap-me")?;
        wait_for("the fault", || {
            let status = host.status("census")?;
            let there = status["faults"] == fault && status["state"] != "waiting";
            Ok(there.then_some(()))
        })?;
    }
    let status = host.status("census")?;
    ensure!(status["state"] == "quarantined", "{status}");
    host.report(&[
        ("kind", "failure"),
        ("rules", "quarantined; its rules stay in force until they expire"),
    ])?;
    // Its rule stands, as its manifest says; a new version runs.
    expect_errno(EACCES, File::open(&denied))?;
    put(&plugin, &census("1.0.001", "TRAP-OFF")?)?;
    host.note(&["census 1.0.001 runs"])?;
    ensure!(count(guest, &host)?.word("by") == "1.0.001", "not by the new one");
    host.stop(Signal::INT).map(drop)
}

/// A plugin whose manifest says so leaves no rule behind when it is given up.
fn withdraws(guest: &mut Guest) -> anyhow::Result<()> {
    let config = guest.path("host.toml");
    fs::write(&config, "[plugin.flooder]\nfaults = 1\n")?;
    let more = ["--config", &config.display().to_string()];
    let host = guest.host_with(&[("flooder", "")], &more)?;
    trigger(guest, "flood-actions")?;
    wait_for("the rules", || Ok((host.status("flooder")?["rules"] == 1024).then_some(())))?;
    trigger(guest, "flood-stack")?;
    host.report(&[("kind", "failure"), ("rules", "quarantined; its 1024 rules were withdrawn")])?;
    let status = host.status("flooder")?;
    ensure!(status["state"] == "quarantined" && status["rules"] == 0, "{status}");
    let summary = host.stop(Signal::INT)?;
    ensure!(summary["plugins"][0]["state"] == "quarantined", "{summary}");
    Ok(())
}

fn floods(guest: &mut Guest) -> anyhow::Result<()> {
    let mut host = guest.host_with(&[("flooder", ""), ("tracer", "")], &[])?;
    trigger(guest, "flood-log")?;
    trigger(guest, "flood-alerts")?;
    trigger(guest, "flood-actions")?;
    let beyond = "3976 actions: more than the 1024 actions of one call";
    host.report(&[("kind", "refusal"), ("plugin", "flooder"), ("reason", beyond)])?;
    trigger(guest, "flood-report")?;
    let is_report = |report: &serde_json::Value| {
        let text = report["text"].as_str().unwrap_or_default();
        // Each late action was answered: 3976 rules, and 976 alerts of the call before.
        text.starts_with("done 1024 refused 4952 ") && !text.ends_with("ticks 0")
    };
    // Alerts are rationed: the report comes through once the second is over. Time goes on for it too.
    wait_for("the report", || {
        trigger(guest, "flood-report")?;
        Ok(host.reports()?.iter().any(is_report).then_some(()))
    })?;
    trigger(guest, "trace-me")?;
    host.report(&[("kind", "alert"), ("plugin", "tracer"), ("technique", "T1622")])?;
    ensure!(host.is_running()?, "the host ended");
    let status = host.status("flooder")?;
    ensure!(status["state"] == "running" && status["rules"] == 1024, "{status}");
    let alerts = host.reports()?.into_iter().filter(|report| report["text"] == "flood").count();
    ensure!((1..=400).contains(&alerts), "{alerts} alerts");
    let stderr = host.stderr().len();
    ensure!(stderr < 200_000, "{stderr} bytes of log");
    // What a rate left out is no loss of standard output.
    let output = host.whole_status()?["output"].clone();
    let left_out = output["left_out"].as_u64();
    ensure!(output["lost"] == 0 && left_out > Some(800), "{output}");
    let (done, text) = host.ask(&["status"])?;
    ensure!(done && text.contains("beyond the rate") && !text.contains("did not take"), "{text}");
    let summary = host.stop(Signal::INT)?;
    let rows = summary["plugins"].as_array().context("plugins")?;
    let row = rows.iter().find(|row| row["plugin"] == "flooder").context("flooder")?;
    ensure!(row["log_dropped"].as_u64() > Some(9000), "{row}");
    let lost = |place: &str| {
        let mut places = summary["lost"].as_array().into_iter().flatten();
        let row = places.find(|row| row[0] == place);
        row.and_then(|row| row[1].as_u64()).with_context(|| format!("{place}: {summary}"))
    };
    ensure!(lost("output")? == 0 && Some(lost("rate")?) >= left_out, "{summary}");
    Ok(())
}

fn limits(guest: &mut Guest) -> anyhow::Result<()> {
    let config = guest.path("host.toml");
    fs::write(
        &config,
        "[defaults]\nfaults = 9\n[plugin.flooder]\nstack-kib = 128\nstate-kib = 64\n",
    )?;
    let more = ["--config", &config.display().to_string()];
    let host = guest.host_with(&[("flooder", ""), ("tracer", "")], &more)?;
    let check = |act: &str, words: &str| -> anyhow::Result<()> {
        trigger(guest, act)?;
        wait_for(words, || {
            let has = |report: &serde_json::Value| {
                let reason = report["reason"].as_str().unwrap_or_default();
                let mut frames = report["backtrace"].as_array().into_iter().flatten();
                let ends = |frame: &serde_json::Value| {
                    frame.as_str().is_some_and(|frame| frame.ends_with(words))
                };
                report["kind"] == "failure" && (reason.contains(words) || frames.any(ends))
            };
            Ok(host.reports()?.iter().any(has).then_some(()))
        })
        .with_context(|| format!("{:#?}", host.reports()))?;
        wait_for(
            "the restart",
            || Ok((host.status("flooder")?["state"] == "running").then_some(())),
        )
    };
    check("flood-stack", "overflowed its stack, the limit is 128 KiB")?;
    check("flood-stack", "]::deep")?;
    check("flood-output", "the limit is 1048576")?;
    trigger(guest, "flood-state")?;
    std::thread::sleep(std::time::Duration::from_millis(1200));
    check("flood-report", "snapshot")?;
    host.stop(Signal::INT).map(drop)
}

fn wrong_configuration(guest: &mut Guest) -> anyhow::Result<()> {
    let config = guest.path("host.toml");
    for (text, words) in [
        (
            "[plugin.miner]\nmemroy-mib = 8\n",
            &["host.toml", "memroy-mib", "line 2", "memory-mib"][..],
        ),
        ("[defaults]\nstack-kib = 1\n", &["stack-kib = 1 is not from 64 to 1024"][..]),
        ("[defaults]\nerrnos = [\"EWHAT\"]\n", &["EWHAT"][..]),
    ] {
        fs::write(&config, text)?;
        let mut command = Command::new("/krsi/krsi-host");
        command.args(["--plugin", "/krsi/miner.wasm", "--config"]).arg(&config);
        let refused = guest.refused(&mut command)?;
        ensure!(refused.code == Some(2), "{refused:?}");
        for word in words {
            ensure!(refused.stderr.contains(word), "no {word:?} in {}", refused.stderr);
        }
    }
    Ok(())
}

pub(crate) fn sign(key: &KeyPair, plugin: &Path) -> anyhow::Result<()> {
    let data = File::open(plugin)?;
    let signature = minisign::sign(None, &key.sk, data, None, None)?;
    let mut path = plugin.as_os_str().to_owned();
    path.push(".minisig");
    Ok(fs::write(path, signature.into_string())?)
}

fn signature(guest: &mut Guest) -> anyhow::Result<()> {
    let (key, other) =
        (KeyPair::generate_unencrypted_keypair()?, KeyPair::generate_unencrypted_keypair()?);
    let public = guest.path("key.pub");
    fs::write(&public, key.pk.to_box()?.into_string())?;
    let plugin = guest.path("census.wasm");
    put(&plugin, &census("1.0.000", "TRAP-OFF")?)?;
    let refuses = |words: &[&str]| -> anyhow::Result<()> {
        let mut command = Command::new("/krsi/krsi-host");
        command.arg("--plugin").arg(&plugin).arg("--require-signed").arg(&public);
        let refused = guest.refused(&mut command)?;
        ensure!(refused.code == Some(4), "{refused:?}");
        let has = |word: &&str| refused.stderr.contains(*word);
        ensure!(words.iter().all(has), "no {words:?} in {}", refused.stderr);
        Ok(())
    };
    refuses(&["census.wasm: not signed", "census.wasm.minisig", "minisign -Sm"])?;
    sign(&other, &plugin)?;
    refuses(&["census.wasm: its signature is not one of key"])?;
    // Nothing is parsed before: what is no Wasm at all is refused for its signature.
    put(&plugin, b"no Wasm")?;
    refuses(&["census.wasm: its signature is not one of key"])?;
    put(&plugin, &census("1.0.000", "TRAP-OFF")?)?;
    sign(&key, &plugin)?;
    let arguments = ["--plugin", "", "--require-signed", ""];
    let mut arguments = arguments.map(str::to_owned);
    arguments[1] = plugin.display().to_string();
    arguments[3] = public.display().to_string();
    let host = guest.start(&arguments)?;
    let id = host.status("census")?["signed_by"].as_str().unwrap_or_default().to_owned();
    ensure!(fs::read_to_string(&public)?.contains(&id) && id.len() == 16, "{id}");
    // Signed bytes that were changed afterwards do not take over.
    put(&plugin, &census("1.0.001", "TRAP-OFF")?)?;
    host.note(&["census.wasm: its signature is not one of key", &id])?;
    ensure!(host.status("census")?["version"] == "1.0.000", "{}", host.status("census")?);
    // Their signature comes later, and they do.
    sign(&key, &plugin)?;
    host.note(&["census 1.0.001 runs", "in place of 1.0.000"])?;
    host.stop(Signal::INT).map(drop)
}

fn cached(guest: &mut Guest) -> anyhow::Result<()> {
    let folder = guest.path("cache");
    let plugin = guest.path("census.wasm");
    put(&plugin, &census("1.0.000", "TRAP-OFF")?)?;
    let start = |words: &[&str]| -> anyhow::Result<()> {
        let arguments = ["--plugin", &plugin.display().to_string(), "--cache-dir"];
        let mut arguments: Vec<String> = arguments.iter().map(|word| (*word).into()).collect();
        arguments.push(folder.display().to_string());
        let host = guest.start(&arguments)?;
        host.note(words)?;
        host.stop(Signal::INT).map(drop)
    };
    start(&["census 1.0.000 runs", "compiled"])?;
    start(&["census 1.0.000 runs", "from the cache"])?;
    ensure!(fs::metadata(&folder)?.permissions().mode() & 0o777 == 0o700, "the folder is open");
    let code = fs::read_dir(&folder)?.flatten().map(|entry| entry.path());
    let code = code.filter(|path| path.extension().is_some_and(|is| is == "code"));
    let code = code.collect::<Vec<_>>();
    ensure!(code.len() == 1, "{code:?}");
    // One bit of machine code.
    let mut bytes = fs::read(&code[0])?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    OpenOptions::new().write(true).mode(0o600).open(&code[0])?.write_all(&bytes)?;
    start(&["census 1.0.000 runs", "failed its check"])?;
    start(&["census 1.0.000 runs", "from the cache"])?;
    // Code of another host, well tagged there, is foreign here.
    fs::write(folder.join("key"), [7; 64])?;
    start(&["census 1.0.000 runs", "failed its check"])?;
    // A folder that others may enter is refused.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    let mut command = Command::new("/krsi/krsi-host");
    command.arg("--plugin").arg(&plugin).arg("--cache-dir").arg(&folder);
    let refused = guest.refused(&mut command)?;
    ensure!(
        refused.code == Some(1) && refused.stderr.contains("others than its owner"),
        "{refused:?}"
    );
    Ok(())
}

fn apart(guest: &mut Guest) -> anyhow::Result<()> {
    // The child of a running host is nobody, and what is too much for it costs an error.
    let folder = guest.path("plugins");
    fs::create_dir_all(&folder)?;
    let words = ["--plugin-dir", &folder.display().to_string(), "--compile-seconds", "15"];
    let mut arguments: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    arguments.extend(["--plugin".into(), "/krsi/tracer.wasm".into()]);
    let mut host = guest.start(&arguments)?;
    let before = host.status("tracer")?;
    ensure!(before["state"] == "running", "{before}");
    put(&folder.join("bomb.wasm"), &bomb::plant(&fs::read("/krsi/tracer.wasm")?)?)?;
    let child = wait_for("the child", || Ok(child_of(host.pid())))?;
    let status = fs::read_to_string(format!("/proc/{child}/status"))?;
    ensure!(status.contains("Uid:\t65534\t65534\t65534\t65534"), "{status}");
    ensure!(status.contains("CapEff:\t0000000000000000"), "{status}");
    ensure!(status.contains("NoNewPrivs:\t1"), "{status}");
    let limits = fs::read_to_string(format!("/proc/{child}/limits"))?;
    for (what, most) in [
        ("Max address space", "1073741824"),
        ("Max cpu time", "15"),
        ("Max file size", "0"),
        ("Max core file size", "0"),
        ("Max open files", "3"),
    ] {
        let line = limits.lines().find_map(|line| line.strip_prefix(what)).unwrap_or_default();
        ensure!(line.split_whitespace().nth(1) == Some(most), "{what}: {limits}");
    }
    host.note(&["bomb.wasm", "compiling it takes more than", "do not trust this file"])?;
    ensure!(host.is_running()?, "the host ended");
    trigger(guest, "trace-me")?;
    host.report(&[("kind", "alert"), ("plugin", "tracer"), ("technique", "T1622")])?;
    host.stop(Signal::INT).map(drop)
}

/// The compiling child of a host, once it has given up what it had.
fn child_of(host: u32) -> Option<String> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let named = processes.filter_map(|entry| entry.file_name().into_string().ok());
    named.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).find(|pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.contains(&format!("PPid:\t{host}\n")) && status.contains("Uid:\t65534")
    })
}

fn control(guest: &mut Guest) -> anyhow::Result<()> {
    let host = guest.host("tracer", "")?;
    let (asked, text) = host.ask(&["status"])?;
    ensure!(asked && text.contains("tracer") && text.contains("running"), "{text}");
    // Only root is heard, and only lines of the protocol.
    let socket = guest.path("control.sock");
    ensure!(fs::metadata(&socket)?.permissions().mode() & 0o777 == 0o600, "the socket is open");
    let raw = |bytes: &[u8]| -> anyhow::Result<String> {
        use std::io::Read;
        let mut stream = std::os::unix::net::UnixStream::connect(&socket)?;
        // The host may have answered and gone before all is written.
        let _written = stream.write_all(bytes);
        let mut text = String::new();
        let _read = stream.read_to_string(&mut text);
        Ok(text)
    };
    for bad in [&b"{}\n"[..], b"{\"ask\":\"halt\"}\n", b"\xff\xfe\n", &[b'x'; 10_000]] {
        let answer = raw(bad)?;
        ensure!(answer.is_empty() || answer.contains("refused"), "{answer}");
    }
    let good = raw(b"{\"ask\":\"status\"}\n")?;
    ensure!(good.contains("\"tracer\""), "{good}");
    let second = second_host(guest, &socket)?;
    ensure!(second.contains("another krsi-host listens there"), "{second}");
    let gone = host_stopped(host, &socket)?;
    ensure!(gone.contains("no krsi-host answers there"), "{gone}");
    Ok(())
}

fn second_host(guest: &Guest, socket: &Path) -> anyhow::Result<String> {
    let mut command = Command::new("/krsi/krsi-host");
    command.args(["--plugin", "/krsi/tracer.wasm", "--control"]);
    Ok(guest.refused(command.arg(socket))?.stderr)
}

fn host_stopped(host: Host, socket: &Path) -> anyhow::Result<String> {
    host.stop(Signal::INT)?;
    let mut command = Command::new("/krsi/krsi-host");
    let output = command.args(["status", "--control"]).arg(socket).output()?;
    ensure!(!output.status.success(), "{output:?}");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}
