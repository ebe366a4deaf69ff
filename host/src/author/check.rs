//! Hooks and watches of a plugin that a kernel does not have.

use std::fmt;

use krsi_host_abi::hook::{Attach, Hook};
use serde::Serialize;

use super::describe::Description;
use crate::errno::errno_number;
use crate::kernel::btf::KernelTypes;
use crate::kernel::btf::kfunc::Kfuncs;
use crate::kernel::spec::watch::{self, WatchError};
use crate::text::Escaped;

/// Something that a plugin asks for and a kernel does not have: a host leaves it out and runs the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct KernelLack {
    /// The hook or watch.
    pub(crate) what: String,
    /// Reason: what this kernel lacks.
    pub(crate) why: String,
}

impl fmt::Display for KernelLack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", Escaped(&self.what), Escaped(&self.why))
    }
}

/// What of a plugin the kernel with these types does not have. Whether the kernel takes the programs as well is
/// asked by `krsi-host doctor`.
#[must_use]
pub(crate) fn lacks(description: &Description, types: &KernelTypes) -> Vec<KernelLack> {
    let mut hooks = [description.hooks.as_slice(), &description.deny_hooks].concat();
    hooks.sort_unstable();
    hooks.dedup();
    let absent = hooks.into_iter().filter(|hook| !has(types, hook)).map(|hook| KernelLack {
        what: hook.to_owned(),
        why: "this kernel has no such hook".to_owned(),
    });
    let kfuncs = Kfuncs::of(types);
    let watches = description.watches.iter().filter_map(|text| {
        let resolved = watch::parse(text, errno_number).and_then(|mut watch| {
            watch.number_labels(|label| own_label(description, label))?;
            let prototype = |hook: &str| types.prototype(&format!("bpf_lsm_{hook}"));
            watch.resolve(types, &kfuncs, prototype)
        });
        let error = resolved.err()?;
        Some(KernelLack { what: format!("watch {text}"), why: error.to_string() })
    });
    absent.chain(watches).collect()
}

/// The place of a label among those that the plugin declares.
fn own_label(description: &Description, label: &str) -> Result<u8, WatchError> {
    let name = match label.split_once('.') {
        Some((owner, name)) if owner == description.name => Some(name),
        Some(_) => None,
        None => Some(label),
    };
    let at = name.and_then(|name| description.labels.iter().position(|own| own == name));
    let unknown = || WatchError::OwnLabel { name: label.to_owned() };
    at.and_then(|at| u8::try_from(at).ok()).ok_or_else(unknown)
}

fn has(types: &KernelTypes, hook: &str) -> bool {
    let is_tracepoint =
        Hook::from_name(hook).is_some_and(|hook| hook.row().attach == Attach::Tracepoint);
    if is_tracepoint {
        types.has_tracepoint(hook)
    } else {
        types.has_function(&format!("bpf_lsm_{hook}"))
    }
}
