//! Records of an exec's stages.

records! {
    /// An exec was asked for; its file is open.
    BprmCredsForExec<'a> {
        /// Identity of the file.
        file: File,
        /// Resolved path of the file.
        path: Text<'a>,
        /// Path as it was asked for.
        name: Text<'a>,
        /// Path of the interpreter, the same as `name` without one.
        interpreter: Text<'a>,
        /// Number of arguments.
        argc: Number,
        /// Number of environment strings.
        envc: Number,
    }

    /// The credentials that a file's mode and capabilities give.
    BprmCredsFromFile<'a> {
        /// Identity of the file that gives them.
        file: File,
        /// Resolved path of that file.
        path: Text<'a>,
        /// Path as it was asked for.
        name: Text<'a>,
        /// Effective user id to be.
        euid: Number,
        /// Effective group id to be.
        egid: Number,
    }

    /// The point of no return of an exec.
    BprmCommittingCreds<'a> {
        /// Identity of the file.
        file: File,
        /// Resolved path of the file.
        path: Text<'a>,
        /// Path as it was asked for.
        name: Text<'a>,
        /// Path of the interpreter, the same as `name` without one.
        interpreter: Text<'a>,
        /// Effective user id to be.
        euid: Number,
        /// Effective group id to be.
        egid: Number,
    }
}
