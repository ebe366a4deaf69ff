//! Names of errnos, as in `include/uapi/asm-generic/errno-base.h` and `errno.h`.

/// Names from 1 on; gaps of the kernel's table are empty.
const NAMES: &str = "EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM \
EACCES EFAULT ENOTBLK EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY \
EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY \
ELOOP";

/// Names outside that run which answers of hooks use.
const OTHERS: &[(u16, &str)] = &[
    (61, "ENODATA"),
    (95, "EOPNOTSUPP"),
    (101, "ENETUNREACH"),
    (110, "ETIMEDOUT"),
    (111, "ECONNREFUSED"),
    (113, "EHOSTUNREACH"),
    (126, "ENOKEY"),
    (129, "EKEYREJECTED"),
];

/// The name of an errno, or `errno N`.
#[must_use]
pub fn errno_name(errno: u16) -> String {
    let run = usize::from(errno).checked_sub(1).and_then(|at| NAMES.split_whitespace().nth(at));
    let other = || OTHERS.iter().find(|(number, _)| *number == errno).map(|(_, name)| *name);
    run.or_else(other).map_or_else(|| format!("errno {errno}"), str::to_owned)
}

/// The errno of a name.
#[must_use]
pub fn errno_number(name: &str) -> Option<u16> {
    let run = NAMES.split_whitespace().position(|known| known == name);
    let run = run.and_then(|at| u16::try_from(at + 1).ok());
    run.or_else(|| OTHERS.iter().find(|(_, known)| *known == name).map(|(number, _)| *number))
}

#[cfg(test)]
mod tests {
    use super::{errno_name, errno_number};

    #[test]
    fn names_stand_at_their_numbers() {
        for (errno, name) in [
            (1, "EPERM"),
            (13, "EACCES"),
            (36, "ENAMETOOLONG"),
            (40, "ELOOP"),
            (111, "ECONNREFUSED"),
        ] {
            assert_eq!(errno_name(errno), name);
            assert_eq!(errno_number(name), Some(errno));
        }
        assert_eq!(errno_name(0), "errno 0");
        assert_eq!(errno_name(4095), "errno 4095");
    }
}
