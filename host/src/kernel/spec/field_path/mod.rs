//! A field path such as `vma.vm_mm.owner.tgid` → the rows that capture it on this kernel.
//!
//! The walk starts at the hook's own prototype and never looks a type up by name but `current`'s.
//! What a path cannot reach is an error that says what stands there; nothing is guessed.

mod end;
mod error;
mod given;
mod sent;
mod step;

use krsi_host_abi::spec::{ARGS, Capture, HOPS, root};

use crate::kernel::btf::{Argument, Form, KernelTypes, Prototype};
pub(crate) use error::resembling;
pub(crate) use error::{FieldError, Suggestion};
pub(crate) use step::{FieldPath, PathStep};
pub(crate) use step::{clipped, name, parse};

/// What a captured field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldKind {
    /// An unsigned number of that many bits; a truth value has one.
    Unsigned(u8),
    /// A signed number of that many bits.
    Signed(u8),
    /// A string of at most that many bytes.
    Text(u16),
    /// A byte range of that many bytes.
    Bytes(u16),
    /// An absolute path, as `bpf_d_path` gives it.
    Path,
    /// The names of a `struct dentry` upwards within its mount; no test applies to it.
    Names,
    /// Family, address and port.
    Address,
    /// Device and inode number.
    Inode,
    /// The digest of a file, at most that many bytes.
    Digest(u16),
    /// The first bytes of a message, at most that many, with what became of the rest.
    Content(u16),
    /// One of the first bytes of a message, by its place.
    ContentByte(u8),
}

impl FieldKind {
    /// Rows of captures that it takes.
    #[must_use]
    pub(crate) const fn rows(self) -> usize {
        match self {
            Self::Address | Self::Inode | Self::Content(_) | Self::ContentByte(_) => 2,
            _ => 1,
        }
    }
}

/// A captured field, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// Name of the field: the path as it was written, or what `as` gave it.
    pub name: String,
    /// The path, written with dots.
    pub path: String,
    pub kind: FieldKind,
    /// The type that the kernel gives it, for people.
    pub type_name: String,
    /// First row of the field among the captures of the program.
    pub row: usize,
    /// Whether it is a number that is an address of the kernel's.
    pub is_pointer: bool,
    /// Whether it is shown; what only the predicate needs is not.
    pub shown: bool,
}

/// A field and the rows that capture it, [`FieldKind::rows`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Captured {
    pub field: Field,
    /// Rows, in order; rooms are not assigned yet.
    pub rows: Vec<Capture>,
    /// Name of the extended attribute that the row reads; its string is not assigned yet.
    pub attribute: Option<String>,
}

/// Resolves a path against the prototype of a hook.
///
/// # Errors
/// When the path is malformed, a step is not there, or its end cannot be captured.
pub(crate) fn resolve(
    types: &KernelTypes,
    prototype: &Prototype,
    path: &str,
) -> Result<Captured, FieldError> {
    resolve_path(types, prototype, &parse(path)?)
}

/// The same for a path that is parsed already.
///
/// # Errors
/// When a step is not there, or its end cannot be captured.
pub(crate) fn resolve_path(
    types: &KernelTypes,
    prototype: &Prototype,
    path: &FieldPath,
) -> Result<Captured, FieldError> {
    if let Some(captured) = sent::finish(types, prototype, path)? {
        return Ok(captured);
    }
    let mut place = WalkPlace::start(types, prototype, path)?;
    for (at, step) in path.steps.iter().enumerate() {
        if let Some(captured) = given::finish(&place, path, at)? {
            return Ok(captured);
        }
        place.take(step, &path.shown(at + 1))?;
    }
    end::finish(place, prototype, path)
}

/// Where a walk has come to.
pub(crate) struct WalkPlace<'a> {
    types: &'a KernelTypes,
    /// [`root`], [`root::VALUE`] as long as no pointer was followed.
    root: u8,
    /// First slot of the argument.
    slot: u32,
    /// Offsets of the pointers that were followed.
    loads: Vec<u32>,
    /// Offset from the last of them, in bits.
    bits: u32,
    /// Bits of a bit field, or 0.
    width: u32,
    /// Type that stands here.
    type_id: u32,
}

impl<'a> WalkPlace<'a> {
    fn start(
        types: &'a KernelTypes,
        prototype: &Prototype,
        path: &FieldPath,
    ) -> Result<Self, FieldError> {
        let here = |root, slot, type_id| Self {
            types,
            root,
            slot,
            loads: Vec::new(),
            bits: 0,
            width: 0,
            type_id,
        };
        if let Some(argument) = argument(prototype, &path.root) {
            return Ok(here(root::VALUE, argument.slot, argument.type_id));
        }
        let missing = |structure| FieldError::NoCurrent { path: path.root.clone(), structure };
        match path.root.as_str() {
            "current" => {
                let task = task_struct(types).ok_or(missing("task_struct"))?;
                Ok(here(root::TASK, 0, task))
            }
            "current_cred" => {
                let cred = task_struct(types).and_then(|task| types.member(task, "cred")).and_then(
                    |member| match types.shape(member.type_id).form {
                        Form::Pointer { to } => Some(to),
                        _ => None,
                    },
                );
                Ok(here(root::CRED, 0, cred.ok_or(missing("cred"))?))
            }
            other => Err(FieldError::NoRoot {
                function: prototype.function.clone(),
                root: other.to_owned(),
                choice: Suggestion::new(other, root_names(prototype)),
            }),
        }
    }

