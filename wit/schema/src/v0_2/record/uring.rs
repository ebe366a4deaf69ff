//! Records of io_uring.

records! {
    /// A request runs under other credentials.
    UringOverrideCreds {
        /// Real user id of the credentials.
        uid: Number,
        /// Effective user id of the credentials.
        euid: Number,
    }

    /// A ring wants a polling thread.
    UringSqpoll {}

    /// A command of a driver.
    UringCmd<'a> {
        /// Identity of the file.
        file: File,
        /// Resolved path of the file.
        path: Text<'a>,
        /// The driver's own number for the command.
        command: Number,
    }
}
