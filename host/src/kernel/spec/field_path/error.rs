//! Why a field path is refused, with what stands at the bad step.

use std::fmt;

use crate::text::Escaped;

/// Names that are listed in a message.
const LISTED: usize = 24;
/// Bytes of a name that is compared with others.
const COMPARED: usize = 64;
/// Letters of a text that can stand for a name that contains it.
const SHORTEST: usize = 3;
/// Names that a text may stand for.
const RESEMBLING: usize = 12;

/// The names that would have been right, and the one that is nearest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion(Box<Names>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Names {
    near: Option<String>,
    names: Vec<String>,
    more: usize,
}

impl Suggestion {
    pub(crate) fn new(wanted: &str, mut names: Vec<String>) -> Self {
        let near = nearest(wanted, &names).map(str::to_owned);
        let more = names.len().saturating_sub(LISTED);
        names.truncate(LISTED);
        Self(Box::new(Names { near, names, more }))
    }
}

impl fmt::Display for Suggestion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(names) = self;
        if let Some(near) = &names.near {
            write!(out, "did you mean {near}? ")?;
        }
        if names.names.is_empty() {
            return write!(out, "there is nothing");
        }
        write!(out, "there is {}", names.names.join(", "))?;
        if names.more > 0 {
            write!(out, " and {} more", names.more)?;
        }
        Ok(())
    }
}

/// The name that differs least, when it differs little.
pub(crate) fn nearest<'n>(wanted: &str, names: &'n [String]) -> Option<&'n str> {
    if wanted.is_empty() || wanted.len() > COMPARED {
        return None;
    }
    let far = wanted.len() / 3 + 1;
    let near = names.iter().filter(|name| name.len() <= COMPARED);
    let (distance, name) =
        near.map(|name| (distance(wanted, name), name)).min_by_key(|(d, _)| *d)?;
    (distance <= far).then_some(name)
}

/// The names that a text which is none of them may mean, the likeliest first: that it is with the kernel's
/// `security_` or `bpf_lsm_` before it, that differs little, or that contain it or a word of it.
pub(crate) fn resembling(wanted: &str, names: &[String]) -> Vec<String> {
    let lower = wanted.to_lowercase();
    let bare = ["bpf_lsm_", "security_", "lsm_"].iter().find_map(|start| lower.strip_prefix(start));
    let bare = bare.unwrap_or(&lower);
    if bare.len() < SHORTEST || bare.len() > COMPARED {
        return Vec::new();
    }
    if let Some(same) = names.iter().find(|name| *name == bare) {
        return vec![same.clone()];
    }
    let with = |part: &str| -> Vec<String> {
        names.iter().filter(|name| name.contains(part)).cloned().collect()
    };
    let mut found = with(bare);
    if found.is_empty() && nearest(bare, names).is_none() {
        // The word that the fewest names have says most.
        let words = bare.split(|letter: char| !letter.is_alphanumeric());
        let words = words.filter(|word| word.len() > SHORTEST).map(with);
        found = words.filter(|found| !found.is_empty()).min_by_key(Vec::len).unwrap_or_default();
    }
    found.sort_by_key(|name| distance(bare, name));
    if let Some(near) = nearest(bare, names) {
        found.retain(|name| name != near);
        found.insert(0, near.to_owned());
    }
    found.truncate(RESEMBLING);
    found
}

