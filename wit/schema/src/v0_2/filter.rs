//! Conditions of filters: the one list of what a plugin can ask of a hook's calls.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::hook::Hook;
use crate::codec::{CodecError, Decode, Encode, Reader, sized};

/// Longest path prefix of a filter, bytes.
const PREFIX_MAX: usize = 255;

macro_rules! conditions {
    ($(
        $(#[doc = $doc:literal])+
        $condition:ident $((
            $value:ident: $type:ty $(as $from:ty)? $(where $wrong:expr => $fault:literal)?
        ))? = $name:literal, $method:ident, $words:literal;
    )*) => {
        /// A condition of a filter.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Condition { $($(#[doc = $doc])+ $condition $(($type))?,)* }

        impl Condition {
            /// Name of the condition in a manifest.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self { $(Condition::$condition { .. } => $name,)* }
            }

            /// Why nothing can pass it, if so.
            #[must_use]
            pub fn fault(&self) -> Option<&'static str> {
                match self {
                    $($($(Condition::$condition($value) if $wrong => Some($fault),)?)?)*
                    _ => None,
                }
            }

            fn encode_value(&self, _out: &mut Vec<u8>) {
                match self { $(Condition::$condition $(($value))? => { $($value.encode(_out);)? })* }
            }

            /// The condition with that name; none for one of a later version.
            fn decode_value(name: &str, _from: &mut Reader<'_>) -> Result<Option<Self>, CodecError> {
                Ok(Some(match name {
                    $($name => Condition::$condition
                        $(({ let $value: $type = Decode::decode(_from)?; $value }))?,)*
                    _ => return Ok(None),
                }))
            }
        }

        impl fmt::Display for Condition {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self { $(Condition::$condition $(($value))? => write!(f, $words),)* }
            }
        }

        impl Filter {
            $($(#[doc = $doc])+
            #[must_use]
            pub fn $method(self $(, $value: conditions!(@from $type $(, $from)?))?) -> Self {
                self.only(Condition::$condition $(($value.into()))?)
            })*
        }
    };
    (@from $type:ty, $from:ty) => { $from };
    (@from $type:ty) => { $type };
}

conditions! {
    /// Only calls under a user id.
    Uid(uid: u32) = "uid", uid, "uid {uid}";
    /// Only calls from a cgroup, by its id ([`super::Meta::cgroup_id`]).
    Cgroup(id: u64) = "cgroup", cgroup, "cgroup {id}";
    /// Only files whose path starts so, from a slash on; a path that could not be resolved in full is
    /// sent.
    PathPrefix(
        prefix: String as &str
        where !is_path(prefix) => "a path prefix that is not 1 to 255 bytes from a slash on"
    ) = "path-prefix", path_prefix, "paths from {prefix:?} on";
    /// Only opens with one of these `O_*` flags.
    FlagsAny(flags: u32 where *flags == 0 => "no bit in its flags")
        = "flags-any", flags_any, "flags {flags:#x}";
    /// Only addresses with a port.
    Port(port: u16) = "port", port, "port {port}";
    /// Only the first call of a process on the same object, as far as the kernel remembers.
    FirstSeen = "first-seen", first_seen, "first calls";
    /// Only so many calls of a process in a second.
    PerProcessRate(calls: u32 where *calls == 0 => "a rate of 0")
        = "per-process-rate", per_process_rate, "{calls} a second of a process";
}

fn is_path(prefix: &str) -> bool {
    prefix.starts_with('/') && prefix.len() <= PREFIX_MAX && !prefix.contains('\0')
}

/// What of a hook a plugin wants to see: a call is sent when every condition of one of the hook's
/// filters holds. The kernel counts what it leaves out; denials are always sent. Of committed execs, forks and
/// exits, which the host follows processes by, the host leaves out what does not pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The hook, by the kernel's name.
    pub hook: String,
    /// The conditions; none lets every call pass.
    pub conditions: Vec<Condition>,
}

impl Filter {
    /// A filter that lets every call of a hook pass.
    #[must_use]
    pub fn new(hook: Hook) -> Self {
        Self { hook: hook.name().into(), conditions: Vec::new() }
    }

    /// The same with one condition more; a second one of a kind takes the place of the first.
    #[must_use]
    pub fn only(mut self, condition: Condition) -> Self {
        self.conditions.retain(|other| other.name() != condition.name());
        self.conditions.push(condition);
        self
    }
}

impl Encode for Filter {
    fn encode(&self, out: &mut Vec<u8>) {
        let Self { hook, conditions } = self;
        sized(out, |out| {
            hook.encode(out);
            conditions.len().encode(out);
            for condition in conditions {
                condition.name().encode(out);
                sized(out, |out| condition.encode_value(out));
            }
        });
    }
}

/// A condition that this version does not know is left out: the plugin is sent more, not less.
impl Decode<'_> for Filter {
    fn decode(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        let mut fields = from.sized()?;
        let mut filter = Self { hook: String::decode(&mut fields)?, conditions: Vec::new() };
        for _ in 0..usize::decode(&mut fields)? {
            let name = alloc::borrow::Cow::<str>::decode(&mut fields)?;
            let mut value = fields.sized()?;
            if let Some(condition) = Condition::decode_value(&name, &mut value)? {
                filter.conditions.push(condition);
            }
        }
        Ok(filter)
    }
}
