//! Events: one call of a hook, with a body of its own, a list of values, or what a watch saw.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use super::call::{Call, Value, Watch};
use super::hook::Hook;
use super::kind;
use super::process::{Argv, FileKey, ProcessKey};
use crate::codec::{CodecError, Composite, Decode, Encode, Reader, choice};
use crate::frame::{Frame, FrameError, write};
use crate::{Schema, composite};

pub use crate::v0_1::ExecFlags;

/// Verdict on a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// No rule applied. A verdict of a later version reads as none.
    #[default]
    None,
    /// The call was refused.
    Denied {
        /// Id of the rule that refused.
        rule_id: u64,
        /// Errno of the answer, positive.
        errno: u16,
    },
    /// An audit rule applied: it would have been refused.
    Audited {
        /// Rule that would have refused.
        rule_id: u64,
        /// Errno it would have answered.
        errno: u16,
    },
}

impl Encode for Verdict {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Verdict::None => choice(out, 0, |_| ()),
            Verdict::Denied { rule_id, errno } => choice(out, 1, |out| {
                rule_id.encode(out);
                errno.encode(out);
            }),
            Verdict::Audited { rule_id, errno } => choice(out, 2, |out| {
                rule_id.encode(out);
                errno.encode(out);
            }),
        }
    }
}

impl Decode<'_> for Verdict {
    fn decode(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        let (number, mut fields) = (from.number()?, from.sized()?);
        Ok(match number {
            1 => Verdict::Denied { rule_id: fields.field()?, errno: fields.field()? },
            2 => Verdict::Audited { rule_id: fields.field()?, errno: fields.field()? },
            _ => Verdict::None,
        })
    }
}

composite! {
    /// What every event carries.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct Meta<'a> {
        /// Time of the call, nanoseconds of `CLOCK_BOOTTIME`.
        pub boot_ns: u64,
        /// Calling process.
        pub process: ProcessKey,
        /// Calling thread.
        pub tid: u32,
        /// User id in the initial namespace.
        pub uid: u32,
        /// Group id in the initial namespace.
        pub gid: u32,
        /// Inode number of the mount namespace, 0 when unknown.
        pub mount_ns: u32,
        /// Id of the cgroup.
        pub cgroup_id: u64,
        /// Name of the calling thread.
        pub comm: Cow<'a, str>,
        /// Verdict on the call.
        pub verdict: Verdict,
        /// Labels of the calling process.
        pub labels: EventLabels<'a>,
    }
}

composite! {
    /// Labels of the process that makes a call. In a batch each is called `plugin.name`; the SDK shows a plugin its own
    /// ones, by their names.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct EventLabels<'a> {
        /// Labels that it had before the call.
        pub had: Vec<Cow<'a, str>>,
        /// Labels that it had not, and that the call gave; where an exec begins, those that it gives if it succeeds.
        pub gave: Vec<Cow<'a, str>>,
    }
}

impl EventLabels<'_> {
    /// Leaves the labels of one owner, by their names without his.
    pub fn keep_own(&mut self, owner: &str) {
        keep_own(&mut self.had, owner);
        keep_own(&mut self.gave, owner);
    }
}

fn keep_own(labels: &mut Vec<Cow<'_, str>>, owner: &str) {
    labels.retain_mut(|label| match own_name(label, owner) {
        Some(name) => {
            *label = Cow::Owned(name);
            true
        }
        None => false,
    });
}

/// The name of an owner's label without his.
fn own_name(label: &str, owner: &str) -> Option<String> {
    let (of, name) = label.split_once('.')?;
    (of == owner).then(|| name.into())
}

impl Meta<'_> {
    /// Whether the calling process had a label of the plugin's before the call.
    #[must_use]
    pub fn has_label(&self, name: &str) -> bool {
        self.labels.had.iter().any(|label| label == name)
    }

    /// Whether the call gave the process a label of the plugin's that it had not. Where an exec begins: whether it gives
    /// it if it succeeds.
    #[must_use]
    pub fn gave_label(&self, name: &str) -> bool {
        self.labels.gave.iter().any(|label| label == name)
    }
}

impl Encode for ExecFlags {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
}

impl Decode<'_> for ExecFlags {
    fn decode(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        u32::decode(from).map(ExecFlags)
    }
}

composite! {
    /// An executable. Bytes of the path that are not UTF-8 are escaped as `\xNN`.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct Exec<'a> {
        /// Identity of the file; of a script, its interpreter's once committed.
        pub file: FileKey,
        /// Resolved path of the executable.
        pub path: Cow<'a, str>,
        /// The path is cut or could not be resolved in full.
        pub path_truncated: bool,
        /// Arguments; empty before the exec is committed.
        pub argv: Argv<'a>,
        /// Kind of the executable file.
        pub flags: ExecFlags,
    }
}

