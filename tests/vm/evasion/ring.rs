//! Opens and connects through io_uring, by the submitting thread and by a worker of the kernel's.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddrV4;
use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::{Context, ensure};
use rustix::net::{AddressFamily, SocketType, socket};

use super::call::{at, call, path};
use super::{EACCES, ECONNREFUSED, denial, denials};
use crate::act::ring::{Params, SQE_BYTES, set_up, submit};
use crate::harness::{Guest, expect_errno, listen, wait_for, wait_for_errno};
use crate::scene::Scene;

/// `IORING_OP_*` and `IOSQE_ASYNC` of `include/uapi/linux/io_uring.h`.
const OP_CONNECT: u8 = 16;
const OP_OPENAT: u8 = 18;
const BY_WORKER: u8 = 1 << 4;
/// `struct sockaddr_in`.
const ADDRESS_BYTES: usize = 16;

/// A request of `struct io_uring_sqe`: code, flags, descriptor, `off`, `addr`.
fn request(code: u8, flags: u8, descriptor: i32, off: usize, addr: usize) -> [u8; SQE_BYTES] {
    let mut request = [0; SQE_BYTES];
    request[..2].copy_from_slice(&[code, flags]);
    request[4..8].copy_from_slice(&descriptor.to_ne_bytes());
    request[8..16].copy_from_slice(&off.to_ne_bytes());
    request[16..24].copy_from_slice(&addr.to_ne_bytes());
    request
}

fn perform(request: &[u8; SQE_BYTES]) -> io::Result<usize> {
    let (ring, params): (_, Params) = set_up(0)?;
    submit(&ring, &params, request)
}

fn open(file: &Path, flags: u8) -> io::Result<()> {
    let name = path(file)?;
    let request = request(OP_OPENAT, flags, libc::AT_FDCWD, 0, at(name.to_bytes_with_nul()));
    let descriptor = perform(&request)?;
    call(libc::SYS_close, [descriptor]).map(drop)
}

fn connect(to: &str, flags: u8) -> io::Result<()> {
    let to: SocketAddrV4 = to.parse().map_err(io::Error::other)?;
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    let mut address = [0_u8; ADDRESS_BYTES];
    address[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
    address[2..4].copy_from_slice(&to.port().to_be_bytes());
    address[4..8].copy_from_slice(&to.ip().octets());
    let descriptor = socket.as_raw_fd();
    perform(&request(OP_CONNECT, flags, descriptor, ADDRESS_BYTES, at(&address))).map(drop)
}

pub(super) fn opens_and_connects(guest: &Guest) -> anyhow::Result<Scene<'_>> {
    let (secret, neighbour) = (guest.file("secret")?, guest.file("neighbour")?);
    let (denied, free) = ("127.0.0.1:7301", "127.0.0.1:7302");
    listen(denied)?;
    listen(free)?;
    let rules = vec![
        format!("open {} 600000 13", secret.display()),
        "network 127.0.0.1/32:7301 600000 111".to_owned(),
    ];
    // A kernel whose io_uring is off would answer with another errno: that is no pass.
    open(&secret, 0).context("io_uring")?;
    connect(denied, 0).context("io_uring")?;
    let again = secret.clone();
    let scene = Scene::new(rules, move |host| {
        drop(File::open(&secret)?);
        wait_for_errno(EACCES, || File::open(&secret))?;
        for flags in [0, BY_WORKER] {
            expect_errno(EACCES, open(&secret, flags))?;
            expect_errno(ECONNREFUSED, connect(denied, flags))?;
            open(&neighbour, flags)?;
            connect(free, flags)?;
        }
        let object = secret.to_string_lossy();
        let acts =
            [("file_open", &*object, "EACCES", 3), ("socket_connect", denied, "ECONNREFUSED", 2)];
        for (hook, object, errno, count) in acts {
            denial(host, hook, object, "sentry")?;
            let records = wait_for("a record of each act", || {
                let records = denials(host, object)?;
                Ok((records.len() == count).then_some(records))
            })?;
            for record in records {
                // A worker's call is its submitter's.
                ensure!(
                    record["tgid"] == std::process::id() && record["errno"] == errno,
                    "{record}"
                );
            }
        }
        Ok(())
    });
    Ok(scene.ending(move |_| Ok(fs::read_to_string(&again).map(drop)?)))
}
