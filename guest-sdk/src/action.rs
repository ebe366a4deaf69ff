//! Builders of rules: what is denied or allowed, for whom, how long, and why.

use std::borrow::Cow;
use std::time::Duration;

use krsi_plugin_schema::latest::{
    Action, Allow, Deny, Hook, HookSet, IfUnread, IfUnresolved, LabelRule, LabelTest, ProcessKey,
    Rule, RuleKey, RuleMode, Subject,
};

use crate::context::Ctx;

/// A plugin's own name for a rule or a kill: to revoke it, and in [`crate::Outcome::token`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u32);

/// What a denied call answers (`include/uapi/asm-generic/errno-base.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub u16);

impl Errno {
    /// Operation not permitted.
    pub const EPERM: Errno = Errno(1);
    /// No such file or directory.
    pub const ENOENT: Errno = Errno(2);
    /// Permission denied.
    pub const EACCES: Errno = Errno(13);
    /// Connection refused.
    pub const ECONNREFUSED: Errno = Errno(111);
}

/// What a socket speaks (`IPPROTO_*` of `include/uapi/linux/in.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol(pub u16);

impl Protocol {
    /// Internet control messages of IPv4.
    pub const ICMP: Protocol = Protocol(1);
    /// TCP, by MPTCP too.
    pub const TCP: Protocol = Protocol(6);
    /// The protocol UDP.
    pub const UDP: Protocol = Protocol(17);
    /// Internet control messages of IPv6.
    pub const ICMPV6: Protocol = Protocol(58);
    /// The protocol SCTP.
    pub const SCTP: Protocol = Protocol(132);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Deny { mode: RuleMode },
    Allow,
    Label { name: &'static str },
}

/// A rule under construction; [`RuleBuilder::because`] issues it.
#[must_use = "a rule is issued by `because`"]
pub struct RuleBuilder<'c> {
    ctx: &'c mut Ctx,
    kind: Kind,
    key: RuleKey,
    subject: Subject,
    labels: LabelTest<'static>,
    hooks: HookSet,
    ttl: Duration,
    errno: Errno,
    if_unread: IfUnread,
}

/// A rule without a time to live ends after an hour.
const DEFAULT_TTL: Duration = Duration::from_secs(3600);

impl<'c> RuleBuilder<'c> {
    pub(crate) fn deny(ctx: &'c mut Ctx, key: RuleKey) -> Self {
        Self::new(ctx, Kind::Deny { mode: RuleMode::Enforce }, key)
    }

    pub(crate) fn allow(ctx: &'c mut Ctx, key: RuleKey) -> Self {
        Self::new(ctx, Kind::Allow, key)
    }

    pub(crate) fn label(ctx: &'c mut Ctx, name: &'static str, key: RuleKey) -> Self {
        Self::new(ctx, Kind::Label { name }, key)
    }

    fn new(ctx: &'c mut Ctx, kind: Kind, key: RuleKey) -> Self {
        Self {
            ctx,
            kind,
            key,
            subject: Subject::Any,
            labels: LabelTest::default(),
            hooks: HookSet::default(),
            ttl: DEFAULT_TTL,
            errno: Errno::EPERM,
            if_unread: IfUnread::Pass,
        }
    }

    /// Applies to a hook; at least one is needed.
    pub fn hook(mut self, hook: Hook) -> Self {
        self.hooks = self.hooks.with(hook);
        self
    }

    /// Applies to hooks; hooks that do not look up the rule's kind of key make the host refuse it.
    pub fn hooks(self, hooks: impl IntoIterator<Item = Hook>) -> Self {
        hooks.into_iter().fold(self, Self::hook)
    }

    /// Applies to execs.
    pub fn exec(self) -> Self {
        self.hook(Hook::BprmCheckSecurity)
    }

    /// Applies to opens.
    pub fn open(self) -> Self {
        self.hook(Hook::FileOpen)
    }

