//! Hand-made BTF for tests: types that no kernel has to have, byte by byte.

use super::KernelTypes;

/// Kinds of `include/uapi/linux/btf.h`.
const INT: u32 = 1;
const PTR: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const FWD: u32 = 7;
const TYPEDEF: u32 = 8;
const CONST: u32 = 10;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;
const TYPE_TAG: u32 = 18;
const KIND_FLAG: u32 = 1 << 31;

/// A member: name, type, offset in bits, bits of a bit field or 0.
pub(crate) type MadeMember<'a> = (&'a str, u32, u32, u32);

/// Types as they are made; ids count from 1.
pub(crate) struct Maker {
    types: Vec<u8>,
    strings: Vec<u8>,
    made: u32,
}

impl Maker {
    pub(crate) fn new() -> Self {
        Self { types: Vec::new(), strings: vec![0], made: 0 }
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = u32::try_from(self.strings.len()).unwrap();
        self.strings.extend(name.bytes().chain([0]));
        at
    }

    fn add(&mut self, name: &str, kind: u32, len: usize, size: u32, body: &[u32]) -> u32 {
        let name = self.name(name);
        let info = ((kind & !KIND_FLAG) << 24) | (kind & KIND_FLAG) | u32::try_from(len).unwrap();
        for word in [name, info, size].iter().chain(body) {
            self.types.extend(word.to_le_bytes());
        }
        self.made += 1;
        self.made
    }

    /// `encoding`: 1 signed, 2 char, 4 bool.
    pub(crate) fn int(&mut self, name: &str, bytes: u32, encoding: u32) -> u32 {
        self.add(name, INT, 0, bytes, &[(encoding << 24) | (bytes * 8)])
    }

    pub(crate) fn pointer(&mut self, to: u32) -> u32 {
        self.add("", PTR, 0, to, &[])
    }

    pub(crate) fn constant(&mut self, of: u32) -> u32 {
        self.add("", CONST, 0, of, &[])
    }

    pub(crate) fn typedef(&mut self, name: &str, of: u32) -> u32 {
        self.add(name, TYPEDEF, 0, of, &[])
    }

    pub(crate) fn tag(&mut self, name: &str, of: u32) -> u32 {
        self.add(name, TYPE_TAG, 0, of, &[])
    }

    pub(crate) fn declared(&mut self, name: &str) -> u32 {
        self.add(name, FWD, 0, 0, &[])
    }

    pub(crate) fn array(&mut self, of: u32, len: u32) -> u32 {
        self.add("", ARRAY, 0, 0, &[of, of, len])
    }

    pub(crate) fn structure(&mut self, name: &str, bytes: u32, members: &[MadeMember<'_>]) -> u32 {
        self.members(name, STRUCT, bytes, members)
    }

    pub(crate) fn union(&mut self, name: &str, bytes: u32, members: &[MadeMember<'_>]) -> u32 {
        self.members(name, UNION, bytes, members)
    }

    fn members(&mut self, name: &str, kind: u32, bytes: u32, members: &[MadeMember<'_>]) -> u32 {
        let mut body = Vec::new();
        for (name, of, bits, width) in members {
            body.extend([self.name(name), *of, (width << 24) | bits]);
        }
        self.add(name, kind | KIND_FLAG, members.len(), bytes, &body)
    }

    pub(crate) fn function(&mut self, name: &str, returns: u32, arguments: &[(&str, u32)]) -> u32 {
        let mut body = Vec::new();
        for (name, of) in arguments {
            body.extend([self.name(name), *of]);
        }
        let proto = self.add("", FUNC_PROTO, arguments.len(), returns, &body);
        self.add(name, FUNC, 0, proto, &[])
    }

    pub(crate) fn types(self) -> KernelTypes {
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, types, types, strings] {
            bytes.extend(u32::to_le_bytes(word));
        }
        bytes.extend(self.types);
        bytes.extend(self.strings);
        KernelTypes::parse(&bytes, "made").unwrap()
    }
}
