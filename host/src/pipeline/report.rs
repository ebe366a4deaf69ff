//! Nouns of the stages → reports for the outputs.

use krsi_plugin_schema::latest::{
    Body, Call, Event, FieldRow, Kind, Process, Severity, Value, Verdict,
};

use super::clock;
use crate::output::{Report, VerdictReport, errno_name};
use crate::policy::RuleView;

/// A decided call, without the rule behind it.
pub(super) fn verdict(event: &Event<'_>, caller: Option<&Process<'_>>) -> VerdictReport {
    let (verdict, errno) = match event.meta.verdict {
        Verdict::None => ("", 0),
        Verdict::Denied { errno, .. } => ("denied", errno),
        Verdict::Audited { errno, .. } => ("audited", errno),
    };
    VerdictReport {
        unix_ns: clock::unix_ns(event.meta.boot_ns),
        verdict,
        hook: event.body.name().to_owned(),
        errno: errno_name(errno),
        object: object(&event.body),
        tgid: event.meta.process.tgid,
        uid: event.meta.uid,
        comm: event.meta.comm.clone().into_owned(),
        exe: caller.map(|caller| caller.exe.clone().into_owned()).unwrap_or_default(),
        cgroup: caller.map(|caller| caller.cgroup.clone().into_owned()).unwrap_or_default(),
        rule_id: 0,
        plugin: String::new(),
        reason: String::new(),
        until_unix_ns: None,
    }
}

/// The same with its rule.
pub(super) fn explained(verdict: VerdictReport, rule_id: u64, rule: Option<&RuleView>) -> Report {
    let until = rule.map(|rule| rule.expires_boot_ns).filter(|until| *until != 0);
    Report::Verdict(VerdictReport {
        rule_id,
        plugin: rule.map(|rule| rule.plugin.to_string()).unwrap_or_default(),
        reason: rule.map(|rule| rule.reason.clone()).unwrap_or_default(),
        until_unix_ns: until.map(clock::unix_ns),
        ..verdict
    })
}

/// What was acted upon.
fn object(body: &Body<'_>) -> String {
    match body {
        Body::BprmCheckSecurity(exec) | Body::BprmCommittedCreds(exec) => exec.path.to_string(),
        Body::FileOpen(open) => open.path.to_string(),
        Body::SocketConnect(connect) => match connect.address {
            Some(address) => std::net::SocketAddr::new(address, connect.port).to_string(),
            None => format!("address family {}", connect.family),
        },
        Body::SchedProcessFork(fork) => fork.child.tgid.to_string(),
        Body::SchedProcessExit(exit) => exit.code.to_string(),
        Body::Call(call) => call_object(call),
        Body::Watch(watch) => {
            watch.values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        }
    }
}

/// What a call was about: its texts and addresses, or all that is known when it has none.
fn call_object(call: &Call<'_>) -> String {
    let named = call.hook.fields().iter().zip(&call.values);
    let named = named.filter(|(_, value)| !matches!(value, Value::Absent(_)));
    let told = |values: &mut dyn Iterator<Item = (&FieldRow, &Value<'_>)>| {
        values.map(|(row, value)| format!("{}={value}", row.name)).collect::<Vec<_>>().join(" ")
    };
    let mut texts = named.clone().filter(|(row, _)| matches!(row.kind, Kind::Text | Kind::Address));
    let text = told(&mut texts);
    if text.is_empty() { told(&mut named.clone()) } else { text }
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
