//! What is sent, refused by its first bytes: each way to send, and what the kernel does not read.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;

use anyhow::{Context, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::act::call::{at, call};
use super::act::ring::{SQE_BYTES, set_up, submit};
use super::{Boot, Test};
use crate::harness::{Guest, Host, expect_errno, has_rule, kernel, wait_for};
use crate::rule::ruled;

pub(crate) const TESTS: &[Test] = &[
    ("content_refuses_a_login_by_each_way_to_send", Boot::Each, refuses_a_login),
    ("content_that_is_not_read_passes_and_is_counted", Boot::Each, passes_what_is_not_read),
    ("content_peer_of_a_connected_socket_is_its_destination", Boot::Each, knows_the_peer),
];

const EPERM: i32 = 1;
const EACCES: i32 = 13;
/// `IORING_OP_SEND` of `include/uapi/linux/io_uring.h`.
const OP_SEND: u8 = 26;

const LOGIN: &[u8] = b"{\"id\":1,\"method\":\"login\",\"params\":{}}\n";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// The test of the first bytes.
const IS_LOGIN: &str = "content.startsWith('{\"id\":1,\"method\":\"login\"')";

/// A way to send bytes by a socket.
type Send = fn(usize, &[u8]) -> io::Result<usize>;

const WAYS: [(&str, Send); 6] = [
    ("write", |socket, bytes| call(libc::SYS_write, [socket, at(bytes), bytes.len()])),
    ("send", send),
    ("writev", |socket, bytes| {
        // An empty part comes first.
        let parts = [at(b""), 0, at(bytes), bytes.len()];
        call(libc::SYS_writev, [socket, at(&parts), 2])
    }),
    ("sendmsg", |socket, bytes| {
        let (first, rest) = bytes.split_at(1);
        send_parts(socket, &[first, &[], rest])
    }),
    ("sendmmsg", |socket, bytes| {
        let parts = [at(bytes), bytes.len()];
        // A `struct mmsghdr`: a message, and a word for how much of it was sent.
        let message = [0, 0, at(&parts), 1, 0, 0, 0, 0];
        call(libc::SYS_sendmmsg, [socket, at(&message), 1, 0])
    }),
    ("io_uring", |socket, bytes| {
        let (ring, params) = set_up(0)?;
        let mut request = [0; SQE_BYTES];
        request[0] = OP_SEND;
        request[4..8].copy_from_slice(&(socket as i32).to_ne_bytes());
        request[16..24].copy_from_slice(&at(bytes).to_ne_bytes());
        request[24..28].copy_from_slice(&(bytes.len() as u32).to_ne_bytes());
        submit(&ring, &params, &request)
    }),
];

fn send(socket: usize, bytes: &[u8]) -> io::Result<usize> {
    call(libc::SYS_sendto, [socket, at(bytes), bytes.len(), 0, 0, 0])
}

fn send_parts(socket: usize, parts: &[&[u8]]) -> io::Result<usize> {
    let parts: Vec<usize> = parts.iter().flat_map(|part| [at(*part), part.len()]).collect();
    // A `struct msghdr`.
    let message = [0, 0, at(parts.as_slice()), parts.len() / 2, 0, 0, 0];
    call(libc::SYS_sendmsg, [socket, at(&message), 0])
}

/// The descriptor as system calls take it.
fn raw(socket: &impl AsRawFd) -> usize {
    socket.as_raw_fd() as usize
}

/// Both ends of a connection to an address.
fn connection(listener: &TcpListener) -> anyhow::Result<(TcpStream, TcpStream)> {
    let near = TcpStream::connect(listener.local_addr()?)?;
    Ok((near, listener.accept()?.0))
}

/// A datagram socket that receives at an address, and one that is connected to it.
fn datagrams(address: &str) -> anyhow::Result<(UdpSocket, UdpSocket)> {
    let far = UdpSocket::bind(address)?;
    far.set_nonblocking(true)?;
    let any = SocketAddr::new(far.local_addr()?.ip(), 0);
    let near = UdpSocket::bind(any)?;
    near.connect(far.local_addr()?)?;
    Ok((near, far))
}

fn watching(guest: &Guest, watches: &[&str]) -> anyhow::Result<Host> {
    let words = watches.iter().flat_map(|watch| ["--watch", watch]);
    guest.start(&words.map(str::to_owned).collect::<Vec<_>>())
}

/// A login is refused by whatever way it is sent, on a connection of before, too; what else is sent there
/// arrives.
fn refuses_a_login(guest: &mut Guest) -> anyhow::Result<()> {
    let listeners = ["127.0.0.1:7501", "[::1]:7501", "127.0.0.1:7502"].map(TcpListener::bind);
    let [one, six, free] = listeners;
    let (one, six, free) = (one?, six?, free?);
    let before = connection(&one)?;
    // Without it nothing below is refused.
    for (name, way) in WAYS {
        way(raw(&before.0), REQUEST).context(name)?;
    }
    let watch =
        format!("socket_sendmsg: peer, content if port(peer) == 7501 && {IS_LOGIN} deny EACCES");
    let host = watching(guest, &[&watch])?;
    let streams = [before, connection(&one)?, connection(&six)?];
    let packets = [datagrams("127.0.0.1:7501")?, datagrams("[::1]:7501")?];
    let near = streams.iter().map(|(near, _)| raw(near));
    let near = near.chain(packets.iter().map(|(near, _)| raw(near)));
    let mut acts = 0;
    for socket in near {
        for (name, way) in WAYS {
            expect_errno(EACCES, way(socket, LOGIN)).context(name)?;
            way(socket, REQUEST).context(name)?;
            acts += 1;
        }
    }
    let loose = UdpSocket::bind("127.0.0.1:0")?;
    expect_errno(EACCES, loose.send_to(LOGIN, "127.0.0.1:7501"))?;
    loose.send_to(REQUEST, "127.0.0.1:7501")?;
    acts += 1;
    // Another port, and another family.
    let neighbour = connection(&free)?;
    send(raw(&neighbour.0), LOGIN)?;
    let pair = std::os::unix::net::UnixStream::pair()?;
    send(raw(&pair.0), LOGIN)?;
    let records = wait_for("a record of each refusal", || {
        let mut reports = host.reports()?;
        reports.retain(|report| report["verdict"] == "denied" && report["kind"] == "verdict");
        Ok((reports.len() >= acts).then_some(reports))
    })?;
    ensure!(records.len() == acts, "{} records of {acts}", records.len());
    for record in &records {
        ensure!(record["hook"] == "socket_sendmsg" && record["errno"] == "EACCES", "{record}");
        ensure!(has_rule(record) && record["tgid"] == std::process::id(), "{record}");
        let object = record["object"].as_str().context("object")?;
        // The number of the bytes, and none of them.
        let told = ["127.0.0.1:7501 whole:38", "[::1]:7501 whole:38"];
        ensure!(told.contains(&object), "{record}");
    }
    let summary = host.stop(Signal::INT)?;
    ensure!(errors(&summary)? == 0, "{summary}");
    for (near, far) in streams {
        send(raw(&near), LOGIN)?;
        drop(near);
        has_requests_then_a_login(far)?;
    }
    for (_, far) in packets {
        let mut bytes = [0; 64];
        while let Ok(len) = far.recv(&mut bytes) {
            ensure!(&bytes[..len] == REQUEST, "{:?}", &bytes[..len]);
        }
    }
    Ok(())
}

/// What arrived while the host ran was requests; the login is the one of afterwards.
fn has_requests_then_a_login(mut far: TcpStream) -> anyhow::Result<()> {
    let mut text = String::new();
    far.read_to_string(&mut text)?;
    let (requests, login) = text.split_at(text.len() - LOGIN.len());
    ensure!(login.as_bytes() == LOGIN && !requests.contains("login"), "{text}");
    ensure!(requests.matches("GET").count() >= WAYS.len(), "{text}");
    Ok(())
}

/// Errors of the hook.
fn errors(summary: &Value) -> anyhow::Result<u64> {
    let rows = summary["hooks"].as_array().context("hooks")?;
    Ok(rows.iter().filter_map(|row| row["errors"].as_u64()).sum())
}

/// A mapping of a file that nobody has touched yet.
fn untouched(file: &File) -> io::Result<usize> {
    let (protection, flags) = (libc::PROT_READ as usize, libc::MAP_PRIVATE as usize);
    call(libc::SYS_mmap, [0, LOGIN.len(), protection, flags, raw(file), 0])
}

/// What cannot be read decides nothing unless the watch says so, and is told with its reason.
fn passes_what_is_not_read(guest: &mut Guest) -> anyhow::Result<()> {
    let listeners = [7511, 7512, 7513, 7514].map(|port| TcpListener::bind(("127.0.0.1", port)));
    let [lax, strict, told, state] = listeners.map(|listener| connection(&listener?));
    let (lax, strict, told, state) = (lax?, strict?, told?, state?);
    let (packet, _receiver) = datagrams("127.0.0.1:7513")?;
    let path = guest.path("login");
    fs::write(&path, LOGIN)?;
    let file = File::open(&path)?;
    let host = watching(
        guest,
        &[
            &format!("socket_sendmsg: content if port(peer) == 7511 && {IS_LOGIN} deny EACCES"),
            &format!(
                "socket_sendmsg: content if port(peer) == 7512 && {IS_LOGIN} deny EACCES if_unread deny"
            ),
            "socket_sendmsg: content[..256] as sent, size if port(peer) == 7513",
            "socket_sendmsg if port(peer) == 7514 && (state(content) in [\"segments\", \"kernel\"] \
         || content[0] == 0x16 && content[5] in [1, 2]) deny EPERM",
        ],
    )?;
    let message = |memory: usize| [memory, LOGIN.len(), 0];
    let write = |socket: &TcpStream, memory: usize| {
        let [memory, len, _] = message(memory);
        call(libc::SYS_write, [raw(socket), memory, len])
    };
    let memory = untouched(&file)?;
    write(&lax.0, memory).context("memory that is not there")?;
    // By now the kernel has brought it in.
    expect_errno(EACCES, write(&lax.0, memory))?;
    expect_errno(EACCES, write(&strict.0, untouched(&file)?))?;
    write(&told.0, untouched(&file)?)?;
    // Each byte a part: the ninth is not looked at, and the first eight say that it is none.
    let parts: Vec<&[u8]> = LOGIN.chunks(1).collect();
    send_parts(raw(&lax.0), &parts)?;
    let other: Vec<&[u8]> = REQUEST.chunks(1).collect();
    send_parts(raw(&strict.0), &other)?;
    expect_errno(EACCES, send_parts(raw(&strict.0), &parts))?;
    send_parts(raw(&told.0), &parts)?;
    expect_errno(EPERM, send_parts(raw(&state.0), &parts))?;
    send(raw(&told.0), &[b'x'; 300])?;
    send(raw(&packet), b"")?;
    // A handshake of TLS, its greeting; another record of TLS; what is shorter.
    expect_errno(EPERM, send(raw(&state.0), &[0x16, 3, 1, 0, 9, 1, 0, 0]))?;
    send(raw(&state.0), &[0x16, 3, 1, 0, 9, 11, 0, 0])?;
    send(raw(&state.0), &[0x16, 3])?;
    // Pages of the kernel's. Before 6.5 they pass no LSM.
    let is_seen = !matches!(kernel().as_str(), "5.10" | "6.1");
    let sent = call(libc::SYS_sendfile, [raw(&told.0), raw(&file), 0, LOGIN.len()])?;
    ensure!(sent == LOGIN.len(), "{sent} bytes");
    let mut expected = vec!["unread:0", "segments:8", "cut:256", "empty:0"];
    expected.extend(is_seen.then_some("kernel:0"));
    let seen = wait_for("a report of each send", || {
        let mut reports = host.reports()?;
        reports.retain(|report| report["kind"] == "watch" && report["fields"][0][0] == "sent");
        Ok((reports.len() >= expected.len()).then_some(reports))
    })?;
    let states: Vec<&str> =
        seen.iter().filter_map(|report| report["fields"][0][1].as_str()).collect();
    ensure!(states == expected, "{states:?}");
    let summary = host.stop(Signal::INT)?;
    // By the first watch: what was not there, and nine parts. By the second: the same.
    ensure!(errors(&summary)? == 4, "{summary}");
    Ok(())
}

/// A rule on an address that names sends is about a connected socket, and about one that names another address and
/// is connected all the same.
fn knows_the_peer(guest: &mut Guest) -> anyhow::Result<()> {
    let (listener, other) =
        (TcpListener::bind("127.0.0.1:7521")?, TcpListener::bind("[::1]:7522")?);
    let (denied, free) = (connection(&listener)?, connection(&other)?);
    let (packet, _receiver) = datagrams("127.0.0.1:7521")?;
    let mapped = UdpSocket::bind("[::]:0")?;
    mapped.connect("[::ffff:127.0.0.1]:7521")?;
    let (six, _six_receiver) = datagrams("[::1]:7523")?;
    let rules = "network 127.0.0.1/32:7521 13 socket_sendmsg\n\
                 network ::1/128:7523 1 socket_sendmsg";
    let host = ruled(guest, rules, "", &[])?;
    expect_errno(EACCES, send(raw(&denied.0), b"x"))?;
    expect_errno(EACCES, send(raw(&packet), b"x"))?;
    expect_errno(EACCES, send(raw(&mapped), b"x"))?;
    expect_errno(EPERM, send(raw(&six), b"x"))?;
    // TCP looks at no name once it is connected; IPv6 at none without a family.
    let mut name = [0_u8; 28];
    let named = |socket: usize, name: &[u8; 28]| {
        call(libc::SYS_sendto, [socket, at(b"x"), 1, 0, at(name), name.len()])
    };
    expect_errno(EPERM, named(raw(&six), &name))?;
    name[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
    name[2..4].copy_from_slice(&7422_u16.to_be_bytes());
    name[4..8].copy_from_slice(&[127, 0, 0, 1]);
    expect_errno(EACCES, named(raw(&denied.0), &name))?;
    // Of a datagram's socket the name counts.
    named(raw(&packet), &name)?;
    send(raw(&free.0), b"x")?;
    let records = wait_for("six records", || {
        let mut reports = host.reports()?;
        reports.retain(|report| report["verdict"] == "denied");
        Ok((reports.len() >= 6).then_some(reports))
    })?;
    ensure!(records.len() == 6, "{records:#?}");
    for record in records {
        ensure!(record["hook"] == "socket_sendmsg" && has_rule(&record), "{record}");
        let object = record["object"].as_str().context("object")?;
        let to = ["127.0.0.1:7521", "[::1]:7523"];
        ensure!(to.iter().any(|peer| object.contains(peer)), "{record}");
    }
    host.stop(Signal::INT)?;
    send(raw(&denied.0), b"x")?;
    Ok(())
}
