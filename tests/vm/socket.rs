//! The socket family: connects denied by destination, by process and by lineage.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use rustix::process::Signal;

use super::{Boot, Test};
use crate::harness::{Connecting, Guest, expect_errno, listen, wait_for};

pub(crate) const TESTS: &[Test] = &[
    ("socket_connect_denied_by_network", Boot::Each, denied_by_network),
    ("socket_connect_denied_by_process", Boot::Each, denied_by_process),
    ("socket_connect_denied_by_lineage", Boot::Each, denied_by_lineage),
];

const ECONNREFUSED: i32 = 111;
const EPERM: i32 = 1;
const REPEAT: [&str; 5] = ["--repeat", "4000", "--every", "50", "-o"];

fn connect(to: &str) -> std::io::Result<TcpStream> {
    let to: SocketAddr = to.parse().map_err(std::io::Error::other)?;
    TcpStream::connect_timeout(&to, Duration::from_secs(5))
}

fn denied_by_network(guest: &mut Guest) -> anyhow::Result<()> {
    for address in
        ["127.0.0.1:7001", "127.0.0.1:7002", "127.9.0.1:7001", "[::1]:7003", "[::1]:7004"]
    {
        listen(address)?;
    }
    let config = "network 127.0.0.0/16:7001 60000 111\nnetwork ::1/128:7003 15000 1";
    let host = guest.host("sentry", config)?;
    // In force before the first event: no waiting.
    expect_errno(ECONNREFUSED, connect("127.0.0.1:7001"))?;
    expect_errno(ECONNREFUSED, connect("[::ffff:127.0.0.1]:7001"))?;
    expect_errno(EPERM, connect("[::1]:7003"))?;
    let object = [("kind", "verdict"), ("hook", "socket_connect"), ("object", "127.0.0.1:7001")];
    let record = host.report(&object)?;
    ensure!(record["verdict"] == "denied" && record["errno"] == "ECONNREFUSED", "{record}");
    ensure!(record["plugin"] == "sentry" && record["rule_id"].as_u64() > Some(0), "{record}");
    // Another port, another network, another family.
    for neighbour in ["127.0.0.1:7002", "127.9.0.1:7001", "[::1]:7004"] {
        connect(neighbour)?;
    }
    wait_for("the rule of 15 s to end", || Ok(connect("[::1]:7003").ok()))?;
    expect_errno(ECONNREFUSED, connect("127.0.0.1:7001"))?;
    host.stop(Signal::INT).map(drop)
}

fn denied_by_process(guest: &mut Guest) -> anyhow::Result<()> {
    listen("127.0.0.1:7010")?;
    let subject = guest.path("subject");
    std::fs::copy("/krsi/stand-in-miner", &subject)?;
    let host = guest.host("sentry", &format!("process {} 60000 1", subject.display()))?;
    let start = |path: &std::path::Path, out| {
        let mut command = Command::new(path);
        command.args(REPEAT).arg("127.0.0.1:7010");
        Connecting::start(&mut command, guest.path(out))
    };
    let denied = start(&subject, "denied")?;
    let neighbour = start("/krsi/stand-in-miner".as_ref(), "neighbour")?;
    denied.wait_for("EPERM")?;
    neighbour.wait_for("ok")?;
    let object = [("kind", "verdict"), ("hook", "socket_connect"), ("object", "127.0.0.1:7010")];
    let record = host.report(&object)?;
    ensure!(record["tgid"] == denied.pid() && record["plugin"] == "sentry", "{record}");
    host.stop(Signal::INT).map(drop)
}

fn denied_by_lineage(guest: &mut Guest) -> anyhow::Result<()> {
    listen("127.0.0.1:7020")?;
    let root = guest.executable("busybox-root")?;
    let host = guest.host("sentry", &format!("lineage {} 60000 1", root.display()))?;
    // One child is there before the rule; its grandchild comes long after, from an orphan.
    let connect = "/krsi/stand-in-miner --repeat 4000 --every 50 -o 127.0.0.1:7020";
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
    command.args(REPEAT).arg("127.0.0.1:7020");
    let neighbour = Connecting::start(&mut command, guest.path("neighbour"))?;
    early.wait_for("EPERM")?;
    File::create(go)?;
    wait_for("the late child to be denied from its first connection on", || {
        let text = std::fs::read_to_string(&late).unwrap_or_default();
        ensure!(!text.contains(": ok"), "a child forked under the rule connected: {text}");
        Ok(text.contains("EPERM").then_some(()))
    })?;
    neighbour.wait_for("ok")?;
    host.report(&[("kind", "verdict"), ("hook", "socket_connect"), ("plugin", "sentry")])?;
    host.stop(Signal::INT)?;
    drop(early);
    Command::new("/bin/killall").args(["stand-in-miner"]).status()?;
    Ok(())
}
