//! Events: one call of a hook, with a body of its own, a list of values, or what a watch saw.

use alloc::vec::Vec;

use super::call::{Call, Value, Watch};
use super::hook::Hook;
use super::kind;
use crate::frame::{Frame, FrameError, push};
use crate::v0_1::{Connect, Exec, Exit, FileOpen, Fork, Meta};

/// What a hook was called with.
#[derive(Clone, Debug, PartialEq)]
pub enum Body<'a> {
    /// An executable is about to run, once per interpreter level; argv is not readable yet.
    BprmCheckSecurity(Exec<'a>),
    /// An exec that succeeded.
    BprmCommittedCreds(Exec<'a>),
    /// A file is being opened.
    FileOpen(FileOpen<'a>),
    /// A socket is being connected.
    SocketConnect(Connect),
    /// A process was created.
    SchedProcessFork(Fork),
    /// A process ended.
    SchedProcessExit(Exit),
    /// Any other curated hook.
    Call(Call<'a>),
    /// A call that a watch of this plugin saw.
    Watch(Watch<'a>),
}

impl Body<'_> {
    /// The curated hook this body belongs to; none for a watch, which may be on any hook.
    #[must_use]
    pub const fn hook(&self) -> Option<Hook> {
        Some(match self {
            Body::BprmCheckSecurity(_) => Hook::BprmCheckSecurity,
            Body::BprmCommittedCreds(_) => Hook::BprmCommittedCreds,
            Body::FileOpen(_) => Hook::FileOpen,
            Body::SocketConnect(_) => Hook::SocketConnect,
            Body::SchedProcessFork(_) => Hook::SchedProcessFork,
            Body::SchedProcessExit(_) => Hook::SchedProcessExit,
            Body::Call(call) => call.hook,
            Body::Watch(_) => return None,
        })
    }

    /// The kernel's name of the hook.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Body::Watch(watch) => &watch.hook,
            body => body.hook().map_or("", Hook::name),
        }
    }
}

/// One call of a hook.
#[derive(Clone, Debug, PartialEq)]
pub struct Event<'a> {
    /// Who, when, and with what answer.
    pub meta: Meta<'a>,
    /// Which hook, with what.
    pub body: Body<'a>,
}

impl<'a> Event<'a> {
    /// Decodes the body of an event frame.
    ///
    /// # Errors
    /// When the body is not an event of `hook`.
    pub(super) fn decode(hook: Hook, frame: &Frame<'a>) -> Result<Self, FrameError> {
        fn body<'a, T: serde::Deserialize<'a>>(
            frame: &Frame<'a>,
            body: impl FnOnce(T) -> Body<'a>,
        ) -> Result<Event<'a>, FrameError> {
            let (meta, inner) = frame.decode()?;
            Ok(Event { meta, body: body(inner) })
        }
        match hook {
            Hook::BprmCheckSecurity => body(frame, Body::BprmCheckSecurity),
            Hook::BprmCommittedCreds => body(frame, Body::BprmCommittedCreds),
            Hook::FileOpen => body(frame, Body::FileOpen),
            Hook::SocketConnect => body(frame, Body::SocketConnect),
            Hook::SchedProcessFork => body(frame, Body::SchedProcessFork),
            Hook::SchedProcessExit => body(frame, Body::SchedProcessExit),
            hook => body(frame, |values| Body::Call(Call { hook, values })),
        }
    }

    /// Decodes the body of a watch's frame.
    ///
    /// # Errors
    /// When the body is not one.
    pub(super) fn decode_watch(frame: &Frame<'a>) -> Result<Self, FrameError> {
        let (meta, watch) = frame.decode()?;
        Ok(Event { meta, body: Body::Watch(watch) })
    }

    /// Appends the event to a batch.
    ///
    /// # Errors
    /// When the event is longer than a frame can be.
    pub fn push(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let meta = &self.meta;
        let at = self.body.hook().map_or(kind::WATCH, |hook| kind::EVENT + hook as u16);
        match &self.body {
            Body::BprmCheckSecurity(exec) | Body::BprmCommittedCreds(exec) => {
                push(out, at, &(meta, exec))
            }
            Body::FileOpen(open) => push(out, at, &(meta, open)),
            Body::SocketConnect(connect) => push(out, at, &(meta, connect)),
            Body::SchedProcessFork(fork) => push(out, at, &(meta, fork)),
            Body::SchedProcessExit(exit) => push(out, at, &(meta, exit)),
            Body::Call(call) => push(out, at, &(meta, &call.values)),
            Body::Watch(watch) => push(out, at, &(meta, watch)),
        }
    }

    /// Whether a path or another text of it is cut, or could not be resolved in full.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        let cut = |value: &Value<'_>| matches!(value, Value::Text(text) if text.flags.truncated());
        match &self.body {
            Body::BprmCheckSecurity(exec) | Body::BprmCommittedCreds(exec) => {
                exec.path_truncated || exec.argv.truncated
            }
            Body::FileOpen(open) => open.path_truncated,
            Body::Call(call) => call.values.iter().any(cut),
            Body::Watch(watch) => watch.values.iter().any(cut),
            Body::SocketConnect(_) | Body::SchedProcessFork(_) | Body::SchedProcessExit(_) => false,
        }
    }

    /// Whether a reader of an older schema knows this kind of event.
    #[must_use]
    pub fn is_of(&self, schema: u16) -> bool {
        schema >= super::SCHEMA
            || self
                .body
                .hook()
                .is_some_and(|hook| crate::v0_1::Hook::from_id(hook as u16).is_some())
    }
}
