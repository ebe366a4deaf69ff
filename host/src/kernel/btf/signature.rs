//! What the kernel's types say of functions: every LSM hook with its signature, in C as people read it.

use btf_rs::{BtfType, Type};

use super::KernelTypes;

/// What the kernel's own stub of an LSM hook is called before the hook's name.
pub(crate) const STUB: &str = "bpf_lsm_";
/// A type that is nested deeper is shown as far as this.
const MAX_DEPTH: u32 = 12;

/// A function of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    pub btf_id: u32,
    /// Type of what it returns, as C has it; `void` for nothing.
    pub returns: String,
    pub parameters: Vec<Parameter>,
}

/// A parameter of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Name of the parameter; empty where BTF has none.
    pub name: String,
    /// Type of the parameter, as C has it.
    pub r#type: String,
}

impl Signature {
    /// Whether it returns nothing: a hook of that kind cannot refuse.
    #[must_use]
    pub fn is_void(&self) -> bool {
        self.returns == "void"
    }

    /// The prototype of a function of this signature.
    #[must_use]
    pub fn prototype(&self, name: &str) -> String {
        let shown: Vec<String> = self.parameters.iter().map(Parameter::declaration).collect();
        let list = if shown.is_empty() { "void".to_owned() } else { shown.join(", ") };
        format!("{}({list})", declare(&self.returns, name))
    }
}

impl Parameter {
    fn declaration(&self) -> String {
        declare(&self.r#type, &self.name)
    }
}

/// `int` and `x` are `int x`; `char *` and `x` are `char *x`; `int (*)(void)` and `x` are `int (*x)(void)`.
fn declare(r#type: &str, name: &str) -> String {
    if let Some((before, after)) = r#type.split_once("(*)") {
        return format!("{before}(*{name}){after}");
    }
    if matches!(r#type, "...") {
        return r#type.to_owned();
    }
    let glue = if r#type.ends_with('*') || name.is_empty() { "" } else { " " };
    format!("{type}{glue}{name}")
}

impl KernelTypes {
    /// Every function that the kernel has for an LSM hook, by hook name; with them come the few
    /// functions of the BPF LSM itself that are called alike.
    #[must_use]
    pub fn lsm_hooks(&self) -> Vec<(String, Signature)> {
        let (first, last) = self.btf.base().type_id_range();
        let mut hooks: Vec<(String, Signature)> = Vec::with_capacity(300);
        for id in first..=last {
            let Ok(Type::Func(function)) = self.btf.resolve_type_by_id(id) else { continue };
            let name = self.btf.resolve_name(&function).unwrap_or_default();
            let Some(hook) = name.strip_prefix(STUB) else { continue };
            if let Some(signature) = self.signature_of(id, &function) {
                hooks.push((hook.to_owned(), signature));
            }
        }
        hooks.sort_by(|(one, _), (other, _)| one.cmp(other));
        hooks.dedup_by(|(one, _), (other, _)| one == other);
        hooks
    }

    /// The function of that name.
    #[must_use]
    pub fn signature(&self, name: &str) -> Option<Signature> {
        self.ids(name).find_map(|id| match self.btf.resolve_type_by_id(id) {
            Ok(Type::Func(function)) => self.signature_of(id, &function),
            _ => None,
        })
    }

    fn signature_of(&self, btf_id: u32, function: &btf_rs::Func) -> Option<Signature> {
        let Ok(Type::FuncProto(proto)) = self.btf.resolve_chained_type(function) else {
            return None;
        };
        let parameters = proto.parameters.iter().map(|parameter| Parameter {
            name: self.btf.resolve_name(parameter).unwrap_or_default(),
            r#type: match parameter.get_type_id() {
                _ if parameter.is_variadic() => "...".into(),
                Some(id) => self.shown(id, 0),
                None => "?".into(),
            },
        });
        let parameters = parameters.collect();
        Some(Signature { btf_id, returns: self.shown(proto.return_type_id(), 0), parameters })
    }

    /// A type as C writes it without a name.
    fn shown(&self, id: u32, depth: u32) -> String {
        let Ok(found) = self.btf.resolve_type_by_id(id) else { return "?".into() };
        if depth >= MAX_DEPTH {
            return "…".into();
        }
        let name = || {
            let named = found.as_btf_type().and_then(|named| self.btf.resolve_name(named).ok());
            named.filter(|name| !name.is_empty()).unwrap_or_else(|| "(anonymous)".into())
        };
        let inner = || match found.as_btf_type().and_then(BtfType::get_type_id) {
            Some(id) => self.shown(id, depth + 1),
            None => "?".into(),
        };
        match &found {
            Type::Void => "void".into(),
            Type::Struct(_) => format!("struct {}", name()),
            Type::Union(_) => format!("union {}", name()),
            Type::Fwd(forward) if forward.is_union() => format!("union {}", name()),
            Type::Fwd(_) => format!("struct {}", name()),
            Type::Enum(_) | Type::Enum64(_) => format!("enum {}", name()),
            Type::Const(_) => qualified(&inner(), "const"),
            Type::Volatile(_) => qualified(&inner(), "volatile"),
            Type::Restrict(_) => qualified(&inner(), "restrict"),
            // Such as __user and __rcu.
            Type::TypeTag(_) => format!("{} __{}", inner(), name()),
            Type::Ptr(pointer) => pointer.get_type_id().map_or_else(
                || "?".into(),
                |to| match self.btf.resolve_type_by_id(to) {
                    Ok(Type::FuncProto(proto)) => self.shown_pointer_to(&proto, depth + 1),
                    _ => pointed(&self.shown(to, depth + 1)),
                },
            ),
            Type::Array(array) => format!("{}[{}]", inner_of(self, array, depth), array.len()),
            Type::FuncProto(proto) => self.shown_pointer_to(proto, depth + 1),
            _ => name(),
        }
    }

    fn shown_pointer_to(&self, proto: &btf_rs::FuncProto, depth: u32) -> String {
        let shown = proto.parameters.iter().map(|parameter| match parameter.get_type_id() {
            _ if parameter.is_variadic() => "...".into(),
            Some(id) => self.shown(id, depth),
            None => "?".into(),
        });
        let list = shown.collect::<Vec<String>>().join(", ");
        format!("{} (*)({list})", self.shown(proto.return_type_id(), depth))
    }
}

