//! Labels: what the kernel remembers of a process. A plugin declares them in its manifest, gives them by rules or
//! by hand, and makes rules that ask for them.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use super::action::Rule;
use super::process::ProcessKey;
use crate::{composite, words};

words! {
    /// What becomes of a label when its process executes something else.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub enum LabelExec ("what an exec does to a label") {
        /// The process keeps it.
        #[default]
        Keep = 0,
        /// The exec drops the label, then gives its own labels.
        Drop = 1,
    }
}

words! {
    /// What becomes of a call that would give a label, when there is no room for one.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub enum LabelFull ("what happens without room for a label") {
        /// The call is refused with `EAGAIN`.
        #[default]
        Refuse = 0,
        /// The call passes, and is counted.
        Count = 1,
    }
}

composite! {
    /// A label that a plugin has.
    #[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Label {
        /// Name, `[a-z0-9-]`, at most 32 bytes; the operator sees it behind the plugin's name and a point.
        pub name: String,
        /// Effect of an exec on the label.
        pub exec: LabelExec,
        /// Consequence of a map without room for the label.
        pub full: LabelFull,
    }
}

composite! {
    /// Which of the plugin's own labels the caller must have, and which not, for a rule to apply.
    #[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
    pub struct LabelTest<'a> {
        /// Labels that the caller must have, all of them.
        pub has: Vec<Cow<'a, str>>,
        /// Labels of which the caller must have none.
        pub lacks: Vec<Cow<'a, str>>,
    }
}

impl LabelTest<'_> {
    /// Whether it asks for no label.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.has.is_empty() && self.lacks.is_empty()
    }
}

/// Give whoever makes a call a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelRule<'a> {
    /// Key, subject and duration of the rule.
    pub rule: Rule<'a>,
    /// Name of the label.
    pub label: Cow<'a, str>,
}

composite! {
    /// Give a process a label, or take it away.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct SetLabel<'a> {
        /// The plugin's number for this action, which the outcome names.
        pub token: u32,
        /// The process whose label is changed.
        pub process: ProcessKey,
        /// Whether its descendants that are alive are meant too.
        pub descendants: bool,
        /// Name of the label.
        pub label: Cow<'a, str>,
        /// Whether the label is given; else it is taken.
        pub gives: bool,
    }
}
