//! Records of names made, moved and removed, with the mount they are in.

records! {
    /// A name is removed.
    PathUnlink<'a> {
        /// Identity of the file.
        file: File,
        /// Resolved path of the folder.
        folder: Text<'a>,
        /// Name that is removed from the folder.
        name: Text<'a>,
        /// Identity of the folder.
        parent: File,
    }

    /// A name is moved.
    PathRename<'a> {
        /// Identity of the file.
        file: File,
        /// Identity of the file that it replaces, if there is one.
        replaced: File,
        /// Resolved path of the folder it leaves.
        folder: Text<'a>,
        /// Name of the file in the folder it leaves.
        name: Text<'a>,
        /// Resolved path of the folder it comes to.
        new_folder: Text<'a>,
        /// Name of the file in the folder it comes to.
        new_name: Text<'a>,
        /// `RENAME_*` flags.
        flags: Number,
    }

    /// A folder is made.
    PathMkdir<'a> {
        /// Identity of the folder it is made in.
        parent: File,
        /// Resolved path of that folder.
        folder: Text<'a>,
        /// Name of the new folder.
        name: Text<'a>,
        /// Permission bits.
        mode: Number,
    }

    /// A folder is removed.
    PathRmdir<'a> {
        /// Identity of the folder.
        file: File,
        /// Resolved path of the folder it is in.
        folder: Text<'a>,
        /// Name of the folder that is removed.
        name: Text<'a>,
        /// Identity of the folder it is in.
        parent: File,
    }

    /// A symbolic link is made.
    PathSymlink<'a> {
        /// Identity of the folder it is made in.
        parent: File,
        /// Resolved path of that folder.
        folder: Text<'a>,
        /// Name of the symbolic link.
        name: Text<'a>,
        /// Target of the symbolic link, as it was given.
        target: Text<'a>,
    }

    /// A hard link is made.
    PathLink<'a> {
        /// Identity of the file.
        file: File,
        /// Path of the file within its mount.
        source: Text<'a>,
        /// Resolved path of the folder the new name is in.
        folder: Text<'a>,
        /// Name of the hard link.
        name: Text<'a>,
    }

    /// Permission bits are changed.
    PathChmod<'a> {
        /// Identity of the file.
        file: File,
        /// Resolved path of the file.
        path: Text<'a>,
        /// Permission bits to be.
        mode: Number,
    }

    /// Owner or group is changed.
    PathChown<'a> {
        /// Identity of the file.
        file: File,
        /// Resolved path of the file.
        path: Text<'a>,
        /// Owner to be; 4294967295 for no change.
        uid: Number,
        /// Group to be; 4294967295 for no change.
        gid: Number,
    }

    /// A file is cut by its name.
    PathTruncate<'a> {
        /// Identity of the file.
        file: File,
        /// Resolved path of the file.
        path: Text<'a>,
    }

    /// A file, device, pipe or socket is made.
    PathMknod<'a> {
        /// Identity of the folder it is made in.
        parent: File,
        /// Resolved path of that folder.
        folder: Text<'a>,
        /// Name of what is made.
        name: Text<'a>,
        /// File type and permission bits.
        mode: Number,
        /// Device number, as user space encodes it.
        device: Number,
    }
}
