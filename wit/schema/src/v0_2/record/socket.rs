//! Records of sockets.

records! {
    /// A socket is made.
    SocketCreate {
        /// Address family, `AF_*`.
        family: Number,
        /// Socket type, `SOCK_*`.
        kind: Number,
        /// `IPPROTO_*`, or what the family makes of it.
        protocol: Signed,
        /// 1 when the kernel makes it for itself.
        for_kernel: Number,
    }

    /// A socket is given a local address.
    SocketBind<'a> {
        /// Local address that the socket is given.
        address: Address<'a>,
        /// `AF_*` of the socket.
        family: Number,
        /// Socket type, `SOCK_*`.
        kind: Number,
        /// Protocol, `IPPROTO_*`.
        protocol: Number,
    }

    /// A socket is to accept connections.
    SocketListen {
        /// Address family, `AF_*`.
        family: Number,
        /// Socket type, `SOCK_*`.
        kind: Number,
        /// Protocol, `IPPROTO_*`.
        protocol: Number,
        /// Local port.
        port: Number,
        /// Connections that may wait.
        backlog: Signed,
    }

    /// A connection is accepted.
    SocketAccept {
        /// Address family, `AF_*`.
        family: Number,
        /// Socket type, `SOCK_*`.
        kind: Number,
        /// Protocol, `IPPROTO_*`.
        protocol: Number,
        /// Local port.
        port: Number,
    }

    /// Data is sent.
    SocketSendmsg<'a> {
        /// Where the message goes: the address that it names, or the socket's peer.
        address: Address<'a>,
        /// `AF_*` of the socket.
        family: Number,
        /// Socket type, `SOCK_*`.
        kind: Number,
        /// Protocol, `IPPROTO_*`.
        protocol: Number,
        /// Bytes of the message.
        size: Signed,
    }
}