fn inner_of(types: &KernelTypes, array: &btf_rs::Array, depth: u32) -> String {
    array.get_type_id().map_or_else(|| "?".into(), |id| types.shown(id, depth + 1))
}

/// `char` and `const` are `const char`; `char *` and `const` are `char *const`.
fn qualified(r#type: &str, word: &str) -> String {
    if r#type.ends_with('*') { format!("{type}{word}") } else { format!("{word} {type}") }
}

fn pointed(r#type: &str) -> String {
    if r#type.ends_with('*') { format!("{type}*") } else { format!("{type} *") }
}

#[cfg(test)]
mod tests {

    use super::*;

    /// Writes BTF: a type is a name, a kind with the number of its parts, a type or size, and the parts.
    #[derive(Default)]
    struct MadeBtf {
        types: Vec<u8>,
        strings: Vec<u8>,
        count: u32,
    }

    impl MadeBtf {
        fn string(&mut self, text: &str) -> u32 {
            let at = self.strings.len() as u32;
            self.strings.extend([text.as_bytes(), &[0]].concat());
            if text.is_empty() { 0 } else { at }
        }

        fn add(&mut self, name: &str, kind: u32, of: u32, parts: &[(&str, u32)]) -> u32 {
            let name = self.string(name);
            let names: Vec<u32> = parts.iter().map(|(name, _)| self.string(name)).collect();
            let parts = names.into_iter().zip(parts).flat_map(|(name, (_, id))| [name, *id]);
            let count = parts.clone().count() as u32 / 2;
            let words = [name, kind << 24 | count, of].into_iter().chain(parts);
            self.types.extend(words.flat_map(u32::to_le_bytes));
            self.count += 1;
            self.count
        }

        fn types(self) -> KernelTypes {
            let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
            let mut bytes = vec![0x9f, 0xeb, 1, 0];
            bytes.extend([24, 0, types, types, strings].into_iter().flat_map(u32::to_le_bytes));
            bytes.extend([self.types, self.strings].concat());
            KernelTypes::parse(&bytes, "made").unwrap()
        }
    }

    const PTR: u32 = 2;
    const STRUCT: u32 = 4;
    const TYPEDEF: u32 = 8;
    const CONST: u32 = 10;
    const FUNC: u32 = 12;
    const FUNC_PROTO: u32 = 13;

    fn made_up() -> KernelTypes {
        let mut made = MadeBtf::default();
        made.string("");
        let file = made.add("file", STRUCT, 0, &[]);
        let file_ptr = made.add("", PTR, file, &[]);
        let constant = made.add("", CONST, file, &[]);
        let constant_ptr = made.add("", PTR, constant, &[]);
        let errno = made.add("errno_t", TYPEDEF, 0, &[]);
        let open = made.add("", FUNC_PROTO, errno, &[("file", file_ptr)]);
        made.add("bpf_lsm_file_open", FUNC, open, &[]);
        let void_ptr = made.add("", PTR, 0, &[]);
        let call = made.add("", FUNC_PROTO, errno, &[("", void_ptr), ("", 0)]);
        let call_ptr = made.add("", PTR, call, &[]);
        let fixed = made.add("", CONST, file_ptr, &[]);
        let parameters = [("a", constant_ptr), ("b", call_ptr), ("c", fixed)];
        let free = made.add("", FUNC_PROTO, 0, &parameters);
        made.add("bpf_lsm_a_free", FUNC, free, &[]);
        let none = made.add("", FUNC_PROTO, errno, &[]);
        made.add("bpf_lsm_init", FUNC, none, &[]);
        made.add("other", FUNC, none, &[]);
        // A pointer to itself, which no compiler makes.
        let ring = made.add("", PTR, made.count + 1, &[]);
        let odd = made.add("", FUNC_PROTO, errno, &[("x", ring)]);
        made.add("odd", FUNC, odd, &[]);
        made.types()
    }

    #[test]
    fn hooks_are_shown_as_c_declares_them() {
        let types = made_up();
        let hooks = types.lsm_hooks();
        let shown: Vec<String> = hooks.iter().map(|(name, found)| found.prototype(name)).collect();
        let expected = [
            "void a_free(const struct file *a, errno_t (*b)(void *, ...), struct file *const c)",
            "errno_t file_open(struct file *file)",
            "errno_t init(void)",
        ];
        assert_eq!(shown, expected);
        assert_eq!(hooks.iter().filter(|(_, found)| found.is_void()).count(), 1);
        assert_eq!(types.signature("bpf_lsm_file_open").as_ref(), Some(&hooks[1].1));
        // A structure is no function.
        assert_eq!(types.signature("file"), None);
        assert!(types.signature("odd").unwrap().prototype("odd").contains('…'));
    }

    #[test]
    fn pieces_of_c_are_put_together() {
        assert_eq!(declare("int", "x"), "int x");
        assert_eq!(declare("char *", "x"), "char *x");
        assert_eq!(declare("int (*)(void *)", "call"), "int (*call)(void *)");
        assert_eq!(declare("int", ""), "int");
        assert_eq!(qualified("char", "const"), "const char");
        assert_eq!(qualified("char *", "const"), "char *const");
        assert_eq!(pointed("char *"), "char **");
    }
}
