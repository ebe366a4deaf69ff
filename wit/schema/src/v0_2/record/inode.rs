//! Records of names and attributes, without the mount they are in: what kernels without `path_*` hooks have.

records! {
    /// A name is removed.
    InodeUnlink<'a> {
        /// Identity of the file.
        file: File,
        /// Identity of the folder.
        parent: File,
        /// Path within its mount.
        path: Text<'a>,
    }

    /// A name is moved.
    InodeRename<'a> {
        /// Identity of the file.
        file: File,
        /// Identity of the file that it replaces, if there is one.
        replaced: File,
        /// Path within its mount.
        path: Text<'a>,
        /// Path to be, within the same mount.
        new_path: Text<'a>,
    }

    /// A folder is made.
    InodeMkdir<'a> {
        /// Identity of the folder it is made in.
        parent: File,
        /// Path within its mount.
        path: Text<'a>,
        /// Permission bits.
        mode: Number,
    }

    /// A folder is removed.
    InodeRmdir<'a> {
        /// Identity of the folder.
        file: File,
        /// Identity of the folder it is in.
        parent: File,
        /// Path within its mount.
        path: Text<'a>,
    }

    /// A symbolic link is made.
    InodeSymlink<'a> {
        /// Identity of the folder it is made in.
        parent: File,
        /// Path within its mount.
        path: Text<'a>,
        /// Target of the symbolic link, as it was given.
        target: Text<'a>,
    }

    /// A hard link is made.
    InodeLink<'a> {
        /// Identity of the file.
        file: File,
        /// Path of the file within its mount.
        source: Text<'a>,
        /// Identity of the folder the new name is in.
        parent: File,
        /// The new path within the same mount.
        path: Text<'a>,
    }

    /// Attributes are changed; those count that `valid` names.
    InodeSetattr<'a> {
        /// Identity of the file.
        file: File,
        /// Path within its mount.
        path: Text<'a>,
        /// `ATTR_*` of `include/linux/fs.h`: 1 mode, 2 uid, 4 gid, 8 size.
        valid: Number,
        /// File type and permission bits to be.
        mode: Number,
        /// Owner to be.
        uid: Number,
        /// Group to be.
        gid: Number,
        /// Size to be.
        size: Signed,
    }

    /// A file, device, pipe or socket is made.
    InodeMknod<'a> {
        /// Identity of the folder it is made in.
        parent: File,
        /// Path within its mount.
        path: Text<'a>,
        /// File type and permission bits.
        mode: Number,
        /// Device number, major << 20 | minor.
        device: Number,
    }

    /// An extended attribute is set.
    InodeSetxattr<'a> {
        /// Identity of the file.
        file: File,
        /// Path within its mount.
        path: Text<'a>,
        /// Name of the attribute.
        name: Text<'a>,
        /// Bytes of its value.
        size: Number,
        /// `XATTR_*` flags.
        flags: Number,
    }
}
