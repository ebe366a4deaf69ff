//! The prototype of a kernel function: its arguments' names and types, and what it returns.
//!
//! Every field path starts at the type ids found here, so that a second type of the same name
//! elsewhere in the kernel cannot be mistaken for the argument's own.

use btf_rs::{BtfType, FuncProto, Type};

use super::KernelTypes;

/// Marks an argument for the verifier (kernel/bpf/btf.c); it is no part of the name.
const NULLABLE: &str = "__nullable";

/// Why a function has no prototype.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrototypeError {
    /// The kernel's types name no such function.
    #[error("{function}: this kernel has no such function")]
    NoFunction {
        /// Function that was looked for.
        function: String,
    },
    /// Several functions of that name take different arguments.
    #[error("{function}: several functions of this name take different arguments")]
    Ambiguous {
        /// Function that was looked for.
        function: String,
    },
}

/// What a function returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returns {
    /// Nothing: such a hook cannot refuse.
    Void,
    /// An `int`: 0 or a negative errno, for nearly all hooks.
    Int,
    /// A value of any other type.
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Name of the argument; empty where the kernel's types hold none.
    pub name: String,
    /// BTF id of its type.
    pub type_id: u32,
    /// Index of the first 8-byte slot that it takes.
    pub slot: u32,
}

/// The prototype of one function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prototype {
    pub function: String,
    /// Arguments of the function, in order.
    pub arguments: Vec<Argument>,
    pub returns: Returns,
    /// 8-byte slots that the arguments take together.
    pub slots: u32,
}

impl KernelTypes {
    /// The prototype of a function, such as `bpf_lsm_file_open` or `security_file_open`.
    ///
    /// # Errors
    /// When there is no such function, or there are several that disagree.
    pub fn prototype(&self, function: &str) -> Result<Prototype, PrototypeError> {
        let missing = || PrototypeError::NoFunction { function: function.to_owned() };
        let mut found: Option<Prototype> = None;
        for candidate in self.named(function) {
            let Type::Func(candidate) = candidate else { continue };
            let Ok(Type::FuncProto(proto)) = self.btf.resolve_chained_type(&candidate) else {
                continue;
            };
            let read = self.read_prototype(function, &proto);
            if found.as_ref().is_some_and(|before| *before != read) {
                return Err(PrototypeError::Ambiguous { function: function.to_owned() });
            }
            found = Some(read);
        }
        found.ok_or_else(missing)
    }

    /// Names of the functions that start with `prefix`, without it. Reads every type: for messages
    /// and lists, not for look-ups.
    #[must_use]
    pub fn function_names(&self, prefix: &str) -> Vec<String> {
        let types = (1..).map_while(|id| self.btf.resolve_type_by_id(id).ok());
        let names = types.filter_map(|found| match found {
            Type::Func(function) => self.btf.resolve_name(&function).ok(),
            _ => None,
        });
        names.filter_map(|name| name.strip_prefix(prefix).map(str::to_owned)).collect()
    }

    fn read_prototype(&self, function: &str, proto: &FuncProto) -> Prototype {
        let mut slot = 0;
        let mut arguments = Vec::with_capacity(proto.parameters.len());
        for parameter in &proto.parameters {
            let type_id = parameter.get_type_id().unwrap_or_default();
            let name = self.btf.resolve_name(parameter).unwrap_or_default();
            let name = name.strip_suffix(NULLABLE).map(str::to_owned).unwrap_or(name);
            arguments.push(Argument { name, type_id, slot });
            slot += self.size(type_id).unwrap_or(8).div_ceil(8).max(1);
        }
        let returns = match self.shape(proto.return_type_id()).form {
            super::Form::Void => Returns::Void,
            super::Form::Number { .. } => Returns::Int,
            _ => Returns::Other,
        };
        Prototype { function: function.to_owned(), arguments, returns, slots: slot }
    }
}
