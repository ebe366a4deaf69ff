//! The socket family: connects denied by destination, protocol, process and lineage.

use std::fs::File;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::net::{AddressFamily, SocketType, ipproto, socket};
use rustix::process::Signal;

use super::{Boot, Test};
use crate::harness::{Connecting, Guest, Host, expect_errno, has_rule, kernel, listen, wait_for};
use crate::rule::RULED;
use crate::scene::{SENTRY, Scene, SceneTest};

pub(crate) const TESTS: &[Test] =
    &[("lineage_beyond_its_marks_is_told", Boot::Default, beyond_marks)];

pub(crate) const SCENES: &[SceneTest] = &[
    ("socket_connect_denied_by_network", Boot::Each, &SENTRY, denied_by_network),
    ("socket_connect_denied_by_protocol", Boot::Each, &RULED, denied_by_protocol),
    ("socket_connect_denied_by_process", Boot::Each, &SENTRY, denied_by_process),
    ("socket_connect_denied_by_lineage", Boot::Each, &SENTRY, denied_by_lineage),
];

const ECONNREFUSED: i32 = 111;
const EPERM: i32 = 1;
const EPROTONOSUPPORT: i32 = 93;
const REPEAT: [&str; 5] = ["--repeat", "4000", "--every", "50", "-o"];

fn connect(to: &str) -> std::io::Result<TcpStream> {
    let to: SocketAddr = to.parse().map_err(std::io::Error::other)?;
    TcpStream::connect_timeout(&to, Duration::from_secs(5))
}

fn denied_by_network(_: &Guest) -> anyhow::Result<Scene<'_>> {
    for address in
        ["127.0.0.1:7001", "127.0.0.1:7002", "127.9.0.1:7001", "[::1]:7003", "[::1]:7004"]
    {
        listen(address)?;
    }
    let lines =
        ["network 127.0.0.0/16:7001 600000 111", "network ::1/128:7003 15000 1"].map(str::to_owned);
    Ok(Scene::new(lines.to_vec(), |host| {
        // In force before the first event: no waiting.
        expect_errno(ECONNREFUSED, connect("127.0.0.1:7001"))?;
        expect_errno(ECONNREFUSED, connect("[::ffff:127.0.0.1]:7001"))?;
        expect_errno(EPERM, connect("[::1]:7003"))?;
        let object =
            [("kind", "verdict"), ("hook", "socket_connect"), ("object", "127.0.0.1:7001")];
        let record = host.report(&object)?;
        ensure!(record["verdict"] == "denied" && record["errno"] == "ECONNREFUSED", "{record}");
        ensure!(record["plugin"] == "sentry" && has_rule(&record), "{record}");
        // Another port, another network, another family.
        for neighbour in ["127.0.0.1:7002", "127.9.0.1:7001", "[::1]:7004"] {
            connect(neighbour)?;
        }
        wait_for("the rule of 15 s to end", || Ok(connect("[::1]:7003").ok()))?;
        expect_errno(ECONNREFUSED, connect("127.0.0.1:7001"))
    }))
}

/// Connects a TCP socket that may take several ways.
fn connect_mptcp(to: &str) -> std::io::Result<()> {
    let to: SocketAddr = to.parse().map_err(std::io::Error::other)?;
    let socket = socket(AddressFamily::INET, SocketType::STREAM, Some(ipproto::MPTCP))?;
    Ok(rustix::net::connect(&socket, &to)?)
}

/// One destination, other sockets: a rule that names a protocol is about those of it, at every hook that
/// has one.
fn denied_by_protocol(_: &Guest) -> anyhow::Result<Scene<'_>> {
    let (one, other) = ("127.0.0.1:7031", "127.0.0.1:7032");
    listen(one)?;
    listen(other)?;
    let datagram = UdpSocket::bind("127.0.0.1:0")?;
    // Debian's 5.10 is built without it.
    let has_mptcp = kernel() != "5.10";
    match has_mptcp {
        true => connect_mptcp(other).context("MPTCP")?,
        false => expect_errno(EPROTONOSUPPORT, connect_mptcp(other))?,
    }
    let lines = [
        "network 127.0.0.1/32:7031 111 socket_connect udp",
        "network 127.0.0.1/32:7031 1 socket_sendmsg udp",
        "network 127.0.0.1/32:7032 1 socket_connect tcp",
        "network 127.0.0.1/32:7032 1 socket_sendmsg tcp",
    ];
    let again = datagram.try_clone()?;
    let scene = Scene::new(lines.map(str::to_owned).to_vec(), move |host| {
        host.report(&[
            ("kind", "rule"),
            ("text", "deny socket_connect on 127.0.0.1/32 port 7031 protocol 17"),
        ])?;
        expect_errno(ECONNREFUSED, datagram.connect(one))?;
        expect_errno(EPERM, datagram.send_to(b"x", one))?;
        connect(one)?;
        expect_errno(EPERM, connect(other))?;
        if has_mptcp {
            connect_mptcp(one)?;
            expect_errno(EPERM, connect_mptcp(other))?;
        }
        datagram.send_to(b"x", other)?;
        datagram.connect(other)?;
        let acts = [
            ("socket_connect", one, "ECONNREFUSED", 1),
            ("socket_sendmsg", one, "EPERM", 1),
            ("socket_connect", other, "EPERM", 1 + usize::from(has_mptcp)),
        ];
        acts.into_iter().try_for_each(|act| told_of_protocol(host, act))
    });
    Ok(scene.ending(move |_| {
        connect(other)?;
        Ok(again.connect(one)?)
    }))
}

