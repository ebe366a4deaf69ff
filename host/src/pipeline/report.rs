//! Nouns of the stages → reports for the outputs.

use std::borrow::Cow;

use krsi_plugin_schema::latest::{
    Body, Call, Event, FieldRow, Kind, Process, Severity, Value, Verdict, Watch,
};

use super::clock;
use crate::attach::watches::{ToldField, ToldWatch};
use crate::errno::errno_name;
use crate::output::{
    CallObject, Decider, FieldValue, Report, RuleEndReport, VerdictReport, WatchReport,
};
use crate::policy::RuleView;

/// A decided call, without the rule behind it; `fields` are those of the watch whose call it is.
pub(super) fn verdict(
    event: &Event<'_>,
    fields: &[ToldField],
    caller: Option<&Process<'_>>,
) -> VerdictReport {
    let errno = match event.meta.verdict {
        Verdict::None => 0,
        Verdict::Denied { errno, .. } | Verdict::Audited { errno, .. } => errno,
    };
    VerdictReport {
        unix_ns: clock::unix_ns(event.meta.boot_ns),
        verdict: verdict_word(event.meta.verdict),
        hook: event.body.name().to_owned(),
        errno: errno_name(errno),
        object: object(&event.body, fields),
        tgid: event.meta.process.tgid,
        uid: event.meta.uid,
        comm: event.meta.comm.clone().into_owned(),
        exe: caller.map(|caller| caller.exe.clone().into_owned()).unwrap_or_default(),
        cgroup: caller.map(|caller| caller.cgroup.clone().into_owned()).unwrap_or_default(),
        labels: names(&event.meta.labels.had),
        rule_id: 0,
        plugin: String::new(),
        reason: String::new(),
        until_unix_ns: None,
        decided_by: Decider::Rule,
        ending: String::new(),
    }
}

/// A call that a watch of the administrator's matched.
pub(super) fn watch(
    event: &Event<'_>,
    watch: &Watch<'_>,
    fields: &[ToldField],
    caller: Option<&Process<'_>>,
) -> Report {
    let fields = fields.iter().zip(&watch.values);
    Report::Watch(WatchReport {
        unix_ns: clock::unix_ns(event.meta.boot_ns),
        watch: watch.index,
        hook: watch.hook.clone().into_owned(),
        fields: fields
            .map(|(field, value)| (field.name.clone(), shown(value, field.is_mode)))
            .collect(),
        verdict: verdict_word(event.meta.verdict),
        tgid: event.meta.process.tgid,
        uid: event.meta.uid,
        comm: event.meta.comm.clone().into_owned(),
        exe: caller.map(|caller| caller.exe.clone().into_owned()).unwrap_or_default(),
        labels: names(&event.meta.labels.had),
        gave_labels: names(&event.meta.labels.gave),
    })
}

/// Names of labels that outlive their event.
fn names(labels: &[Cow<'_, str>]) -> Vec<String> {
    labels.iter().map(|label| label.clone().into_owned()).collect()
}

const fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::None => "",
        Verdict::Denied { .. } => "denied",
        Verdict::Audited { .. } => "audited",
    }
}

/// A decision of a watch.
pub(super) fn of_watch(verdict: VerdictReport, rule_id: u64, watch: Option<&ToldWatch>) -> Report {
    Report::Verdict(VerdictReport {
        rule_id,
        decided_by: Decider::Watch,
        plugin: watch.map(|watch| watch.plugin.clone()).unwrap_or_default(),
        reason: watch.map(|watch| format!("watch {}", watch.text)).unwrap_or_default(),
        ..verdict
    })
}

/// An answer to an error, as the operator wrote it.
pub(super) fn on_error(verdict: VerdictReport, rule_id: u64) -> Report {
    let reason = format!("on-error of {}", verdict.hook);
    Report::Verdict(VerdictReport {
        rule_id,
        decided_by: Decider::OnError,
        plugin: "administrator".to_owned(),
        reason,
        ..verdict
    })
}

/// A call that would have given a label for which there was no room.
pub(super) fn without_room(verdict: VerdictReport, rule_id: u64) -> Report {
    Report::Verdict(VerdictReport {
        rule_id,
        decided_by: Decider::Label,
        plugin: "administrator".to_owned(),
        reason: "no room for a label: raise `labels` below [rules.capacity]".to_owned(),
        ..verdict
    })
}

/// Returns a verdict with the rule that decided it.
pub(super) fn explained(verdict: VerdictReport, rule_id: u64, rule: Option<&RuleView>) -> Report {
    let until = rule.map(|rule| rule.expires_boot_ns).filter(|until| *until != 0);
    Report::Verdict(VerdictReport {
        rule_id,
        plugin: rule.map(|rule| rule.plugin.to_string()).unwrap_or_default(),
        reason: rule.map(|rule| rule.reason.clone()).unwrap_or_default(),
        until_unix_ns: until.map(clock::unix_ns),
        ending: rule.and_then(|rule| rule.ending).map(|how| how.to_string()).unwrap_or_default(),
        ..verdict
    })
}

