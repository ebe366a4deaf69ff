//! A plugin's scope as the kernel checks it, in every call that one of its rules applies to.

use std::path::Path;

use krsi_host_abi::deny::{Bounds, bounds};

use crate::enrich::CgroupNames;
use crate::route::scope::Scope;

/// The id of no cgroup. Zero is none: the kernel answers it for a level below the caller's own.
const NOBODY: u64 = u64::MAX;

/// Whom the rules of a plugin with a scope concern. A cgroup that is not there holds nobody.
pub(super) fn of(scope: &Scope) -> Bounds {
    match scope {
        Scope::System => Bounds::default(),
        Scope::Uid(uid) => Bounds { id: u64::from(*uid), kind: bounds::UID, level: 0 },
        Scope::Cgroup(path) => {
            let id = CgroupNames::id_of(Path::new(&**path)).unwrap_or(NOBODY);
            let level = path.split('/').filter(|name| !name.is_empty()).count();
            let level = u32::try_from(level).unwrap_or(u32::MAX);
            Bounds { id, kind: bounds::CGROUP, level }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_that_is_not_there_holds_nobody() {
        let bounds = of(&Scope::Cgroup("/krsi-nowhere/below".into()));
        assert_eq!(bounds, Bounds { id: NOBODY, kind: bounds::CGROUP, level: 2 });
        assert_eq!(of(&Scope::System), Bounds::default());
        assert_eq!(of(&Scope::Uid(7)), Bounds { id: 7, kind: bounds::UID, level: 0 });
    }
}
