//! What caused an error: the whole chain on one line, and whether the kernel refused for want of a right.

use std::error::Error;

use crate::plugin::CallError;

/// An error and what caused it, on one line, nothing of it twice.
#[must_use]
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Of a plugin's failure its author needs the place too.
        let words = match cause.downcast_ref::<CallError>() {
            Some(failed) => failed.whole(),
            None => cause.to_string(),
        };
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = cause.source();
    }
    text
}

/// Whether an error comes from the kernel's `EPERM`.
pub(crate) fn is_not_permitted(error: &(dyn Error + 'static)) -> bool {
    has_errno(error, libc::EPERM)
}

/// Whether an error comes from an errno of the kernel's.
pub(crate) fn has_errno(error: &(dyn Error + 'static), errno: i32) -> bool {
    let mut here = Some(error);
    while let Some(cause) = here {
        let refused = cause.downcast_ref::<std::io::Error>();
        if refused.is_some_and(|refused| refused.raw_os_error() == Some(errno)) {
            return true;
        }
        here = cause.source();
    }
    false
}