composite! {
    /// A file being opened. Bytes of the path that are not UTF-8 are escaped as `\xNN`.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct FileOpen<'a> {
        /// Identity of the file.
        pub file: FileKey,
        /// Resolved path of the file.
        pub path: Cow<'a, str>,
        /// The path is cut or could not be resolved in full.
        pub path_truncated: bool,
        /// `O_*` flags as the kernel keeps them.
        pub flags: u32,
        /// File type and permission bits.
        pub mode: u32,
    }
}

composite! {
    /// A socket being connected.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Connect {
        /// Destination address; `None` for families other than IPv4 and IPv6. IPv4-mapped is IPv4.
        pub address: Option<core::net::IpAddr>,
        /// Destination port, 0 without one.
        pub port: u16,
        /// Address family, `AF_*`.
        pub family: u16,
        /// Protocol, `IPPROTO_*`.
        pub protocol: u16,
        /// Socket type, `SOCK_*`.
        pub kind: u16,
    }
}

composite! {
    /// A process that was created; [`Meta::process`] is its parent.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Fork {
        /// The process that was created.
        pub child: ProcessKey,
    }
}

composite! {
    /// A process that ended.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Exit {
        /// Status as `wait(2)` encodes it.
        pub code: u32,
    }
}

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

/// An event: a call of a hook, as plugins get it.
#[derive(Clone, Debug, PartialEq)]
pub struct Event<'a> {
    /// Time, caller and verdict of the call.
    pub meta: Meta<'a>,
    /// Hook of the call, and its arguments.
    pub body: Body<'a>,
}

impl<'a> Event<'a> {
    /// Decodes the body of an event frame: [`Meta`], then the hook's own, which the frame ends.
    ///
    /// # Errors
    /// When the body is not an event of `hook`.
    pub(super) fn decode(hook: Hook, frame: &Frame<'a>) -> Result<Self, FrameError> {
        fn body<'a, T: Composite<'a>>(
            from: &mut Reader<'a>,
            body: impl FnOnce(T) -> Body<'a>,
        ) -> Result<Body<'a>, CodecError> {
            T::decode_fields(from).map(body)
        }
        frame.read(|from| {
            let meta = Meta::decode(from)?;
            let body = match hook {
                Hook::BprmCheckSecurity => body(from, Body::BprmCheckSecurity),
                Hook::BprmCommittedCreds => body(from, Body::BprmCommittedCreds),
                Hook::FileOpen => body(from, Body::FileOpen),
                Hook::SocketConnect => body(from, Body::SocketConnect),
                Hook::SchedProcessFork => body(from, Body::SchedProcessFork),
                Hook::SchedProcessExit => body(from, Body::SchedProcessExit),
                hook => Vec::decode(from).map(|values| Body::Call(Call { hook, values })),
            };
            Ok(Event { meta, body: body? })
        })
    }

    /// Decodes the body of a watch's frame.
    ///
    /// # Errors
    /// When the body is not one.
    pub(super) fn decode_watch(frame: &Frame<'a>) -> Result<Self, FrameError> {
        frame.read(|from| {
            let meta = Meta::decode(from)?;
            Ok(Event { meta, body: Body::Watch(Watch::decode_fields(from)?) })
        })
    }

    /// Appends the event to a batch.
    ///
    /// # Errors
    /// When the event is longer than a frame can be.
    pub fn push(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let at = self.body.hook().map_or(kind::WATCH, |hook| kind::EVENT + hook as u16);
        write(out, at, |out| {
            self.meta.encode(out);
            match &self.body {
                Body::BprmCheckSecurity(exec) | Body::BprmCommittedCreds(exec) => {
                    exec.encode_fields(out);
                }
                Body::FileOpen(open) => open.encode_fields(out),
                Body::SocketConnect(connect) => connect.encode_fields(out),
                Body::SchedProcessFork(fork) => fork.encode_fields(out),
                Body::SchedProcessExit(exit) => exit.encode_fields(out),
                Body::Call(call) => call.values.encode(out),
                Body::Watch(watch) => watch.encode_fields(out),
            }
        })
    }

    /// Whether a schema has this kind of event.
    #[must_use]
    pub const fn is_of(&self, schema: Schema) -> bool {
        match (self.body.hook(), schema) {
            (Some(hook), schema) => schema.has(hook),
            (None, Schema::V0_2) => true,
            (None, Schema::V0_1) => false,
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
}
