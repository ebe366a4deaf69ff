//! What is captured where a path ends: the kind that its type gives it, and the rows.

use krsi_host_abi::spec::{ARGS, Capture, HOPS, Read, TEXT_MAX, root};

use super::{Captured, Field, FieldError, FieldKind, FieldPath, PathStep, Suggestion, WalkPlace};
use crate::kernel::btf::{Form, Prototype, Sort};

/// Names of arguments that hold the length of a socket address.
const LENGTHS: &[&str] = &["addrlen", "address_len", "addr_len", "address_length", "namelen"];
/// Types of one member that stand for the number in it.
const WRAPPED: &[&str] = &["kuid_t", "kgid_t", "kprojid_t", "vfsuid_t", "vfsgid_t"];
/// A set of capabilities.
const CAPABILITIES: &str = "kernel_cap_t";

/// Ends a walk.
pub(super) fn finish(
    mut place: WalkPlace<'_>,
    prototype: &Prototype,
    path: &FieldPath,
) -> Result<Captured, FieldError> {
    let name = path.text();
    let type_name = place.types.type_name(place.type_id);
    let (kind, mut rows) = place.end(prototype, path, &name)?;
    if kind == FieldKind::Path && is_own_executable(path) {
        rows.iter_mut().for_each(|row| row.read = Read::TaskExe as u8);
    }
    let is_number = rows.iter().all(|row| row.read == Read::Scalar as u8);
    let stands = place.types.shape(place.type_id).form;
    let is_pointer = is_number && matches!(stands, Form::Pointer { .. });
    let field =
        Field { path: name.clone(), name, kind, type_name, row: 0, is_pointer, shown: true };
    Ok(Captured { field, rows, attribute: None })
}

/// Whether a path is that of what the calling task runs: a function of the kernel gives it.
fn is_own_executable(path: &FieldPath) -> bool {
    let member = |step: &PathStep, wanted| matches!(step, PathStep::Member(name) if name == wanted);
    path.root == "current"
        && matches!(path.steps.as_slice(), [mm, file, rest @ ..]
            if member(mm, "mm") && member(file, "exe_file")
                && matches!(rest, [] | [_]))
}

type End = Result<(FieldKind, Vec<Capture>), FieldError>;

