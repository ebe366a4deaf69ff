//! Acts on sockets.

use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

pub(super) fn create(_folder: &Path) -> io::Result<()> {
    UnixDatagram::unbound().map(drop)
}

pub(super) fn bind(_folder: &Path) -> io::Result<()> {
    UdpSocket::bind("127.0.0.1:0").map(drop)
}

pub(super) fn listen(_folder: &Path) -> io::Result<()> {
    TcpListener::bind("127.0.0.1:0").map(drop)
}

/// The connection is in the queue before it is accepted.
pub(super) fn accept(_folder: &Path) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let _connection = TcpStream::connect(listener.local_addr()?)?;
    listener.accept().map(drop)
}

/// To a port where nobody listens: a datagram needs nobody.
pub(super) fn send(_folder: &Path) -> io::Result<()> {
    UdpSocket::bind("127.0.0.1:0")?.send_to(b"x", "127.0.0.1:9").map(drop)
}
