//! What a plugin may do: what it asked for, cut to what the operator grants.
//!
//! Without configuration the grant is: observe, alert, and deny with an expiry; no kill.

mod error;
mod grant;

use krsi_plugin_schema::latest::{Action, Allow, Deny, FileKey, LabelRule, RuleKey};

use super::asked::AskedWatch;
use super::broad::{Breadth, Machine};
use super::turns::Others;

pub(crate) use self::error::CapabilityError;
pub use self::grant::{Grant, GrantSpec};

/// Checks an action against a grant and its fields against their ranges.
///
/// # Errors
/// The first thing that is not granted or out of its range.
pub(crate) fn check(grant: &Grant, action: &Action<'_>) -> Result<(), CapabilityError> {
    match action {
        Action::Deny(deny) => {
            grant.check_rule(&deny.rule)?;
            grant.spec().check_errno(deny.errno)?;
            if deny.rule.ttl_ms == 0 && !grant.spec().permanent {
                return Err(CapabilityError::Permanent { max_ms: grant.spec().max_ttl_ms });
            }
            Ok(())
        }
        Action::Allow(allow) => grant.check_rule(&allow.rule),
        Action::LabelRule(LabelRule { rule, label }) => {
            grant.check_label(label)?;
            grant.check_rule(rule)
        }
        Action::SetLabel(set) => grant.check_label(&set.label),
        Action::Kill(_) => grant.check_kill(),
        Action::AskSamples(_) => grant.check_samples(),
        Action::Alert(alert) if !is_technique(&alert.technique) => Err(CapabilityError::Technique),
        Action::Metric(metric) if !is_metric_name(&metric.name) => Err(CapabilityError::MetricName),
        Action::Metric(metric) if !metric.value.is_finite() => Err(CapabilityError::MetricValue),
        Action::Alert(_)
        | Action::Metric(_)
        | Action::Evidence(_)
        | Action::Revoke(_)
        | Action::Unknown(_) => Ok(()),
    }
}

/// Checks an action against this machine: whether it may be so broad here, whether there are cgroups, and
/// whether its file is told from later ones.
/// `others` shows the plugin's other rules.
///
/// # Errors
/// Says what is too much, or missing.
pub(crate) fn check_on(
    machine: &Machine,
    grant: &Grant,
    action: &Action<'_>,
    others: Others<'_>,
) -> Result<(), CapabilityError> {
    if let Action::Deny(Deny { rule, .. })
    | Action::Allow(Allow { rule })
    | Action::LabelRule(LabelRule { rule, .. }) = action
    {
        check_key(machine, &rule.key)?;
    }
    if grant.spec().broad {
        return Ok(());
    }
    match breadth(machine, action, others, &grant.may().watches) {
        Some(breadth) => Err(CapabilityError::Broad { breadth }),
        None => Ok(()),
    }
}

/// That this machine tells apart what a key is about.
fn check_key(machine: &Machine, key: &RuleKey) -> Result<(), CapabilityError> {
    if let (RuleKey::Cgroup(_), Some(why)) = (key, machine.without_cgroups) {
        return Err(CapabilityError::Cgroups { why });
    }
    if let RuleKey::File(FileKey { dev, generation: 0, .. }) = *key
        && machine.has_generations.is_some_and(|has_generations| !has_generations(dev))
    {
        return Err(CapabilityError::Generation { dev });
    }
    Ok(())
}

/// How an action is broad, if it is.
fn breadth(
    machine: &Machine,
    action: &Action<'_>,
    others: Others<'_>,
    watches: &[AskedWatch],
) -> Option<Breadth> {
    match action {
        Action::Deny(denial) => machine.breadth(denial, others, watches),
        Action::LabelRule(LabelRule { rule, label }) => {
            machine.label_breadth(rule, label, others, watches)
        }
        Action::SetLabel(set) if set.gives => machine.root_breadth(set.process),
        _ => None,
    }
}

/// `T`, four digits, and perhaps a dot with three more; or nothing.
fn is_technique(text: &str) -> bool {
    let digits =
        |part: &str, count| part.len() == count && part.bytes().all(|byte| byte.is_ascii_digit());
    let Some(number) = text.strip_prefix('T') else { return text.is_empty() };
    match number.split_once('.') {
        Some((technique, sub)) => digits(technique, 4) && digits(sub, 3),
        None => digits(number, 4),
    }
}

fn is_metric_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

#[cfg(test)]
mod tests;
