//! A watch on any LSM hook: from its text to a [`Spec`] that is checked against this kernel.
//!
//! The caller names the slot, the rule and the owner afterwards; everything else is final.

mod function;
mod grammar;
mod label;
mod reach;
mod resolve;

use super::field_path::{Field, FieldError, Suggestion};
use super::predicate::PredicateError;
use crate::kernel::btf::PrototypeError;
use crate::text::Escaped;
pub(crate) use grammar::{WatchIfUnread, WatchSpec, WatchVerdict, is_on, parse};
use krsi_host_abi::spec::Spec;
pub(crate) use reach::{ReachError, WatchReach};

/// A watch that this kernel can run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Resolved {
    /// What the template program is frozen with; slot, rule id and owner are 0.
    pub spec: Spec,
    /// The fields, in the order of their rows.
    pub fields: Vec<Field>,
    /// LSM hook.
    pub hook: String,
    /// Whether what the hook returns refuses the call.
    pub can_deny: bool,
    /// Fields that not every plugin may read, with why.
    pub beyond: Vec<ReachError>,
}

/// Why a watch is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// The text is too long.
    #[error("watch: has {len} bytes, at most 4096 are read")]
    Long {
        /// Bytes of the text.
        len: usize,
    },
    /// Strings of several lines.
    #[error("watch: strings in triple quotes are not read; use \"…\" or '…'")]
    TripleQuotes,
    /// The hook is no name.
    #[error(
        "watch: {text:?} is no name of a hook; write HOOK: FIELD, FIELD if PREDICATE deny ERRNO"
    )]
    HookName {
        /// Text before the colon.
        text: String,
    },
    /// Nothing between two commas.
    #[error("watch: a field is missing between two commas")]
    EmptyField,
    /// A name that fields cannot have.
    #[error("watch: {name:?} is no name that a field can have after `as`")]
    FieldName { name: String },
    /// `if` and nothing.
    #[error("watch: there is no predicate after `if`")]
    NoPredicate,
    /// A text that is no errno.
    #[error("watch: {text:?} is no errno; write deny EPERM, or a number from 1 to 4095")]
    Errno {
        /// Text in place of the errno.
        text: String,
    },
    /// The word behind `if_unread` is another than `pass` and `deny`, or no verdict stands before it.
    #[error(
        "watch: `if_unread pass` or `if_unread deny` stands behind a verdict, as in deny EPERM if_unread deny"
    )]
    IfUnread,
    /// A second capture of what is sent.
    #[error("{field}: what is sent is captured once; drop a field", field = Escaped(.field))]
    Content {
        /// Name of the second one.
        field: String,
    },
    /// No such hook on this kernel.
    #[error("{hook}: this kernel has no such LSM hook; {choice}", hook = Escaped(.hook))]
    NoHook {
        hook: String,
        /// Hooks that there are.
        choice: Suggestion,
    },
    /// The prototype of the hook.
    #[error(transparent)]
    Prototype(#[from] PrototypeError),
    #[error(transparent)]
    Field(#[from] FieldError),
    #[error(transparent)]
    Predicate(#[from] PredicateError),
    /// Two fields with one name.
    #[error("{name}: two fields have this name; give one another with `as`", name = Escaped(.name))]
    Twice { name: String },
    /// A name that means an argument too.
    #[error(
        "{name}: an argument of the hook has this name; give the field another with `as`",
        name = Escaped(.name)
    )]
    Shadows { name: String },
    /// Too many captures.
    #[error(
        "{field}: does not fit, a watch has 12 captures (an address, an inode or content is two); drop a field",
        field = Escaped(.field)
    )]
    Captures {
        /// The field that does not fit.
        field: String,
    },
    /// Too many texts.
    #[error(
        "{field}: does not fit, a watch has room for 4 texts, paths, byte ranges and addresses; drop one",
        field = Escaped(.field)
    )]
    Rooms {
        /// The field that does not fit.
        field: String,
    },
    /// The kernel does not give it, or not to these programs.
    #[error(
        "{field}: needs {function}, which kernels from {since} give to LSM programs (backend lsm)",
        field = Escaped(.field)
    )]
    Function {
        field: String,
        /// Name of the kernel's function.
        function: &'static str,
        /// The first kernel that has the function.
        since: &'static str,
    },
    /// The path is put together in user space, after the predicate.
    #[error(
        "{field}: cannot be tested, the kernel does not resolve this path; test members of it",
        field = Escaped(.field)
    )]
    Unresolved { field: String },
    /// Too many strings, with the names of attributes.
    #[error(
        "{name}: does not fit, a watch has 8 strings, names of attributes among them; drop one",
        name = Escaped(.name)
    )]
    Attributes {
        /// The attribute that does not fit.
        name: String,
    },
    /// A text that is no name of a label.
    #[error("watch: {text:?} is no name of a label; write label NAME, of a-z, 0-9 and -")]
    LabelName {
        /// Text in place of the name.
        text: String,
    },
    /// Nobody has said which label it is.
    #[error("label {name}: is known to no plugin and no table [labels]", name = Escaped(.name))]
    Label { name: String },
    /// The manifest does not declare it.
    #[error("label {name}: is none that the manifest declares; a plugin names its own", name = Escaped(.name))]
    OwnLabel { name: String },
    /// Whoever makes the call is not who causes it.
    #[error(
        "{hook}: interrupts and kernel threads call it for others; labels say nothing of its callers",
        hook = Escaped(.hook)
    )]
    ForeignCaller { hook: String },
    /// The exec has not begun, or has been decided.
    #[error(
        "{hook}: gives no labels; write bprm_check_security, whose labels are given at the end of the exec",
        hook = Escaped(.hook)
    )]
    LabelHook { hook: String },
    /// The hook cannot refuse.
    #[error("{hook}: cannot refuse a call, {why}; drop `deny`", hook = Escaped(.hook))]
    CannotDeny { hook: String, why: &'static str },
}

#[cfg(test)]
mod tests;
