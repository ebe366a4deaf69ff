//! Denials that are broad, and their neighbours that are not.

use krsi_plugin_schema::latest::{FileKey as PluginFile, IfUnread, IfUnresolved, LabelTest, Rule};

use super::super::asked::AskedVerdict;
use super::*;

/// Nobody's rules.
const ALONE: Others<'static> = &|_| ();
const TICK: u64 = 10_000_000;

fn process(tgid: u32, ticks: u64) -> ProcessKey {
    ProcessKey { start_boot_ns: ticks * TICK + 7, tgid }
}

fn machine() -> Machine {
    let libc = VitalFile {
        what: "libc",
        paths: ["/lib/x/libc.so.6", "/usr/lib/x/libc.so.6"].map(PathBuf::from).to_vec(),
        key: FileKey { ino: 7, dev: 8, generation: 0 },
    };
    let root = |tgid, ticks| AbiProcessKey { start_boot_ns: ticks, tgid, pad: 0 };
    Machine {
        files: vec![libc],
        common: vec![VitalFile {
            what: "/etc/ld.so.cache",
            paths: Vec::new(),
            key: FileKey { ino: 70, dev: 8, generation: 3 },
        }],
        roots: vec![root(1, 0), root(50, 9)],
        cgroups: vec![3],
        resolving: ResolvingHooks(Mutex::new(HookSet::default().with(Hook::FileOpen))),
        hash: Some(|_| HashMap::from([([7; 32], "libc")])),
        ..Machine::default()
    }
}

fn denial(key: RuleKey) -> Deny<'static> {
    let rule = Rule {
        token: 1,
        cause_boot_ns: 0,
        key,
        subject: Subject::Any,
        labels: LabelTest::default(),
        hooks: HookSet::default().with(Hook::FileOpen),
        ttl_ms: 1000,
        reason: "".into(),
    };
    Deny { rule, errno: 1, mode: RuleMode::Enforce, if_unread: IfUnread::Pass }
}

/// A denial in force.
fn in_force(key: RuleKey) -> RuleSpec {
    RuleSpec {
        owner: 1,
        plugin: "p".into(),
        token: 2,
        key,
        subject: Subject::Any,
        hooks: HookSet::default().with(Hook::FileOpen),
        errno: 1,
        asked: Mode::Enforce,
        mode: Mode::Enforce,
        labels: LabelTest::default(),
        gives: None,
        if_unread: IfUnread::Pass,
        expires_boot_ns: 0,
        reason: String::new(),
        cause_boot_ns: 0,
        max_rules: 1,
    }
}

fn check(key: RuleKey, expected: Option<Breadth>) {
    let told = format!("{key:?}");
    assert_eq!(machine().breadth(&denial(key), ALONE, &[]), expected, "{told}");
}

fn path(prefix: &str) -> RuleKey {
    RuleKey::Path { prefix: prefix.into(), if_unresolved: IfUnresolved::Pass }
}

fn network(address: &str, prefix: u8) -> RuleKey {
    RuleKey::Network { address: address.parse().unwrap(), prefix, port: 443 }
}

#[test]
fn a_whole_hook_is_broad_unless_it_is_about_somebody() {
    check(RuleKey::Hook, Some(Breadth::WholeHook(Hook::FileOpen)));
    let mut rule = denial(RuleKey::Hook);
    rule.rule.subject = Subject::Lineage(process(51, 9));
    assert_eq!(machine().breadth(&rule, ALONE, &[]), None);
    // The descendants of PID 1 are everybody.
    rule.rule.subject = Subject::Lineage(process(1, 0));
    let whole = Some(Breadth::WholeHook(Hook::FileOpen));
    assert_eq!(machine().breadth(&rule, ALONE, &[]), whole);
    for mode in [RuleMode::Audit, RuleMode::Off] {
        rule.mode = mode;
        assert_eq!(machine().breadth(&rule, ALONE, &[]), None, "it refuses nothing");
    }
    let mut kill = denial(RuleKey::Cgroup(99));
    assert_eq!(machine().breadth(&kill, ALONE, &[]), None);
    kill.rule.hooks = kill.rule.hooks.with(Hook::TaskKill);
    assert_eq!(machine().breadth(&kill, ALONE, &[]), Some(Breadth::Kill));
    kill.rule.key = RuleKey::Process(process(51, 9));
    assert_eq!(machine().breadth(&kill, ALONE, &[]), None);
}

#[test]
fn trees_and_groups_of_the_first_are_broad() {
    check(RuleKey::Lineage(process(1, 0)), Some(Breadth::Lineage(1)));
    check(RuleKey::Lineage(process(50, 9)), Some(Breadth::Lineage(50)));
    // Whoever came by the number later is somebody else.
    check(RuleKey::Lineage(process(50, 10)), None);
    check(RuleKey::Lineage(process(51, 9)), None);
    check(RuleKey::Process(process(50, 9)), None);
    check(RuleKey::Cgroup(3), Some(Breadth::Cgroup(3)));
    check(RuleKey::Cgroup(4), None);
}