    /// Applies to connects.
    pub fn connect(self) -> Self {
        self.hook(Hook::SocketConnect)
    }

    /// Ends after a time; an hour unless said otherwise.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Answers with an errno; `EPERM` unless said otherwise.
    pub fn errno(mut self, errno: Errno) -> Self {
        self.errno = errno;
        self
    }

    /// Concerns only a process and its descendants.
    pub fn only_lineage(mut self, root: ProcessKey) -> Self {
        self.subject = Subject::Lineage(root);
        self
    }

    /// Concerns only callers that have one of the plugin's own labels; said several times, all of them.
    pub fn if_label(mut self, label: &'static str) -> Self {
        self.labels.has.push(label.into());
        self
    }

    /// Concerns only callers that lack one of the plugin's own labels; said several times, each of them.
    pub fn unless_label(mut self, label: &'static str) -> Self {
        self.labels.lacks.push(label.into());
        self
    }

    /// Says what a path means that the kernel could not resolve in full; such a path does not match
    /// unless said otherwise. Of no meaning to rules on other keys than paths.
    pub fn if_unresolved(mut self, meaning: IfUnresolved) -> Self {
        if let RuleKey::Path { if_unresolved, .. } = &mut self.key {
            *if_unresolved = meaning;
        }
        self
    }

    /// Concerns only sockets of a protocol; of every one unless said otherwise. Of meaning to rules on
    /// destinations only. A rule that must hold whatever the socket speaks leaves it out.
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        if let RuleKey::Network { address, prefix, port }
        | RuleKey::Transport { address, prefix, port, .. } = self.key
        {
            self.key = RuleKey::Transport { address, prefix, port, protocol: protocol.0 };
        }
        self
    }

    /// Says what a call means whose file or destination could not be read, an address that is cut off
    /// for instance, or whose executable is not hashed, as it is longer than the operator's `digest-mib` or
    /// on FUSE; it does not match unless said otherwise. Of meaning to denials by file, by destination and
    /// by digest only.
    pub fn if_unread(mut self, meaning: IfUnread) -> Self {
        self.if_unread = meaning;
        self
    }

    /// Reports what would have been denied, and denies nothing.
    pub fn audit(self) -> Self {
        self.mode(RuleMode::Audit)
    }

    /// Says whether the rule refuses, only reports, or does nothing but keep its token and takes no place; it refuses
    /// unless said otherwise. Of no meaning to rules that allow.
    pub fn mode(mut self, mode: RuleMode) -> Self {
        if let Kind::Deny { mode: own } = &mut self.kind {
            *own = mode;
        }
        self
    }

    /// Issues the rule. The reason is shown with every call that it denies.
    ///
    /// The same rule made again is renewed, whatever its token: the same key, subject, hooks and answer (deny
    /// or allow, errno, mode, `if_unread`, `if_unresolved`). It takes no further place, keeps its id, and ends
    /// when the later of both would. Its tokens name the same rule from then on: revoking one of them ends it.
    /// The first and the latest 63 tokens of a rule are known.
    pub fn because(self, reason: impl AsRef<str>) -> Token {
        let token = self.ctx.next_token();
        let rule = Rule {
            token: token.0,
            cause_boot_ns: self.ctx.cause_boot_ns(),
            key: self.key,
            subject: self.subject,
            labels: self.labels,
            hooks: self.hooks,
            // A zero would mean no end.
            ttl_ms: u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX).max(1),
            reason: Cow::Borrowed(reason.as_ref()),
        };
        match self.kind {
            Kind::Deny { mode } => {
                let if_unread = self.if_unread;
                let deny = Deny { rule, errno: self.errno.0, mode, if_unread };
                self.ctx.issue(&Action::Deny(deny));
            }
            Kind::Allow => self.ctx.issue(&Action::Allow(Allow { rule })),
            Kind::Label { name } => {
                self.ctx.issue(&Action::LabelRule(LabelRule { rule, label: name.into() }));
            }
        }
        token
    }
}
