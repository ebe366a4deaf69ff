//! The operator's word on errors, put in force: what a hook answers when the object of a rule cannot be read.

use krsi_host_abi::deny::{Lease, Mode, Subject, halves};

use crate::attach::watches::ADMINISTRATOR;
use crate::config::{OnError, RuleSettings};
use crate::decode;
use crate::kernel::map::store::{RuleStore, StoreError};
use crate::policy::Ledger;

/// Rules that answer errors have ids from here on, by the slot of their hook: above those of the
/// ledger, below those of watches.
pub(super) const ERROR_RULES: u64 = 1 << 62;

/// Says what hooks answer when the object of a rule cannot be read.
pub(super) fn answer_errors(
    ledger: &mut Ledger<impl RuleStore>,
    settings: &RuleSettings,
) -> Result<(), StoreError> {
    for (hook, answer) in &settings.on_error {
        let Some(hook) = decode::abi_hook(*hook) else { continue };
        let (mode, errno) = match answer {
            OnError::Deny(errno) => (Mode::Enforce, *errno),
            OnError::Audit(errno) => (Mode::Audit, *errno),
        };
        let lease = Lease {
            hooks: halves(hook.bit()),
            rule_id: ERROR_RULES | u64::from(hook.id()),
            errno,
            mode: mode as u8,
            subject: Subject::Any as u8,
            owner: u16::from(ADMINISTRATOR),
            protocol: 0,
            ..Lease::default()
        };
        ledger.answer_errors(hook, lease)?;
    }
    Ok(())
}