#[test]
fn paths_are_broad_by_depth_and_by_what_lies_below() {
    for broad in ["/", "//", "/etc", "/etc/", "/usr"] {
        check(path(broad), Some(Breadth::Path(broad.into())));
    }
    let vital = Some(Breadth::Vital("libc"));
    for broad in ["/usr/lib", "/usr/lib/", "/usr/lib/x/libc.so.6", "/lib/x/libc.so.6"] {
        check(path(broad), vital.clone());
    }
    for narrow in ["/usr/li", "/usr/lib/x/libc.so", "/usr/lib/x/libc.so.6/y", "/etc/shadow"] {
        check(path(narrow), None);
    }
}

#[test]
fn a_path_that_cannot_be_resolved_anywhere_is_every_call() {
    let strict =
        |prefix: &str| RuleKey::Path { prefix: prefix.into(), if_unresolved: IfUnresolved::Apply };
    // Programs at this hook resolve paths.
    check(strict("/srv/secret"), None);
    let mut rule = denial(strict("/srv/secret"));
    rule.rule.hooks = rule.rule.hooks.with(Hook::FilePermission);
    let every = Some(Breadth::Unresolved(Hook::FilePermission));
    assert_eq!(machine().breadth(&rule, ALONE, &[]), every);
    rule.rule.subject = Subject::Lineage(process(51, 9));
    assert_eq!(machine().breadth(&rule, ALONE, &[]), None);
    let mut lenient = denial(path("/srv/secret"));
    lenient.rule.hooks = HookSet::default().with(Hook::FilePermission);
    assert_eq!(machine().breadth(&lenient, ALONE, &[]), None);
}

#[test]
fn vital_files_are_known_by_what_they_are() {
    let vital = Some(Breadth::Vital("libc"));
    check(RuleKey::File(PluginFile { ino: 7, dev: 8, generation: 0 }), vital.clone());
    check(RuleKey::File(PluginFile { ino: 7, dev: 9, generation: 0 }), None);
    check(RuleKey::File(PluginFile { ino: 8, dev: 8, generation: 0 }), None);
    check(RuleKey::Digest([7; 32]), vital);
    check(RuleKey::Digest([8; 32]), None);
}

#[test]
fn networks_are_broad_alone_or_together() {
    for (address, prefix) in [("0.0.0.0", 0), ("10.0.0.0", 8), ("::", 0), ("2001:db8::", 32)] {
        let words = Some(Breadth::Network(format!("{address}/{prefix}")));
        check(network(address, prefix), words);
    }
    // As IPv6 it is all of IPv4.
    let mapped = Some(Breadth::Network("::ffff:0.0.0.0/96".into()));
    check(network("::ffff:0.0.0.0", 96), mapped);
    for (address, prefix) in [("10.0.0.0", 9), ("10.1.2.3", 32), ("2001:db8::", 33), ("::1", 128)] {
        check(network(address, prefix), None);
    }
    let together = |others: &[(&str, u8)], key: RuleKey| {
        let others: Vec<RuleSpec> =
            others.iter().map(|(text, bits)| in_force(network(text, *bits))).collect();
        machine().breadth(&denial(key), &|see| others.iter().for_each(see), &[])
    };
    let (low, high) = ("10.0.0.0", "10.128.0.0");
    let both = Some(Breadth::Networks);
    assert_eq!(together(&[(low, 9)], network(high, 9)), both);
    assert_eq!(
        together(&[(low, 10), (high, 10), ("10.64.0.0", 10)], network("10.192.0.0", 10)),
        both
    );
    // The last of them may be a small one.
    assert_eq!(together(&[(low, 9), (high, 10), ("11.0.0.0", 10)], network("9.9.9.9", 32)), both);
    // The same addresses once more are no more, nor are those of the other family.
    assert_eq!(together(&[(low, 9), ("10.1.0.0", 16)], network(low, 9)), None);
    assert_eq!(together(&[("2001:db8::", 33)], network(low, 9)), None);
    assert_eq!(together(&[("2001:db8::", 33)], network("2001:db8:8000::", 33)), both);
    // For the descendants of PID 1, or with a label that everybody has, they are everybody's.
    let of_roots =
        RuleSpec { subject: Subject::Lineage(process(1, 0)), ..in_force(network(low, 9)) };
    let of_some = RuleSpec { subject: Subject::Lineage(process(51, 9)), ..of_roots.clone() };
    let labels = LabelTest { has: vec!["a".into()], lacks: Vec::new() };
    let labelled = RuleSpec { labels: labels.clone(), ..in_force(network(low, 9)) };
    let everybodys = RuleSpec {
        mode: Mode::Label,
        gives: Some("a".into()),
        ..in_force(path("/etc/ld.so.cache"))
    };
    let with = |specs: &[&RuleSpec]| {
        let see = |see: &mut dyn FnMut(&RuleSpec)| specs.iter().for_each(|spec| see(spec));
        machine().breadth(&denial(network(high, 9)), &see, &[])
    };
    assert_eq!(with(&[&of_roots]), both);
    assert_eq!(with(&[&of_some]), None);
    assert_eq!(with(&[&labelled]), None);
    assert_eq!(with(&[&labelled, &everybodys]), both);
    let others = [("0.0.0.0", 9), (high, 9)];
    assert_eq!(together(&others, network("2001:db8::", 33)), None, "of the family of the rule");
}

