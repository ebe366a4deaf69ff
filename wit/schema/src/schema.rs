//! Which schema a view, a plugin or a list of actions is of.

/// A schema. Every place that depends on one matches all of them, so that a new one does not compile
/// before each place has an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Schema {
    /// The first: postcard, six hooks.
    V0_1,
    /// Composites with lengths, every curated hook, watches.
    #[default]
    V0_2,
}

impl Schema {
    /// Number of the schema in a manifest and in the start of a batch.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Schema::V0_1 => 1,
            Schema::V0_2 => 2,
        }
    }

    /// The schema with that number, if this version has it.
    #[must_use]
    pub const fn from_number(number: u16) -> Option<Self> {
        match number {
            1 => Some(Schema::V0_1),
            2 => Some(Schema::V0_2),
            _ => None,
        }
    }

    /// Whether who asks for that schema can be served this one, which is its contract's. From 0.2 on a
    /// reader has defaults for what an older writer does not send, so that a schema which is not known
    /// here is one of a later version, whose needs its manifest names.
    #[must_use]
    pub const fn serves(self, asked: u16) -> bool {
        match self {
            Schema::V0_1 => asked == self.number(),
            Schema::V0_2 => match Self::from_number(asked) {
                Some(known) => known.number() == self.number(),
                None => asked != 0,
            },
        }
    }

    /// Whether it has the hook with that id of the newest schema.
    #[must_use]
    pub const fn has(self, hook: crate::latest::Hook) -> bool {
        match self {
            Schema::V0_1 => crate::v0_1::Hook::from_id(hook as u16).is_some(),
            Schema::V0_2 => true,
        }
    }
}