/// That so many denials of a destination are told, with their errno.
fn told_of_protocol(
    host: &Host,
    (hook, object, errno, count): (&str, &str, &str, usize),
) -> anyhow::Result<()> {
    let records = wait_for("a record of each denial", || {
        let mut reports = host.reports()?;
        reports.retain(|report| {
            let text = report["object"].as_str().unwrap_or_default();
            report["kind"] == "verdict" && report["hook"] == hook && text.contains(object)
        });
        Ok((reports.len() >= count).then_some(reports))
    })?;
    ensure!(records.len() == count, "{records:#?}");
    for record in records {
        ensure!(record["errno"] == errno && record["plugin"] == "ruler", "{record}");
        ensure!(has_rule(&record), "{record}");
    }
    Ok(())
}

fn denied_by_process(guest: &Guest) -> anyhow::Result<Scene<'_>> {
    listen("127.0.0.1:7010")?;
    let subject = guest.path("subject");
    std::fs::copy("/krsi/stand-in-miner", &subject)?;
    let line = format!("process {} 600000 1", subject.display());
    Ok(Scene::new(vec![line], move |host| {
        let start = |path: &std::path::Path, out| {
            let mut command = Command::new(path);
            command.args(REPEAT).arg("127.0.0.1:7010");
            Connecting::start(&mut command, guest.path(out))
        };
        let denied = start(&subject, "denied")?;
        let neighbour = start("/krsi/stand-in-miner".as_ref(), "neighbour")?;
        denied.wait_for("EPERM")?;
        neighbour.wait_for("ok")?;
        let object =
            [("kind", "verdict"), ("hook", "socket_connect"), ("object", "127.0.0.1:7010")];
        let record = host.report(&object)?;
        ensure!(record["tgid"] == denied.pid() && record["plugin"] == "sentry", "{record}");
        Ok(())
    }))
}

/// Marks that the host may give, and processes of one lineage.
const MARKS: usize = 16;
const FORKS: usize = 40;

/// A descendant that finds no mark is outside its lineage's rule: it is counted, and told at once.
fn beyond_marks(guest: &mut Guest) -> anyhow::Result<()> {
    let root = guest.executable("busybox-root")?;
    let config = guest.path("krsi.toml");
    std::fs::write(&config, format!("[rules.capacity]\nmarks = {MARKS}\n"))?;
    let rules = format!("lineage {} 60000 1", root.display());
    let config = config.display().to_string();
    let host = guest.host_with(&[("sentry", &rules)], &["--config", &config])?;
    let (go, over) = (guest.path("go"), guest.path("over"));
    let sleep = format!("(until [ -e {} ]; do sleep 1; done) &", over.display());
    let script = format!(
        "until [ -e {} ]; do usleep 50000; done; for i in $(seq {FORKS}); do {sleep} done; wait",
        go.display()
    );
    let mut child = Command::new(&root).args(["sh", "-c", &script]).spawn()?;
    host.report(&[("kind", "rule"), ("plugin", "sentry")])?;
    ensure!(!host.stderr().contains("marks"), "{}", host.stderr());
    File::create(go)?;
    wait_for("a word of the marks", || Ok(host.stderr().contains("raise `marks`").then_some(())))?;
    let summary = host.stop(Signal::INT)?;
    File::create(over)?;
    child.wait()?;
    let rows = summary["hooks"].as_array().context("hooks")?;
    let row = rows.iter().find(|row| row["hook"] == "sched_process_fork").context("forks")?;
    ensure!(row["lost_marks"].as_u64() >= Some((FORKS - MARKS) as u64), "{row}");
    Ok(())
}

fn denied_by_lineage(guest: &Guest) -> anyhow::Result<Scene<'_>> {
    let pool = "127.0.0.1:7020";
    listen(pool)?;
    let root = guest.executable("busybox-root")?;
    let line = format!("lineage {} 600000 1", root.display());
    Ok(Scene::new(vec![line], move |host| {
        // One child is there before the rule; its grandchild comes long after, from an orphan.
        let connect = format!("/krsi/stand-in-miner --repeat 4000 --every 50 -o {pool}");
        let (late, go) = (guest.path("late"), guest.path("go"));
        let script = format!(
            "{connect} & (until [ -e {} ]; do sleep 1; done; {connect} > {}) & wait",
            go.display(),
            late.display()
        );
        let mut command = Command::new(&root);
        command.args(["sh", "-c", &script]);
        let early = Connecting::start(&mut command, guest.path("early"))?;
        let mut command = Command::new("/krsi/stand-in-miner");
        command.args(REPEAT).arg(pool);
        let neighbour = Connecting::start(&mut command, guest.path("neighbour"))?;
        early.wait_for("EPERM")?;
        File::create(go)?;
        wait_for("the late child to be denied from its first connection on", || {
            let text = std::fs::read_to_string(&late).unwrap_or_default();
            ensure!(!text.contains(": ok"), "a child forked under the rule connected: {text}");
            Ok(text.contains("EPERM").then_some(()))
        })?;
        neighbour.wait_for("ok")?;
        let fields = [("kind", "verdict"), ("hook", "socket_connect"), ("object", pool)];
        let record = host.report(&fields)?;
        ensure!(record["plugin"] == "sentry", "{record}");
        drop(early);
        Command::new("/bin/killall").args(["stand-in-miner"]).status()?;
        Ok(())
    }))
}
