//! Records of mounts.

records! {
    /// mount(2) is called.
    SbMount<'a> {
        /// Device or source, as it was given.
        device: Text<'a>,
        /// Resolved path of the mount point.
        path: Text<'a>,
        /// Type of the file system, as it was given.
        filesystem: Text<'a>,
        /// `MS_*` flags.
        flags: Number,
    }

    /// umount(2) is called.
    SbUmount<'a> {
        /// Device number of the mounted file system, major << 20 | minor.
        device: Number,
        /// Type of the file system.
        filesystem: Text<'a>,
        /// Name that the file system gives itself, such as `sda1`.
        name: Text<'a>,
        /// `MNT_*` and `UMOUNT_*` flags.
        flags: Number,
    }

    /// A mount is moved, by move_mount(2) too.
    MoveMount<'a> {
        /// Resolved path of the mount.
        from: Text<'a>,
        /// Resolved path of where it comes to.
        to: Text<'a>,
    }

    /// pivot_root(2) is called.
    SbPivotroot<'a> {
        /// Resolved path of where the old root comes to.
        put_old: Text<'a>,
        /// Resolved path of the root to be.
        new_root: Text<'a>,
    }
}