/// Letters to insert, drop or change.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (at, left) in left.bytes().enumerate() {
        let mut before = at;
        let mut last = at + 1;
        for (cell, right) in row.iter_mut().skip(1).zip(right.bytes()) {
            let changed = before + usize::from(left != right);
            before = *cell;
            last = changed.min(before + 1).min(last + 1);
            *cell = last;
        }
        if let Some(first) = row.first_mut() {
            *first = at + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// Why a path is refused. Each message starts with the path up to the bad step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// The text is no path.
    #[error("{path}: the path {why}", path = Escaped(.path))]
    Malformed {
        /// The text, or its start.
        path: String,
        /// Fault of the path, in words.
        why: &'static str,
    },
    /// It starts with something that the hook does not have.
    #[error(
        "{root}: {function} has no such argument; {choice}",
        function = Escaped(.function),
        root = Escaped(.root)
    )]
    NoRoot {
        /// Function whose prototype was asked.
        function: String,
        /// First name of the path.
        root: String,
        /// Names that the path may start with.
        choice: Suggestion,
    },
    /// The field is of what is sent, which is read at `socket_sendmsg` only.
    #[error("{path}: is there at socket_sendmsg only, and no argument of this hook", path = Escaped(.path))]
    NotSent {
        /// First name of the path.
        path: String,
    },
    /// The kernel has it otherwise than any kernel that is known.
    #[error("{path}: this kernel's {structure} has no {member}", path = Escaped(.path))]
    Lacks {
        /// Path of the field.
        path: String,
        /// Name of the structure or enum in which the member is missing.
        structure: &'static str,
        /// Member that is missing.
        member: &'static str,
    },
    /// The field is one byte of what is sent, which is tested and not captured.
    #[error("{path}: one byte is tested and not captured; capture content[..N]", path = Escaped(.path))]
    ContentByte {
        /// Path of the field.
        path: String,
    },
    /// The kernel's types do not say what the calling task is.
    #[error(
        "{path}: this kernel's types have no struct {structure}, or several",
        path = Escaped(.path)
    )]
    NoCurrent {
        /// First name of the path.
        path: String,
        /// Name of the structure that is missing.
        structure: &'static str,
    },
    /// A member that the structure does not have.
    #[error(
        "{path}: {within} has no member {member}; {choice}",
        member = Escaped(.member),
        path = Escaped(.path),
        within = Escaped(.within)
    )]
    NoMember {
        /// Path up to the bad step.
        path: String,
        /// Type that was searched.
        within: String,
        /// Member that was looked for.
        member: String,
        /// Members of the type.
        choice: Suggestion,
    },
    /// A step into something without members.
    #[error(
        "{path}: {type_name} has no members",
        path = Escaped(.path),
        type_name = Escaped(.type_name)
    )]
    NoMembers {
        /// Path up to the bad step.
        path: String,
        /// Type that stands there.
        type_name: String,
    },
    /// A step into a type that is declared only.
    #[error(
        "{path}: {type_name} is declared in this kernel's types, not defined",
        path = Escaped(.path),
        type_name = Escaped(.type_name)
    )]
    Declared {
        /// Path up to the bad step.
        path: String,
        /// Type that stands there.
        type_name: String,
    },
    /// An index into something that is no array.
    #[error(
        "{path}: {type_name} is no array",
        path = Escaped(.path),
        type_name = Escaped(.type_name)
    )]
    NoArray {
        /// Path up to the bad step.
        path: String,
        /// Type that stands there.
        type_name: String,
    },
    /// A name in brackets behind something else than attributes.
    #[error(
        "{path}: {type_name} has nothing by a name; only the xattr of a struct file has",
        path = Escaped(.path),
        type_name = Escaped(.type_name)
    )]
    NoKeys {
        /// Path up to the bad step.
        path: String,
        /// Type that stands there.
        type_name: String,
    },
    /// No name that an extended attribute can have there.
    #[error(
        "{path}: write the attribute's name, as in xattr[\"user.mark\"], at most {most} bytes",
        path = Escaped(.path)
    )]
    Attribute {
        /// Path up to the bad step.
        path: String,
        /// Bytes of the longest name.
        most: usize,
    },
    /// An index beyond the array.
    #[error(
        "{path}: {type_name} has {len} elements, counted from 0",
        path = Escaped(.path),
        type_name = Escaped(.type_name)
    )]
    Index {
        /// Path up to the bad step.
        path: String,
        /// Type of the array.
        type_name: String,
        /// Elements of the array.
        len: u32,
    },
    /// A pointer into memory that is not the kernel's.
    #[error(
        "{path}: {type_name} points to {tag} memory, which is not read",
        path = Escaped(.path),
        tag = Escaped(.tag),
        type_name = Escaped(.type_name)
    )]
    Foreign {
        /// Path up to the bad step.
        path: String,
        /// Type of the pointer.
        type_name: String,
        /// Kind of memory: `user` or `percpu`.
        tag: String,
    },
    /// Too many pointers.
    #[error("{path}: follows more than 6 pointers behind its argument", path = Escaped(.path))]
    Hops {
        /// Path up to the bad step.
        path: String,
    },
    /// An argument that BPF does not pass.
    #[error("{path}: BPF programs get the first 6 arguments only", path = Escaped(.path))]
    Argument {
        /// First name of the path.
        path: String,
    },
    /// The path ends at a structure that is no single value.
    #[error(
        "{path}: {type_name} is no single value, name a member of it; {choice}",
        path = Escaped(.path),
        type_name = Escaped(.type_name)
    )]
    Structure {
        path: String,
        /// Type that stands there.
        type_name: String,
        /// Members of the structure.
        choice: Suggestion,
    },
    /// The path ends at an array whose elements are no bytes.
    #[error(
        "{path}: {type_name} is no text; name one element, as in {path}[0]",
        path = Escaped(.path),
        type_name = Escaped(.type_name)
    )]
    Elements {
        path: String,
        /// Type that stands there.
        type_name: String,
    },
    /// A bound on something that has a size already.
    #[error(
        "{path}: {type_name} takes no bound; drop [..N]",
        path = Escaped(.path),
        type_name = Escaped(.type_name)
    )]
    NoBound {
        path: String,
        /// Type that stands there.
        type_name: String,
    },
    /// A bound that is larger than the array, or missing where there is no length.
    #[error(
        "{path}: {type_name} needs a bound from 1 to {most}, as in {path}[..{most}]",
        path = Escaped(.path),
        type_name = Escaped(.type_name)
    )]
    Bound {
        path: String,
        /// Type that stands there.
        type_name: String,
        /// The largest bound.
        most: u32,
    },
    /// A type that has no value that can be read.
    #[error(
        "{path}: {type_name} cannot be captured",
        path = Escaped(.path),
        type_name = Escaped(.type_name)
    )]
    Unreadable {
        path: String,
        /// Type that stands there.
        type_name: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_no_name_stands_for_those_that_resemble_it() {
        let names = [
            "file_open",
            "file_permission",
            "inode_permission",
            "inode_setxattr",
            "ipc_permission",
            "path_chmod",
            "path_chown",
            "socket_connect",
            "unix_stream_connect",
        ];
        let names = names.map(str::to_owned);
        let check = |wanted: &str, expected: &[&str]| {
            assert_eq!(resembling(wanted, &names), expected, "{wanted}");
        };
        check("chmod", &["path_chmod"]);
        check("CHMOD", &["path_chmod"]);
        check("security_file_open", &["file_open"]);
        check("bpf_lsm_path_chown", &["path_chown"]);
        check("file_opne", &["file_open"]);
        check("permission", &["ipc_permission", "file_permission", "inode_permission"]);
        check("connect", &["socket_connect", "unix_stream_connect"]);
        check("sys_setxattr", &["inode_setxattr"]);
        check("xattr", &["inode_setxattr"]);
        check("nothing", &[]);
        check("", &[]);
        check("fi", &[]);
        check(&"a".repeat(100), &[]);
    }
}
