//! Tests of what people see of reports, hostile names among them.

use super::super::{CallObject, EvidenceReport, FieldValue, Json, NoteReport, RefusalReport};
use super::*;

const START: &str = "1970-01-01T00:00:00.000Z";

fn text(report: &Report, colour: Colour) -> String {
    let mut out = Vec::new();
    Terminal::new(colour).write(report, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn verdict() -> VerdictReport {
    VerdictReport {
        unix_ns: 0,
        verdict: "denied",
        hook: "file_open".into(),
        errno: "EPERM".into(),
        object: CallObject::Name("/etc/shadow".into()),
        tgid: 42,
        uid: 1000,
        comm: "cat".into(),
        exe: "/bin/cat".into(),
        cgroup: String::new(),
        labels: Vec::new(),
        rule_id: 7,
        plugin: "sentry".into(),
        reason: "secret".into(),
        until_unix_ns: None,
        decided_by: Decider::Rule,
        ending: String::new(),
    }
}

fn rule_end(rule_id: u64) -> RuleEndReport {
    RuleEndReport {
        unix_ns: 0,
        rule_id,
        plugin: "miner".into(),
        text: "deny file_open on path /tmp".into(),
        reason: "mining".into(),
        ending: "its time was over".into(),
        hits: 3,
    }
}

#[test]
fn hostile_text_cannot_drive_the_terminal() {
    let note = Report::Note(NoteReport { unix_ns: 0, text: "a\x1b[2Jb\r\u{202e}c".into() });
    let shown = format!("{START}  NOTE      a\\u{{1b}}[2Jb\\r\\u{{202e}}c\n");
    assert_eq!(text(&note, Colour::Off), shown);
}

#[test]
fn an_alert_is_one_aligned_line() {
    let alert = Report::Alert(AlertReport {
        unix_ns: 1_796_558_401_500_000_000,
        plugin: "miner".into(),
        technique: "T1496".into(),
        severity: "high",
        tgid: 42,
        exe: "/tmp/x".into(),
        text: "mining".into(),
        evidence: vec![
            EvidenceReport { what: "a pool".into(), weight: 60 },
            EvidenceReport { what: "hints".into(), weight: 40 },
        ],
    });
    let plain = "2026-12-06T12:00:01.500Z  ALERT     high     T1496     miner      42 /tmp/x  mining; evidence: \"a pool\" (60), hints (40)\n";
    assert_eq!(text(&alert, Colour::Off), plain);
    assert!(text(&alert, Colour::On).contains("\x1b[1;33mALERT   \x1b[0m"));
}

const NAME: &str = "a\n15:00:00.000Z  DENIED    EPERM\u{2028}\u{202e} uid 0 (x)\x1b[2J\\n\u{200b}";

fn name() -> String {
    NAME.to_owned()
}

/// Reports of calls in which every text that somebody else wrote is hostile.
fn hostile_calls() -> Vec<Report> {
    let object = CallObject::Name(name());
    let labels = vec![name(), name()];
    let by_rule = VerdictReport { object, comm: name(), exe: name(), labels, ..verdict() };
    let object = CallObject::Fields(vec![("name", FieldValue::Text(name()))]);
    let by_watch = VerdictReport { object, decided_by: Decider::Watch, ..verdict() };
    let fields = vec![("f".to_owned(), FieldValue::Text(name()))];
    let (hook, verdict) = ("file_open".to_owned(), "");
    let (unix_ns, watch, tgid, uid, comm, exe) = (0, 0, 1, 0, name(), name());
    vec![
        Report::Verdict(VerdictReport { plugin: name(), reason: name(), ..by_rule }),
        Report::Verdict(VerdictReport { reason: name(), ..by_watch }),
        Report::Watch(WatchReport {
            unix_ns,
            watch,
            hook,
            fields,
            verdict,
            tgid,
            uid,
            comm,
            exe,
            labels: vec![name()],
            gave_labels: vec![name()],
        }),
    ]
}

/// Reports about plugins and the host in which every text that somebody else wrote is hostile.
fn hostile_plugins() -> Vec<Report> {
    let unix_ns = 0;
    let alert = AlertReport {
        unix_ns,
        plugin: name(),
        technique: name(),
        severity: "low",
        tgid: 1,
        exe: name(),
        text: name(),
        evidence: vec![EvidenceReport { what: name(), weight: 60 }],
    };
    let rule = RuleReport { unix_ns, rule_id: 1, plugin: name(), text: name(), reason: name() };
    let end = RuleEndReport { plugin: name(), text: name(), reason: name(), ..rule_end(1) };
    let refusal = RefusalReport { unix_ns, plugin: name(), token: 1, reason: name() };
    let (rules, backtrace) = (name(), vec![name(), name()]);
    let failure = FailureReport { unix_ns, plugin: name(), reason: name(), rules, backtrace };
    vec![
        Report::Note(NoteReport { unix_ns, text: name() }),
        Report::Alert(alert),
        Report::Rule(rule),
        Report::RuleEnd(end),
        Report::Refusal(refusal),
        Report::Failure(failure),
    ]
}

#[test]
fn a_report_is_one_line_whatever_the_names() {
    for report in hostile_calls().into_iter().chain(hostile_plugins()) {
        let line = text(&report, Colour::Off);
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        let drives = |letter: char| "\u{2028}\u{202e}\u{200b}\x1b".contains(letter);
        assert!(!line.contains(drives), "{line}");
        assert!(line.starts_with(START) && line.contains("\\\\n"), "{line}");
        let mut json = Vec::new();
        Json.write(&report, &mut json).unwrap();
        assert_eq!(json.iter().filter(|byte| **byte == b'\n').count(), 1);
    }
}

#[test]
fn names_pass_for_no_fields() {
    let watch = |value: &str, comm: &str| {
        let fields = vec![
            ("dentry.d_name.name".to_owned(), FieldValue::Text(value.into())),
            ("mode".to_owned(), FieldValue::mode(0o100_644)),
            ("gone".to_owned(), FieldValue::Absent),
        ];
        let (hook, comm, exe) = ("path_unlink".to_owned(), comm.to_owned(), "/bin/rm".to_owned());
        let (unix_ns, watch, verdict, tgid, uid) = (0, 0, "", 9, 1000);
        let labels = if comm == "nc" { vec!["web.served".to_owned()] } else { Vec::new() };
        let gave_labels = labels.iter().map(|_| "host.memfd".to_owned()).collect();
        let report = WatchReport {
            unix_ns,
            watch,
            hook,
            fields,
            verdict,
            tgid,
            uid,
            comm,
            exe,
            labels,
            gave_labels,
        };
        watch_text(&report)
    };
    assert!(watch("a", "nc").ends_with("(nc) labels web.served gets host.memfd"));
    let plain = "path_unlink          dentry.d_name.name=a mode=0o100644 gone=-  by 9 /bin/rm uid 1000 (rm)";
    assert_eq!(watch("a", "rm"), plain);
    let shown = "path_unlink          dentry.d_name.name=\"x uid=0 name=/etc/shadow\" mode=0o100644 gone=-  \
                 by 9 /bin/rm uid 1000 (\"rm) uid 0 (\")";
    assert_eq!(watch("x uid=0 name=/etc/shadow", "rm) uid 0 ("), shown);
    assert!(watch("-", "rm").contains("name=\"-\""));
}

#[test]
fn a_verdict_says_what_decided() {
    let check = |verdict: VerdictReport, expected: &str| {
        let line = text(&Report::Verdict(verdict), Colour::Off);
        let start = format!(
            "{START}  DENIED    EPERM    file_open            /etc/shadow  by 42 /bin/cat uid 1000 (cat)  "
        );
        assert_eq!(line, format!("{start}{expected}\n"));
    };
    check(verdict(), "rule sentry#7 without end: secret");
    let labelled = VerdictReport { labels: vec!["web.served".into()], ..verdict() };
    let line = text(&Report::Verdict(labelled), Colour::Off);
    assert!(line.contains("(cat) labels web.served  rule sentry#7"), "{line}");
    let until_unix_ns = Some(86_400_000_000_000);
    let until = VerdictReport { until_unix_ns, ..verdict() };
    check(until.clone(), "rule sentry#7 until 1970-01-02T00:00:00.000Z: secret");
    let ended = VerdictReport { ending: "its plugin revoked it".into(), ..until };
    check(ended, "rule sentry#7 ended since, its plugin revoked it: secret");
    let unknown = VerdictReport { plugin: String::new(), reason: String::new(), ..verdict() };
    check(unknown.clone(), "rule #7, no longer known");
    let (plugin, reason) = ("administrator".to_owned(), "watch file_open deny EPERM".to_owned());
    let watch = VerdictReport { plugin, reason, decided_by: Decider::Watch, ..verdict() };
    check(watch, "administrator: watch file_open deny EPERM");
    check(VerdictReport { decided_by: Decider::Watch, ..unknown }, "a watch that is gone");
    let (decided_by, reason) = (Decider::OnError, "on-error of file_open".to_owned());
    check(VerdictReport { decided_by, reason, ..verdict() }, "on-error of file_open");
}

#[test]
fn ids_and_times_are_texts_to_machines() {
    let mut out = Vec::new();
    let (rule_id, unix_ns) = ((1 << 63) | 257, 1_796_558_401_500_000_001);
    let until_unix_ns = Some(i64::MAX);
    let report = Report::Verdict(VerdictReport { rule_id, unix_ns, until_unix_ns, ..verdict() });
    Json.write(&report, &mut out).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(json["rule_id"], "9223372036854776065");
    assert_eq!(json["unix_ns"], "1796558401500000001");
    assert_eq!(json["until_unix_ns"], "9223372036854775807");
    assert_eq!(json["decided_by"], "rule");
    let report = Report::RuleEnd(rule_end(u64::MAX));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(
        (&json["kind"], &json["rule_id"]),
        (&"rule_end".into(), &u64::MAX.to_string().into())
    );
}

#[test]
fn a_failure_has_its_reason_before_the_backtrace() {
    let failure = FailureReport {
        unix_ns: 0,
        plugin: "census".into(),
        reason: "trapped in handle: out of tables".into(),
        rules: "quarantined; its rules stay in force until they expire".into(),
        backtrace: vec!["0: 0x1 - census::deep".into(), "1: 0x2 - census::handle".into()],
    };
    let shown = format!(
        "{START}  FAILED    census  trapped in handle: out of tables; quarantined; its rules stay in force until they \
         expire; at 0: 0x1 - census::deep < 1: 0x2 - census::handle\n"
    );
    assert_eq!(text(&Report::Failure(failure), Colour::Off), shown);
}

#[test]
fn a_hook_that_lost_something_says_where() {
    let quiet = HookSummary { hook: "file_open".into(), seen: 9, ..HookSummary::default() };
    let told = HookSummary {
        hook: "task_kill".into(),
        lost: 7,
        lost_telemetry: 5,
        lost_verdicts: 2,
        lost_by_cpu: vec![(0, 3), (3, 4)],
        missed: 1,
        ..HookSummary::default()
    };
    let summary = Summary { hooks: vec![quiet, told], ..Summary::default() };
    let text = text(&Report::Summary(summary), Colour::Off);
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("lost at ")).collect();
    let expected = "lost at task_kill: telemetry 5, verdicts 2, calls missed 1, cpu0 3, cpu3 4";
    assert_eq!(lines, [expected]);
}

#[test]
fn rules_for_one_reason_are_one_line_and_a_count() {
    let rule = |rule_id| {
        Report::Rule(RuleReport {
            unix_ns: 0,
            rule_id,
            plugin: "miner".into(),
            text: "deny".into(),
            reason: "mining".into(),
        })
    };
    let mut terminal = Terminal::new(Colour::Off);
    let mut out = Vec::new();
    let note = Report::Note(NoteReport { unix_ns: 0, text: "end".into() });
    let ends = [1, 2].map(|id| Report::RuleEnd(rule_end(id)));
    for report in [rule(1), rule(2), rule(3)].into_iter().chain(ends).chain([note]) {
        terminal.write(&report, &mut out).unwrap();
    }
    let out = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = out.lines().map(|line| line.trim_start_matches([' '])).collect();
    let [rule, rules, end, ends, _note] = lines.as_slice() else { panic!("{out}") };
    assert!(rule.ends_with("RULE      miner#1  deny  because mining"), "{out}");
    assert_eq!(*rules, "RULE      miner  and 2 more for the same reason");
    let ended =
        "miner#1  deny file_open on path /tmp  its time was over; it decided 3 calls: mining";
    assert!(end.ends_with(ended), "{out}");
    assert_eq!(*ends, "ENDED     miner  and 1 more for the same reason");
}