#[test]
fn a_label_that_everybody_can_have_spares_nobody() {
    let labels = LabelTest { has: vec!["a".into()], lacks: Vec::new() };
    let mut asks = denial(RuleKey::Hook);
    asks.rule.labels = labels.clone();
    let gives = |key: RuleKey| RuleSpec {
        mode: Mode::Label,
        asked: Mode::Label,
        gives: Some("a".into()),
        ..in_force(key)
    };
    let with = |spec: &RuleSpec| machine().breadth(&asks, &|see| see(spec), &[]);
    let whole = Some(Breadth::WholeHook(Hook::FileOpen));
    // Nobody has it yet, or whoever opens one file.
    assert_eq!(machine().breadth(&asks, ALONE, &[]), None);
    assert_eq!(with(&gives(path("/etc/shadow"))), None);
    assert_eq!(with(&gives(RuleKey::Hook)), whole);
    assert_eq!(with(&gives(path("/usr"))), whole);
    // Whoever starts opens these.
    for common in ["/etc/ld.so.cache", "/usr/lib/locale/", "/dev/null", "/etc/"] {
        assert_eq!(with(&gives(path(common))), whole, "{common}");
    }
    let file = |ino| RuleKey::File(PluginFile { ino, dev: 8, generation: 3 });
    assert_eq!(with(&gives(file(70))), whole);
    assert_eq!(with(&gives(file(71))), None);
    let executed = HookSet::default().with(Hook::BprmCheckSecurity);
    assert_eq!(with(&RuleSpec { hooks: executed, ..gives(file(70)) }), None);
    for rare in ["/etc/ssh/ssh_host_ed25519_key", "/srv/secret", "/root/.ssh"] {
        assert_eq!(with(&gives(path(rare))), None, "{rare}");
    }
    assert_eq!(with(&RuleSpec { gives: Some("b".into()), ..gives(RuleKey::Hook) }), None);
    // The other way round, too.
    let denies = RuleSpec { labels, ..in_force(RuleKey::Hook) };
    let label = |key: RuleKey, spec: &RuleSpec| {
        machine().label_breadth(&denial(key).rule, "a", &|see| see(spec), &[])
    };
    assert_eq!(label(RuleKey::Hook, &denies), whole);
    assert_eq!(label(path("/etc/shadow"), &denies), None);
    let common = Some(Breadth::Common("/etc/ld.so.cache".into()));
    assert_eq!(label(path("/etc/ld.so.cache"), &denies), common);
    // Many prefixes that ask for it are as much as a wide one.
    let halves = ["10.0.0.0", "10.128.0.0"]
        .map(|half| RuleSpec { labels: denies.labels.clone(), ..in_force(network(half, 9)) });
    let both = machine().label_breadth(
        &denial(RuleKey::Hook).rule,
        "a",
        &|see| {
            halves.iter().for_each(see);
        },
        &[],
    );
    assert_eq!(both, whole);
    assert_eq!(label(RuleKey::Hook, &RuleSpec { mode: Mode::Audit, ..denies.clone() }), None);
    assert_eq!(label(RuleKey::Hook, &RuleSpec { key: path("/etc/shadow"), ..denies }), None);
    assert_eq!(machine().root_breadth(process(1, 0)), Some(Breadth::Lineage(1)));
    assert_eq!(machine().root_breadth(process(51, 9)), None);
}

#[test]
fn labels_that_watches_give_and_ask_for_count_too() {
    let labels = LabelTest { has: vec!["a".into()], lacks: Vec::new() };
    let mut asks = denial(RuleKey::Hook);
    asks.rule.labels = labels;
    let whole = Some(Breadth::WholeHook(Hook::FileOpen));
    let watch = |verdict, gives: Option<&str>| AskedWatch {
        index: 0,
        text: String::new(),
        hook: Some("file_open".into()),
        has_predicate: true,
        needs_label: gives.is_none(),
        labels: vec!["a".into()],
        gives: gives.map(str::to_owned),
        verdict: Some(verdict),
    };
    let giver = [watch(AskedVerdict::Label, Some("a"))];
    assert_eq!(machine().breadth(&asks, ALONE, &giver), whole);
    assert_eq!(machine().breadth(&asks, ALONE, &[watch(AskedVerdict::Label, Some("b"))]), None);
    let asker = [watch(AskedVerdict::Deny(1), None)];
    let gives_all = denial(RuleKey::Hook).rule;
    assert_eq!(machine().label_breadth(&gives_all, "a", ALONE, &asker), whole);
    assert_eq!(machine().label_breadth(&gives_all, "b", ALONE, &asker), None);
}
