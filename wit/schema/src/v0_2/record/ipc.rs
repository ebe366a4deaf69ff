//! Records of keys and System V IPC objects.

records! {
    /// A key is made.
    KeyAlloc<'a> {
        /// Type of the key.
        kind: Text<'a>,
        /// Description of the key.
        description: Text<'a>,
        /// Owner of the key.
        uid: Number,
        /// `KEY_ALLOC_*` flags.
        flags: Number,
    }

    /// A key is used.
    KeyPermission {
        /// Use of the key, `KEY_NEED_*`.
        need: Number,
        /// User id it is used by.
        uid: Number,
    }

    /// A System V IPC object is used.
    IpcPermission {
        /// Key of the object.
        key: Signed,
        /// Id of the object.
        id: Signed,
        /// Owner of the object.
        uid: Number,
        /// Permission bits of the object.
        mode: Number,
        /// Permission bits that are wanted.
        wanted: Number,
    }

    /// Shared memory is attached.
    ShmShmat {
        /// Key of the object.
        key: Signed,
        /// Id of the object.
        id: Signed,
        /// Owner of the object.
        uid: Number,
        /// `SHM_*` flags.
        flags: Number,
    }

    /// A message is sent to a queue.
    MsgQueueMsgsnd {
        /// Key of the object.
        key: Signed,
        /// Id of the object.
        id: Signed,
        /// Owner of the object.
        uid: Number,
        /// Type of the message.
        kind: Signed,
        /// Bytes of the message.
        size: Number,
        /// `IPC_*` and `MSG_*` flags.
        flags: Number,
    }

    /// Semaphores are operated.
    SemSemop {
        /// Key of the object.
        key: Signed,
        /// Id of the object.
        id: Signed,
        /// Owner of the object.
        uid: Number,
        /// Number of operations.
        operations: Number,
        /// 1 when they change a value.
        alters: Number,
    }
}