/// A rule that has ended.
pub(super) fn rule_end(rule: &RuleView) -> Report {
    Report::RuleEnd(RuleEndReport {
        unix_ns: clock::unix_ns(clock::boot_ns()),
        rule_id: rule.rule_id,
        plugin: rule.plugin.to_string(),
        text: rule.to_string(),
        reason: rule.reason.clone(),
        ending: rule.ending.map(|how| how.to_string()).unwrap_or_default(),
        hits: rule.hits,
    })
}

/// Describes the object of a call.
fn object(body: &Body<'_>, fields: &[ToldField]) -> CallObject {
    CallObject::Name(match body {
        Body::BprmCheckSecurity(exec) | Body::BprmCommittedCreds(exec) => exec.path.to_string(),
        Body::FileOpen(open) => open.path.to_string(),
        Body::SocketConnect(connect) => match connect.address {
            Some(address) => std::net::SocketAddr::new(address, connect.port).to_string(),
            None => format!("address family {}", connect.family),
        },
        Body::SchedProcessFork(fork) => fork.child.tgid.to_string(),
        Body::SchedProcessExit(exit) => exit.code.to_string(),
        Body::Call(call) => return call_object(call),
        Body::Watch(watch) => {
            let modes = fields.iter().map(|field| field.is_mode).chain(std::iter::repeat(false));
            let values = watch.values.iter().zip(modes);
            return CallObject::Fields(
                values.map(|(value, is_mode)| ("", shown(value, is_mode))).collect(),
            );
        }
    })
}

/// What a call was about: its texts and addresses, or all that is known when it has none.
fn call_object(call: &Call<'_>) -> CallObject {
    let named = call.hook.fields().iter().zip(&call.values);
    let named = named.filter(|(_, value)| !matches!(value, Value::Absent(_)));
    let told = |values: &mut dyn Iterator<Item = (&'static FieldRow, &Value<'_>)>| {
        values.map(|(row, value)| (row.name, shown(value, is_mode(row)))).collect::<Vec<_>>()
    };
    let mut texts = named.clone().filter(|(row, _)| matches!(row.kind, Kind::Text | Kind::Address));
    let texts = told(&mut texts);
    CallObject::Fields(if texts.is_empty() { told(&mut named.clone()) } else { texts })
}

/// Whether a field holds the permission bits of a file or of another object.
fn is_mode(row: &FieldRow) -> bool {
    row.name == "mode" && row.doc.contains("ermission bits")
}

/// A value as it is told.
fn shown(value: &Value<'_>, is_mode: bool) -> FieldValue {
    match value {
        Value::Absent(_) => FieldValue::Absent,
        Value::Number(mode) if is_mode => FieldValue::mode(*mode),
        Value::Text(text) => FieldValue::Text(text.text.clone().into_owned()),
        Value::Address(address) if address.ip.is_none() && !address.path.is_empty() => {
            FieldValue::Text(address.path.to_string())
        }
        other => FieldValue::Written(other.to_string()),
    }
}

/// A severity in one word.
pub(super) const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
        Severity::Critical => "critical",
    }
}

#[cfg(test)]
mod tests {
    use krsi_plugin_schema::latest::{FileKey, Hook, Text, TextFlags, Watch, Why};

    use super::*;

    #[test]
    fn a_call_is_told_by_its_texts_or_by_all_it_has() {
        let text =
            |text: &'static str| Value::Text(Text { text: text.into(), flags: TextFlags(0) });
        let file = || Value::File(FileKey { ino: 7, dev: 8 << 20 | 1, generation: 9 });
        let check = |hook, values: Vec<Value<'_>>, expected: &str| {
            assert_eq!(object(&Body::Call(Call { hook, values }), &[]).to_string(), expected);
        };
        let values = vec![file(), text("/etc"), text("shadow"), Value::Absent(Why::Null)];
        check(Hook::PathUnlink, values, "folder=/etc name=shadow");
        let values = vec![file(), Value::Absent(Why::Unreadable), Value::Number(4096)];
        check(Hook::FileMprotect, values, "file=8:1 inode 7 generation 9 vm_start=4096");
        check(Hook::UringSqpoll, Vec::new(), "");
        let values = vec![Value::Signed(-1), text("x"), Value::Absent(Why::Kernel)];
        let watch = Watch { index: 0, hook: "inode_getattr".into(), values };
        assert_eq!(object(&Body::Watch(watch), &[]).to_string(), "-1 x -");
        let values = vec![file(), text("/tmp/a b"), text("x mode=0o777")];
        check(Hook::PathUnlink, values, "folder=\"/tmp/a b\" name=\"x mode=0o777\"");
    }

    #[test]
    fn permission_bits_are_octal_and_no_other_modes() {
        let modes = |hook: &Hook| hook.fields().iter().any(is_mode);
        let hooks: Vec<&str> =
            Hook::ALL.iter().filter(|hook| modes(hook)).map(|hook| hook.name()).collect();
        let expected = [
            "path_mkdir",
            "path_chmod",
            "path_mknod",
            "inode_mkdir",
            "inode_setattr",
            "inode_mknod",
            "ipc_permission",
        ];
        assert_eq!(hooks, expected);
        assert_eq!(shown(&Value::Number(0o4755), true), FieldValue::Written("0o4755".into()));
        assert_eq!(shown(&Value::Number(420), false), FieldValue::Written("420".into()));
    }
}
