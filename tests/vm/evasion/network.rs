//! Ways to a denied destination: other sockets, other spellings of the address, sends without a connect.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::ensure;
use rustix::net::{AddressFamily, SocketType, socket};

use super::call::{at, call};
use super::{EACCES, ECONNREFUSED, denial, denials};
use crate::harness::{Guest, expect_errno, has_rule, listen, wait_for};
use crate::scene::Scene;

/// `struct sockaddr_in`.
const ADDRESS_BYTES: usize = 16;

fn connect(to: &str) -> io::Result<()> {
    let to: SocketAddr = to.parse().map_err(io::Error::other)?;
    TcpStream::connect_timeout(&to, Duration::from_secs(30)).map(drop)
}

/// Connects a datagram socket of a family.
fn connect_datagram(from: &str, to: &str) -> io::Result<()> {
    UdpSocket::bind(from)?.connect(to)
}

/// Sends one byte without a connect, to an IPv4 address in a `sockaddr` of some family.
fn send_to(kind: SocketType, family: i32, to: &str, flags: i32) -> io::Result<()> {
    let to: SocketAddrV4 = to.parse().map_err(io::Error::other)?;
    let socket = socket(AddressFamily::INET, kind, None)?;
    let mut address = [0_u8; ADDRESS_BYTES];
    address[..2].copy_from_slice(&(family as u16).to_ne_bytes());
    address[2..4].copy_from_slice(&to.port().to_be_bytes());
    address[4..8].copy_from_slice(&to.ip().octets());
    let (descriptor, flags) = (socket.as_raw_fd() as usize, flags as usize);
    let arguments = [descriptor, at(b"x"), 1, flags, at(&address), ADDRESS_BYTES];
    call(libc::SYS_sendto, arguments).map(drop)
}

/// A rule on connects holds for every socket that connects, and for the address that is named.
pub(super) fn connects(_: &Guest) -> anyhow::Result<Scene<'_>> {
    let (denied, free) = ("127.0.0.1:7201", "127.0.0.1:7202");
    listen(denied)?;
    // Of both families, as "[::]" says.
    listen("[::]:7202")?;
    listen("[::1]:7203")?;
    let lines = [
        "network 127.0.0.1/32:7201 111 socket_connect",
        "network ::1/128:7203 111 socket_connect",
        "network 127.0.0.1/32:7204 111 socket_bind",
        "network 127.0.0.1/32:7203 111 socket_connect",
    ];
    let scene = Scene::new(lines.map(str::to_owned).to_vec(), move |host| {
        expect_errno(ECONNREFUSED, connect("[::1]:7203"))?;
        expect_errno(ECONNREFUSED, connect(denied))?;
        expect_errno(ECONNREFUSED, connect("[::ffff:127.0.0.1]:7201"))?;
        expect_errno(ECONNREFUSED, connect_datagram("127.0.0.1:0", denied))?;
        expect_errno(ECONNREFUSED, connect_datagram("[::]:0", "[::ffff:127.0.0.1]:7201"))?;
        connect(free)?;
        connect_datagram("127.0.0.1:0", free)?;
        // The kernel takes an unspecified address for the loopback one.
        for unspecified in ["0.0.0.0", "[::]"] {
            expect_errno(ECONNREFUSED, connect(&format!("{unspecified}:7201")))?;
            expect_errno(ECONNREFUSED, connect(&format!("{unspecified}:7203")))?;
            connect(&format!("{unspecified}:7202"))?;
        }
        // Binding to one is no connect.
        drop(TcpListener::bind("0.0.0.0:7204")?);
        // This connects within a send.
        send_to(SocketType::STREAM, libc::AF_INET, denied, libc::MSG_FASTOPEN)?;
        let record = denial(host, "socket_connect", denied, "ruler")?;
        ensure!(record["errno"] == "ECONNREFUSED", "{record}");
        wait_for("four records", || Ok((denials(host, denied)?.len() == 4).then_some(())))?;
        Ok(())
    });
    Ok(scene.ending(move |_| Ok(connect(denied)?)))
}

/// A rule on sends holds for datagrams and for TCP Fast Open, also without a family.
pub(super) fn datagrams(_: &Guest) -> anyhow::Result<Scene<'_>> {
    let (denied, free) = ("127.0.0.1:7211", "127.0.0.1:7212");
    listen(denied)?;
    listen(free)?;
    let receivers = [UdpSocket::bind(denied)?, UdpSocket::bind(free)?];
    for receiver in &receivers {
        receiver.set_nonblocking(true)?;
    }
    let (datagram, stream) = (SocketType::DGRAM, SocketType::STREAM);
    // The kernel sends this as if it were AF_INET.
    send_to(datagram, libc::AF_UNSPEC, denied, 0)?;
    let mut byte = [0];
    wait_for("a datagram", || Ok(receivers[0].recv(&mut byte).ok()))?;
    let came = receivers.each_ref().map(UdpSocket::try_clone);
    let scene =
        Scene::new(vec!["network 127.0.0.1/32:7211 13 socket_sendmsg".to_owned()], move |host| {
            expect_errno(EACCES, send_to(datagram, libc::AF_INET, denied, 0))?;
            expect_errno(EACCES, send_to(datagram, libc::AF_UNSPEC, denied, 0))?;
            expect_errno(
                EACCES,
                UdpSocket::bind("[::]:0")?.send_to(b"x", "[::ffff:127.0.0.1]:7211"),
            )?;
            expect_errno(EACCES, send_to(stream, libc::AF_INET, denied, libc::MSG_FASTOPEN))?;
            send_to(datagram, libc::AF_UNSPEC, free, 0)?;
            send_to(datagram, libc::AF_INET, free, 0)?;
            send_to(stream, libc::AF_INET, free, libc::MSG_FASTOPEN)?;
            let records = wait_for("four records", || {
                let mut reports = host.reports()?;
                reports.retain(|report| {
                    let object = report["object"].as_str().unwrap_or_default();
                    report["verdict"] == "denied" && object.contains(denied)
                });
                Ok((reports.len() >= 4).then_some(reports))
            })?;
            ensure!(records.len() == 4, "{records:#?}");
            for record in records {
                ensure!(
                    record["hook"] == "socket_sendmsg" && record["errno"] == "EACCES",
                    "{record}"
                );
                ensure!(record["plugin"] == "ruler" && has_rule(&record), "{record}");
            }
            Ok(())
        });
    Ok(scene.ending(move |_| {
        let mut numbers = [0_u32; 2];
        for (receiver, number) in came.into_iter().zip(&mut numbers) {
            let receiver = receiver?;
            while receiver.recv(&mut [0]).is_ok() {
                *number += 1;
            }
        }
        ensure!(numbers == [0, 2], "denied and free datagrams: {numbers:?}");
        Ok(())
    }))
}