    /// Goes one step on; `shown` is the path up to and with it.
    fn take(&mut self, step: &PathStep, shown: &str) -> Result<(), FieldError> {
        match step {
            PathStep::Member(name) => self.enter(name, shown),
            PathStep::Index(index) => self.index(*index, shown),
            PathStep::Key(_) => Err(FieldError::NoKeys {
                path: shown.to_owned(),
                type_name: self.types.type_name(self.type_id),
            }),
        }
    }

    fn enter(&mut self, name: &str, shown: &str) -> Result<(), FieldError> {
        if let Form::Pointer { .. } = self.types.shape(self.type_id).form {
            self.follow(shown)?;
        }
        match self.types.shape(self.type_id).form {
            Form::Members { id, .. } => {
                let member = self.types.member(id, name).ok_or_else(|| FieldError::NoMember {
                    path: shown.to_owned(),
                    within: self.types.type_name(self.type_id),
                    member: name.to_owned(),
                    choice: Suggestion::new(name, self.types.member_names(id)),
                })?;
                self.advance(member.bits, shown)?;
                (self.width, self.type_id) = (member.width, member.type_id);
                Ok(())
            }
            Form::Declared => Err(FieldError::Declared {
                path: shown.to_owned(),
                type_name: self.types.type_name(self.type_id),
            }),
            _ => Err(FieldError::NoMembers {
                path: shown.to_owned(),
                type_name: self.types.type_name(self.type_id),
            }),
        }
    }

    fn index(&mut self, index: u32, shown: &str) -> Result<(), FieldError> {
        let path = || shown.to_owned();
        let type_name = || self.types.type_name(self.type_id);
        let Form::Array { element, len } = self.types.shape(self.type_id).form else {
            return Err(FieldError::NoArray { path: path(), type_name: type_name() });
        };
        if index >= len {
            return Err(FieldError::Index { path: path(), type_name: type_name(), len });
        }
        let opaque = || FieldError::Unreadable { path: path(), type_name: type_name() };
        let bytes = self.types.size(element).ok_or_else(opaque)?;
        let bits = bytes.checked_mul(8).and_then(|bits| bits.checked_mul(index));
        self.advance(bits.ok_or_else(opaque)?, shown)?;
        self.type_id = element;
        Ok(())
    }

    /// Follows the pointer that stands here.
    fn follow(&mut self, shown: &str) -> Result<(), FieldError> {
        let Form::Pointer { to } = self.types.shape(self.type_id).form else { return Ok(()) };
        if let Some(tag) = self.types.shape(to).tag {
            return Err(FieldError::Foreign {
                path: shown.to_owned(),
                type_name: self.types.type_name(self.type_id),
                tag,
            });
        }
        if self.root == root::VALUE {
            self.slot += self.bits / 64;
            self.root = root::ARG;
        } else {
            if self.loads.len() >= HOPS {
                return Err(FieldError::Hops { path: shown.to_owned() });
            }
            self.loads.push(self.bits / 8);
        }
        (self.bits, self.width, self.type_id) = (0, 0, to);
        Ok(())
    }

    fn advance(&mut self, bits: u32, shown: &str) -> Result<(), FieldError> {
        self.bits = self.bits.checked_add(bits).ok_or_else(|| FieldError::Unreadable {
            path: shown.to_owned(),
            type_name: self.types.type_name(self.type_id),
        })?;
        Ok(())
    }
}

/// The argument of that name, or `argN` the N-th one, counted from 0; a hook whose own arguments have
/// such names (`task_prctl`) means those.
fn argument<'p>(prototype: &'p Prototype, name: &str) -> Option<&'p Argument> {
    let mut arguments = prototype.arguments.iter();
    let named = prototype.arguments.iter().find(|argument| argument.name == name);
    named.or_else(|| {
        let index = numbered(name)?;
        let own = arguments.any(|argument| numbered(&argument.name).is_some());
        prototype.arguments.get(index).filter(|_| index < ARGS && !own)
    })
}

fn numbered(name: &str) -> Option<usize> {
    let index = name.strip_prefix("arg")?;
    (index.len() == 1).then(|| index.parse().ok()).flatten()
}

/// What a path may start with.
pub(crate) fn root_names(prototype: &Prototype) -> Vec<String> {
    let arguments = prototype.arguments.iter().enumerate().map(|(at, argument)| {
        if argument.name.is_empty() { format!("arg{at}") } else { argument.name.clone() }
    });
    arguments.chain(["current".to_owned(), "current_cred".to_owned()]).collect()
}

/// The type of the calling task: what the hooks themselves call one, else the only one there is.
fn task_struct(types: &KernelTypes) -> Option<u32> {
    let argument = |function: &str| {
        let prototype = types.prototype(function).ok()?;
        match types.shape(prototype.arguments.first()?.type_id).form {
            Form::Pointer { to } => match types.shape(to).form {
                Form::Members { id, name, .. } => (name == "task_struct").then_some(id),
                _ => None,
            },
            _ => None,
        }
    };
    argument("bpf_lsm_task_alloc").or_else(|| types.only_struct("task_struct"))
}

#[cfg(test)]
pub(crate) mod tests;
