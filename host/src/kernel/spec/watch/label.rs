//! Labels that a watch tests and gives: how they are written, and the hooks at which they say nothing of a caller.

use krsi_host_abi::spec::{Capture, Read, Spec, root, spec_flag};

use super::super::field_path::{Captured, Field, FieldKind};
use super::super::predicate::LABELS;
use super::{WatchError, WatchSpec, WatchVerdict};

/// Hook whose call is an exec: a label waits for the end of that.
const EXEC: &str = "bprm_check_security";

/// Hooks that interrupts, kernel threads or whoever lets go last call for somebody else.
const FOREIGN: &[&str] = &[
    "file_release",
    "file_send_sigiotask",
    "inet_conn_established",
    "inet_conn_request",
    "inet_csk_clone",
    "inode_free_security_rcu",
    "mptcp_add_subflow",
    "post_notification",
    "req_classify_flow",
    "sb_delete",
    "sctp_assoc_established",
    "sctp_assoc_request",
    "sctp_sk_clone",
    "secid_to_secctx",
    "secmark_refcount_dec",
    "secmark_refcount_inc",
    "secmark_relabel_packet",
    "sk_clone_security",
    "sk_getsecid",
    "socket_sock_rcv_skb",
];

/// Whether the calling task of a hook need not be who causes the call.
fn is_foreign(hook: &str) -> bool {
    FOREIGN.contains(&hook)
        || hook.starts_with("xfrm_")
        || hook.ends_with("_free")
        || hook.ends_with("_free_security")
}

/// The labels of the caller, captured for the predicate alone.
pub(super) fn captured() -> Captured {
    let row =
        Capture { read: Read::Scalar as u8, root: root::LABELS, size: 8, ..Capture::default() };
    let field = Field {
        name: LABELS.to_owned(),
        path: LABELS.to_owned(),
        kind: FieldKind::Unsigned(64),
        type_name: "labels".to_owned(),
        row: 0,
        is_pointer: false,
        shown: false,
    };
    Captured { field, rows: vec![row], attribute: None }
}

impl WatchSpec {
    /// Labels that it names, as they are written; one can be there twice.
    #[must_use]
    pub(crate) fn labels(&self) -> Vec<&str> {
        let mut labels = self.predicate.as_ref().map(|one| one.labels()).unwrap_or_default();
        if let Some(WatchVerdict::Label { name, .. }) = &self.verdict {
            labels.push(name);
        }
        labels
    }

    /// Whether it holds only for callers that have a label.
    #[must_use]
    pub(crate) fn needs_label(&self) -> bool {
        self.predicate.as_ref().is_some_and(|predicate| predicate.needs_label())
    }

    /// Gives the labels their numbers.
    ///
    /// # Errors
    /// The first that there is no number for.
    pub(crate) fn number_labels<E>(
        &mut self,
        mut number: impl FnMut(&str) -> Result<u8, E>,
    ) -> Result<(), E> {
        if let Some(predicate) = &mut self.predicate {
            predicate.number_labels(&mut number)?;
        }
        if let Some(WatchVerdict::Label { name, number: at }) = &mut self.verdict {
            *at = Some(number(name)?);
        }
        Ok(())
    }

    /// That labels say something of who makes a call of its hook, and are given there.
    pub(super) fn check_labels(&self) -> Result<(), WatchError> {
        if self.labels().is_empty() {
            return Ok(());
        }
        let hook = || self.hook.clone();
        if is_foreign(&self.hook) {
            return Err(WatchError::ForeignCaller { hook: hook() });
        }
        let gives = matches!(self.verdict, Some(WatchVerdict::Label { .. }));
        if gives && self.hook.starts_with("bprm_") && self.hook != EXEC {
            return Err(WatchError::LabelHook { hook: hook() });
        }
        Ok(())
    }

    /// Freezes the label that it gives.
    pub(super) fn give(&self, spec: &mut Spec) -> Result<(), WatchError> {
        let Some(WatchVerdict::Label { name, number }) = &self.verdict else { return Ok(()) };
        let number = number.ok_or_else(|| WatchError::Label { name: name.clone() })?;
        spec.label = u32::from(number);
        spec.flags |= spec_flag::WATCH_LABEL;
        if self.hook == EXEC {
            spec.flags |= spec_flag::LABEL_AT_EXEC;
        }
        Ok(())
    }
}
