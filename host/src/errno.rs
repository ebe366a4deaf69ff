//! Names of errnos, as in `include/uapi/asm-generic/errno-base.h` and `errno.h`.

/// Names from 1 on; gaps of the kernel's table are empty.
const NAMES: &str = "EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM \
EACCES EFAULT ENOTBLK EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY \
EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY \
ELOOP";

/// Names outside that run which answers of hooks use.
const OTHERS: &[(i32, &str)] = &[
    (libc::ENODATA, "ENODATA"),
    (libc::EOPNOTSUPP, "EOPNOTSUPP"),
    (libc::ENETUNREACH, "ENETUNREACH"),
    (libc::ETIMEDOUT, "ETIMEDOUT"),
    (libc::ECONNREFUSED, "ECONNREFUSED"),
    (libc::EHOSTUNREACH, "EHOSTUNREACH"),
    (libc::ENOKEY, "ENOKEY"),
    (libc::EKEYREJECTED, "EKEYREJECTED"),
];

/// The name of an errno, or `errno N`.
#[must_use]
pub(crate) fn errno_name(errno: u16) -> String {
    let run = usize::from(errno).checked_sub(1).and_then(|at| NAMES.split_whitespace().nth(at));
    let is_it = |(number, _): &&(i32, &str)| *number == i32::from(errno);
    let other = || OTHERS.iter().find(is_it).map(|(_, name)| *name);
    run.or_else(other).map_or_else(|| format!("errno {errno}"), str::to_owned)
}

/// The errno of a name.
#[must_use]
pub(crate) fn errno_number(name: &str) -> Option<u16> {
    let run = NAMES.split_whitespace().position(|known| known == name);
    let run = run.and_then(|at| u16::try_from(at + 1).ok());
    let other = || OTHERS.iter().find(|(_, known)| *known == name);
    run.or_else(|| other().and_then(|(number, _)| u16::try_from(*number).ok()))
}

#[cfg(test)]
mod tests {
    use super::{errno_name, errno_number};

    #[test]
    fn names_stand_at_their_numbers() {
        for (errno, name) in [
            (libc::EPERM, "EPERM"),
            (libc::EACCES, "EACCES"),
            (libc::ENAMETOOLONG, "ENAMETOOLONG"),
            (libc::ELOOP, "ELOOP"),
            (libc::ECONNREFUSED, "ECONNREFUSED"),
            (libc::EKEYREJECTED, "EKEYREJECTED"),
        ] {
            let errno = u16::try_from(errno).unwrap();
            assert_eq!(errno_name(errno), name);
            assert_eq!(errno_number(name), Some(errno));
        }
        assert_eq!(errno_name(0), "errno 0");
        assert_eq!(errno_name(4095), "errno 4095");
    }
}
