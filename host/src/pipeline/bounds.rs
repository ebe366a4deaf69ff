//! A plugin's scope as the kernel judges it, in every call that one of its rules is about.

use std::path::Path;

use krsi_host_abi::deny::{Bounds, bounds};

use crate::enrich::CgroupNames;
use crate::route::scope::Scope;

/// Whom the rules of a plugin with a scope concern. A cgroup that is not there holds nobody.
pub(super) fn of(scope: &Scope) -> Bounds {
    match scope {
        Scope::System => Bounds::default(),
        Scope::Uid(uid) => Bounds { id: u64::from(*uid), kind: bounds::UID, level: 0 },
        Scope::Cgroup(path) => {
            let id = CgroupNames::id_of(Path::new(&**path)).unwrap_or(0);
            let level = path.split('/').filter(|name| !name.is_empty()).count();
            let level = u32::try_from(level).unwrap_or(u32::MAX);
            Bounds { id, kind: bounds::CGROUP, level }
        }
    }
}
