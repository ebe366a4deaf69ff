//! Steps from one kernel type to the next: through modifiers, into members, to a readable name.
//!
//! A damaged BTF file may refer to itself, so every walk is bounded.

use btf_rs::{Array, BtfType, EnumMember, Int, Struct, Type};

use super::{KernelTypes, MAX_DEPTH};

/// Modifiers and typedefs that are looked through.
const MAX_CHAIN: u32 = 32;

/// What a type is, modifiers and typedefs looked through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// The type `void`.
    Void,
    /// An integer, an enum or a truth value.
    Number {
        /// Size of the number, bytes.
        size: u32,
        /// Whether the highest bit is a sign.
        signed: bool,
        /// Meaning of the number: a character, a byte, a truth value, or none of these.
        sort: Sort,
    },
    Pointer {
        /// Type that it points to.
        to: u32,
    },
    Array {
        /// Type of one element.
        element: u32,
        /// Elements; 0 for a flexible array.
        len: u32,
    },
    /// A struct or union with members.
    Members {
        /// BTF id of the struct or union.
        id: u32,
        /// Name of the struct or union; empty for an anonymous one.
        name: String,
        /// Size of the struct or union, bytes.
        size: u32,
    },
    /// A struct or union that is declared and defined nowhere in these types.
    Declared,
    /// A function, a floating-point number or damage.
    Opaque,
}

/// Meaning of a number, as C has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Plain `char`: a byte of a string, unsigned whatever the compiler thinks.
    Char,
    /// `unsigned char` or `signed char`.
    Byte,
    /// The truth value `_Bool`.
    Bool,
    /// A number without any of these meanings.
    Plain,
}

/// A type with what stood before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeShape {
    pub form: Form,
    /// The first typedef that was looked through.
    pub typedef: Option<String>,
    /// The tag that says where a pointer's target is, when it is no kernel memory: `user`, `percpu`.
    pub tag: Option<String>,
}

/// A member of a struct or union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberAt {
    /// Offset from the start, in bits.
    pub bits: u32,
    /// Bits of a bit field; 0 for a whole member.
    pub width: u32,
    pub type_id: u32,
}

impl KernelTypes {
    /// Looks through `const`, `volatile`, `restrict`, type tags and typedefs.
    #[must_use]
    pub fn shape(&self, type_id: u32) -> TypeShape {
        let mut shape = TypeShape { form: Form::Opaque, typedef: None, tag: None };
        let mut id = type_id;
        for _ in 0..MAX_CHAIN {
            let Ok(found) = self.btf.resolve_type_by_id(id) else { return shape };
            let next = match &found {
                Type::Typedef(typedef) => {
                    if shape.typedef.is_none() {
                        shape.typedef = self.btf.resolve_name(typedef).ok();
                    }
                    typedef.get_type_id()
                }
                Type::TypeTag(tag) => {
                    let name = self.btf.resolve_name(tag).unwrap_or_default();
                    if matches!(name.as_str(), "user" | "percpu") {
                        shape.tag = Some(name);
                    }
                    tag.get_type_id()
                }
                Type::Const(inner) | Type::Volatile(inner) | Type::Restrict(inner) => {
                    inner.get_type_id()
                }
                _ => {
                    shape.form = self.form(id, &found);
                    return shape;
                }
            };
            id = next.unwrap_or_default();
        }
        shape
    }

    fn form(&self, id: u32, found: &Type) -> Form {
        let number = |size: usize, signed, sort| {
            u32::try_from(size).map_or(Form::Opaque, |size| Form::Number { size, signed, sort })
        };
        match found {
            Type::Void => Form::Void,
            Type::Int(int) => {
                let sort = self.sort(int);
                number(int.size(), int.is_signed() && sort != Sort::Char, sort)
            }
            Type::Enum(found) => number(found.size(), found.is_signed(), Sort::Plain),
            Type::Enum64(found) => number(found.size(), found.is_signed(), Sort::Plain),
            Type::Ptr(pointer) => Form::Pointer { to: pointer.get_type_id().unwrap_or_default() },
            Type::Array(array) => {
                Form::Array { element: array.get_type_id().unwrap_or_default(), len: length(array) }
            }
            Type::Struct(found) | Type::Union(found) => Form::Members {
                id,
                name: self.btf.resolve_name(found).unwrap_or_default(),
                size: u32::try_from(found.size()).unwrap_or(u32::MAX),
            },
            Type::Fwd(_) => Form::Declared,
            _ => Form::Opaque,
        }
    }

    fn sort(&self, int: &Int) -> Sort {
        let name = self.btf.resolve_name(int).unwrap_or_default();
        match name.as_str() {
            "char" => Sort::Char,
            "unsigned char" | "signed char" => Sort::Byte,
            _ if int.is_bool() => Sort::Bool,
            _ => Sort::Plain,
        }
    }

    /// Bytes of a type; `None` for what has no size.
    #[must_use]
    pub fn size(&self, type_id: u32) -> Option<u32> {
        let mut id = type_id;
        let mut elements = 1u32;
        for _ in 0..MAX_DEPTH {
            match self.shape(id).form {
                Form::Number { size, .. } | Form::Members { size, .. } => {
                    return size.checked_mul(elements);
                }
                Form::Pointer { .. } => return elements.checked_mul(8),
                Form::Array { element, len } => {
                    elements = elements.checked_mul(len)?;
                    id = element;
                }
                Form::Void | Form::Declared | Form::Opaque => return None,
            }
        }
        None
    }

