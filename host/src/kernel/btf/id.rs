//! Ids of functions and typedefs: what a tracing program is loaded for.

use btf_rs::Type;

use super::KernelTypes;

impl KernelTypes {
    /// BTF id of a function; none when several of that name are there.
    #[must_use]
    pub fn function_id(&self, name: &str) -> Option<u32> {
        self.only_id(name, |found| matches!(found, Type::Func(_)))
    }

    /// BTF id of a typedef.
    #[must_use]
    pub fn typedef_id(&self, name: &str) -> Option<u32> {
        self.only_id(name, |found| matches!(found, Type::Typedef(_)))
    }

    fn only_id(&self, name: &str, is: impl Fn(&Type) -> bool) -> Option<u32> {
        let found = |id: &u32| self.btf.resolve_type_by_id(*id).is_ok_and(|found| is(&found));
        let mut ids = self.ids(name).filter(found);
        ids.next().filter(|_| ids.next().is_none())
    }
}