impl WalkPlace<'_> {
    fn end(&mut self, prototype: &Prototype, path: &FieldPath, shown: &str) -> End {
        match self.types.shape(self.type_id).form {
            Form::Number { size, signed, sort } => {
                self.unbounded(path, shown)?;
                self.number(size, signed, sort, shown)
            }
            Form::Pointer { to } => self.pointer(to, prototype, path, shown),
            Form::Array { element, len } => self.array(element, len, path, shown),
            Form::Members { id, name, size } => self.structure(id, &name, size, path, shown),
            Form::Declared => Err(FieldError::Declared {
                path: shown.to_owned(),
                type_name: self.types.type_name(self.type_id),
            }),
            Form::Void | Form::Opaque => Err(self.unreadable(shown)),
        }
    }

    fn number(&self, size: u32, signed: bool, sort: Sort, shown: &str) -> End {
        if !matches!(size, 1 | 2 | 4 | 8) {
            return Err(self.unreadable(shown));
        }
        let whole = size * 8;
        let bits = if self.width > 0 { self.width } else { whole };
        let mut row = self.row(Read::Scalar, shown)?;
        if self.root == root::VALUE {
            let shift = self.bits % 64;
            if shift + bits > 64 {
                return Err(self.unreadable(shown));
            }
            row.size = if shift == 0 { low(size) } else { 8 };
            row.shift = low(shift);
            row.width = if shift == 0 && bits == whole { 0 } else { low(bits) };
        } else if self.width == 0 && self.bits.is_multiple_of(8) {
            row.size = low(size);
        } else {
            let fits = |size: &u32| self.bits % (size * 8) + bits <= size * 8;
            let size = [1, 2, 4, 8].into_iter().find(fits).ok_or_else(|| self.unreadable(shown))?;
            row.size = low(size);
            row.shift = low(self.bits % (size * 8));
            row.width = low(bits);
            set_last(&mut row, self.bits / (size * 8) * size);
        }
        row.signed = u8::from(signed);
        let bits = if sort == Sort::Bool { 1 } else { low(bits) };
        let kind = if signed { FieldKind::Signed(bits) } else { FieldKind::Unsigned(bits) };
        Ok((kind, vec![row]))
    }

    fn pointer(&mut self, to: u32, prototype: &Prototype, path: &FieldPath, shown: &str) -> End {
        let target = self.types.shape(to);
        let plain = target.typedef.is_none();
        match target.form {
            Form::Number { sort: Sort::Char, .. } if plain => self.text(path, shown, target.tag),
            Form::Number { sort: Sort::Byte, signed: false, .. } if plain => {
                self.text(path, shown, target.tag)
            }
            Form::Number { size: 1, .. } | Form::Void if path.bound.is_some() => {
                self.kernel_memory(target.tag, shown)?;
                let bound = path.bound.unwrap_or_default();
                let row = Capture { bound, ..self.row(Read::BytesBehind, shown)? };
                Ok((FieldKind::Bytes(bound), vec![row]))
            }
            Form::Void if matches!(path.steps.last(), Some(PathStep::Member(name)) if name == "msg_name") => {
                self.address(prototype, shown)
            }
            Form::Members { id, name, size } => {
                self.kernel_memory(target.tag, shown)?;
                let wrapped = target.typedef.as_deref().is_some_and(is_wrapped);
                match name.as_str() {
                    _ if wrapped => {
                        self.follow(shown)?;
                        self.structure(id, &name, size, path, shown)
                    }
                    "inode" => {
                        self.unbounded(path, shown)?;
                        let rows = [Read::Inode, Read::InodeDev];
                        Ok((FieldKind::Inode, self.rows(rows, shown)?))
                    }
                    "dentry" => {
                        self.unbounded(path, shown)?;
                        Ok((FieldKind::Names, vec![self.row(Read::Dentry, shown)?]))
                    }
                    "sockaddr"
                    | "sockaddr_storage"
                    | "__kernel_sockaddr_storage"
                    | "sockaddr_unsized" => {
                        self.unbounded(path, shown)?;
                        self.address(prototype, shown)
                    }
                    "path" | "file" | "qstr" => {
                        self.follow(shown)?;
                        self.structure(id, &name, size, path, shown)
                    }
                    _ => Err(self.structural(id, shown)),
                }
            }
            Form::Declared => Err(FieldError::Declared {
                path: shown.to_owned(),
                type_name: self.types.type_name(to),
            }),
            _ => {
                self.unbounded(path, shown)?;
                self.number(8, false, Sort::Plain, shown)
            }
        }
    }

    fn structure(&mut self, id: u32, name: &str, size: u32, path: &FieldPath, shown: &str) -> End {
        let typedef = self.types.shape(self.type_id).typedef.unwrap_or_default();
        let in_memory = self.root != root::VALUE;
        match name {
            "file" if in_memory => {
                self.unbounded(path, shown)?;
                self.enter("f_path", shown)?;
                Ok((FieldKind::Path, vec![self.row(Read::Path, shown)?]))
            }
            "path" if in_memory => {
                self.unbounded(path, shown)?;
                Ok((FieldKind::Path, vec![self.row(Read::Path, shown)?]))
            }
            "qstr" if in_memory => {
                self.enter("name", shown)?;
                self.text(path, shown, None)
            }
            _ if WRAPPED.contains(&typedef.as_str()) => {
                self.unbounded(path, shown)?;
                self.enter("val", shown)?;
                match self.types.shape(self.type_id).form {
                    Form::Number { size, signed, sort } => self.number(size, signed, sort, shown),
                    _ => Err(self.unreadable(shown)),
                }
            }
            // One u64 today, two u32 before 6.3: the same bits.
            _ if typedef == CAPABILITIES && size == 8 => {
                self.unbounded(path, shown)?;
                self.number(8, false, Sort::Plain, shown)
            }
            _ => Err(self.structural(id, shown)),
        }
    }

    fn array(&self, element: u32, len: u32, path: &FieldPath, shown: &str) -> End {
        let inner = self.types.shape(element);
        let Form::Number { size: 1, sort, .. } = inner.form else {
            let type_name = self.types.type_name(self.type_id);
            return Err(FieldError::Elements { path: shown.to_owned(), type_name });
        };
        if self.root == root::VALUE {
            return Err(self.unreadable(shown));
        }
        let text = sort == Sort::Char && inner.typedef.is_none();
        let most = u16::try_from(TEXT_MAX).unwrap_or(u16::MAX);
        let most =
            if len == 0 { most } else { u16::try_from(len).map_or(most, |len| len.min(most)) };
        let bound = match path.bound {
            Some(bound) if bound <= most => bound,
            None if len > 0 || text => most,
            _ => {
                let type_name = self.types.type_name(self.type_id);
                let most = u32::from(most);
                return Err(FieldError::Bound { path: shown.to_owned(), type_name, most });
            }
        };
        let read = if text { Read::TextInline } else { Read::Bytes };
        let kind = if text { FieldKind::Text(bound) } else { FieldKind::Bytes(bound) };
        Ok((kind, vec![Capture { bound, ..self.row(read, shown)? }]))
    }

    /// The string that the pointer here points to.
    fn text(&self, path: &FieldPath, shown: &str, tag: Option<String>) -> End {
        self.kernel_memory(tag, shown)?;
        let bound = path.bound.unwrap_or(u16::try_from(TEXT_MAX).unwrap_or(u16::MAX));
        Ok((FieldKind::Text(bound), vec![Capture { bound, ..self.row(Read::Text, shown)? }]))
    }

    /// The socket address that the pointer here points to.
    fn address(&self, prototype: &Prototype, shown: &str) -> End {
        let mut rows = self.rows([Read::SockAddr, Read::SockAddrPort], shown)?;
        if self.root == root::VALUE {
            let length = prototype.arguments.iter().find(|argument| {
                LENGTHS.contains(&argument.name.as_str()) && (argument.slot as usize) < ARGS
            });
            for row in &mut rows {
                row.bound = length.map_or(0, |argument| u16::from(low(argument.slot)) + 1);
            }
        }
        Ok((FieldKind::Address, rows))
    }

    fn rows(&self, reads: [Read; 2], shown: &str) -> Result<Vec<Capture>, FieldError> {
        reads.into_iter().map(|read| self.row(read, shown)).collect()
    }

    /// The row that reads what stands here.
    pub(super) fn row(&self, read: Read, shown: &str) -> Result<Capture, FieldError> {
        let mut slot = self.slot;
        let mut last = self.bits / 8;
        if self.root == root::VALUE {
            slot += self.bits / 64;
            last = 0;
        }
        if slot as usize >= ARGS {
            return Err(FieldError::Argument { path: shown.to_owned() });
        }
        if self.loads.len() > HOPS {
            return Err(FieldError::Hops { path: shown.to_owned() });
        }
        let mut row = Capture {
            read: read as u8,
            root: self.root,
            arg: low(slot),
            hops: u8::try_from(self.loads.len()).unwrap_or(u8::MAX),
            ..Capture::default()
        };
        for (to, from) in row.offsets.iter_mut().zip(&self.loads) {
            *to = *from;
        }
        set_last(&mut row, last);
        Ok(row)
    }

    fn unbounded(&self, path: &FieldPath, shown: &str) -> Result<(), FieldError> {
        let type_name = || self.types.type_name(self.type_id);
        match path.bound {
            None => Ok(()),
            Some(_) => Err(FieldError::NoBound { path: shown.to_owned(), type_name: type_name() }),
        }
    }

    fn kernel_memory(&self, tag: Option<String>, shown: &str) -> Result<(), FieldError> {
        let type_name = || self.types.type_name(self.type_id);
        match tag {
            None => Ok(()),
            Some(tag) => {
                Err(FieldError::Foreign { path: shown.to_owned(), type_name: type_name(), tag })
            }
        }
    }

    fn structural(&self, id: u32, shown: &str) -> FieldError {
        FieldError::Structure {
            path: shown.to_owned(),
            type_name: self.types.type_name(self.type_id),
            choice: Suggestion::new("", self.types.member_names(id)),
        }
    }

    fn unreadable(&self, shown: &str) -> FieldError {
        let type_name = self.types.type_name(self.type_id);
        FieldError::Unreadable { path: shown.to_owned(), type_name }
    }
}

fn is_wrapped(typedef: &str) -> bool {
    WRAPPED.contains(&typedef) || typedef == CAPABILITIES
}

fn set_last(row: &mut Capture, offset: u32) {
    let last = usize::from(row.hops);
    if let Some(to) = row.offsets.get_mut(last) {
        *to = offset;
    }
}

/// Sizes, shifts and slots are small.
fn low(number: u32) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}