    /// A member of the struct or union `id`; those of its anonymous members are its own.
    #[must_use]
    pub fn member(&self, id: u32, name: &str) -> Option<MemberAt> {
        match self.btf.resolve_type_by_id(id) {
            Ok(Type::Struct(parent) | Type::Union(parent)) => self.member_at(&parent, name, 0),
            _ => None,
        }
    }

    pub(super) fn member_at(&self, parent: &Struct, name: &str, depth: u32) -> Option<MemberAt> {
        for candidate in &parent.members {
            let found = self.btf.resolve_name(candidate).unwrap_or_default();
            if found == name {
                return Some(MemberAt {
                    bits: candidate.bit_offset(),
                    width: candidate.bitfield_size().unwrap_or_default(),
                    type_id: candidate.get_type_id().unwrap_or_default(),
                });
            }
            if !found.is_empty() || depth >= MAX_DEPTH {
                continue;
            }
            let inner = match self.btf.resolve_chained_type(candidate) {
                Ok(Type::Struct(inner) | Type::Union(inner)) => inner,
                _ => continue,
            };
            if let Some(at) = self.member_at(&inner, name, depth + 1) {
                let bits = candidate.bit_offset().checked_add(at.bits)?;
                return Some(MemberAt { bits, ..at });
            }
        }
        None
    }

    /// Names of the members of the struct or union `id`, in order.
    #[must_use]
    pub fn member_names(&self, id: u32) -> Vec<String> {
        let mut names = Vec::new();
        if let Ok(Type::Struct(parent) | Type::Union(parent)) = self.btf.resolve_type_by_id(id) {
            self.collect_names(&parent, &mut names, 0);
        }
        names
    }

    fn collect_names(&self, parent: &Struct, names: &mut Vec<String>, depth: u32) {
        for candidate in &parent.members {
            let name = self.btf.resolve_name(candidate).unwrap_or_default();
            if !name.is_empty() {
                names.push(name);
            } else if depth < MAX_DEPTH
                && let Ok(Type::Struct(inner) | Type::Union(inner)) =
                    self.btf.resolve_chained_type(candidate)
            {
                self.collect_names(&inner, names, depth + 1);
            }
        }
    }

    /// The number that an enum gives a name.
    #[must_use]
    pub fn enumerator(&self, of: &str, name: &str) -> Option<u32> {
        let enums = self.named(of);
        let mut members = enums.iter().flat_map(|found| match found {
            Type::Enum(found) => found.members.as_slice(),
            _ => &[],
        });
        let is =
            |member: &&EnumMember| self.btf.resolve_name(*member).is_ok_and(|found| found == name);
        members.find(is).map(EnumMember::val)
    }

    /// The struct `name`, when the kernel has exactly one.
    #[must_use]
    pub fn only_struct(&self, name: &str) -> Option<u32> {
        let mut structs = self.ids(name).filter(|id| {
            self.btf.resolve_type_by_id(*id).is_ok_and(|found| matches!(found, Type::Struct(_)))
        });
        let first = structs.next()?;
        structs.next().is_none().then_some(first)
    }

    /// How C would write the type, for messages: `const char *`, `struct file`, `u8[16]`.
    #[must_use]
    pub fn type_name(&self, type_id: u32) -> String {
        self.written(type_id, 0)
    }

    fn written(&self, id: u32, depth: u32) -> String {
        let Ok(found) = self.btf.resolve_type_by_id(id) else { return "?".to_owned() };
        if depth > MAX_CHAIN {
            return "…".to_owned();
        }
        let inner =
            |of: &dyn BtfType| self.written(of.get_type_id().unwrap_or_default(), depth + 1);
        let named = |word: &str, of: &dyn BtfType| match self.btf.resolve_name(of) {
            Ok(name) if !name.is_empty() => format!("{word}{name}"),
            _ => format!("anonymous {}", word.trim_end()),
        };
        match &found {
            Type::Void => "void".to_owned(),
            Type::Int(of) => named("", of),
            Type::Typedef(of) => named("", of),
            Type::Float(of) => named("", of),
            Type::Struct(of) => named("struct ", of),
            Type::Union(of) => named("union ", of),
            Type::Enum(of) => named("enum ", of),
            Type::Enum64(of) => named("enum ", of),
            Type::Fwd(of) if of.is_union() => named("union ", of),
            Type::Fwd(of) => named("struct ", of),
            Type::Const(of) => match self.btf.resolve_chained_type(of) {
                Ok(Type::Ptr(_)) => format!("{}const", inner(of)),
                _ => format!("const {}", inner(of)),
            },
            Type::Volatile(of) | Type::Restrict(of) => inner(of),
            Type::TypeTag(of) => inner(of),
            Type::Array(of) => format!("{}[{}]", inner(of), of.len()),
            Type::Ptr(of) => match self.btf.resolve_chained_type(of) {
                Ok(Type::FuncProto(_)) => "function pointer".to_owned(),
                _ => match inner(of) {
                    to if to.ends_with('*') => format!("{to}*"),
                    to => format!("{to} *"),
                },
            },
            other => other.name().to_owned(),
        }
    }
}

fn length(array: &Array) -> u32 {
    u32::try_from(array.len()).unwrap_or(u32::MAX)
}
