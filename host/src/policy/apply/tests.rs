//! Tests of lists of actions against maps that are read as the kernel reads them.

use std::sync::Mutex;

use krsi_host_abi::deny::Bounds;
use krsi_host_abi::hook::HOOKS;
use krsi_plugin_schema::frame::push;
use krsi_plugin_schema::latest::{
    FileKey, Hook, HookSet, KeyKind, Label, LabelExec, LabelFull, LabelTest, Record, RuleKey,
    Subject,
};
use krsi_plugin_schema::v0_1;

use super::super::asked::Asked;
use super::super::broad::Machine;
use super::super::capability::GrantSpec;
use super::super::ledger::fake::Fake;
use super::super::ledger::{Kinship, Ledger, Undeclared};
use super::super::sample::{SampleBook, SampleLimits};
use super::*;

fn turns() -> Turns<Fake> {
    Turns::new(Ledger::new(Fake::default(), HOOKS.iter().map(|row| row.hook)))
}

fn principal(spec: GrantSpec) -> Principal {
    let asked = Asked {
        deny_keys: [KeyKind::File].into_iter().collect(),
        deny_hooks: HookSet::default().with(Hook::FileOpen),
        ..Asked::default()
    };
    Principal::new(1, "p".into(), Schema::V0_2, Grant::new(asked, spec))
}

/// Denials of opens, one of each file, under tokens that are the files' numbers.
fn denials(files: std::ops::Range<u32>) -> Vec<u8> {
    denials_of(files, |ino| RuleKey::File(FileKey { ino: ino.into(), dev: 1, generation: 1 }))
}

/// Denials of opens, one of each key.
fn denials_of(tokens: std::ops::Range<u32>, key: impl Fn(u32) -> RuleKey) -> Vec<u8> {
    let mut out = Vec::new();
    for token in tokens {
        let rule = Rule {
            token,
            cause_boot_ns: 0,
            key: key(token),
            subject: Subject::Any,
            labels: LabelTest::default(),
            hooks: HookSet::default().with(Hook::FileOpen),
            ttl_ms: 1000,
            reason: "".into(),
        };
        let (mode, if_unread) = (RuleMode::Enforce, IfUnread::Pass);
        Action::Deny(Deny { rule, errno: 1, mode, if_unread }).push(&mut out).unwrap();
    }
    out
}

fn applied(turns: &Turns<Fake>, principal: &mut Principal, actions: &[u8]) -> Applied {
    let kinship =
        Kinship { exists: &|_| true, descendants: &|_| Vec::new(), running: &|_| Vec::new() };
    let machine = &Machine::default();
    let book = Mutex::new(SampleBook::default());
    let context = ActionContext {
        now_boot_ns: 1,
        kinship,
        machine,
        within: &|_| true,
        bounds: Bounds::default(),
        sampling: &book,
    };
    apply(turns, principal, actions, context)
}

/// Tokens and refusals of the answers, in order.
fn answers(applied: &Applied) -> Vec<(u32, Option<Refusal>)> {
    let answer = |frame: Result<Frame<'_>, FrameError>| match Record::decode(&frame.unwrap()) {
        Ok(Record::Outcome(outcome)) => (outcome.token, outcome.refusal),
        other => panic!("{other:?}"),
    };
    Frames::new(&applied.outcomes).map(answer).collect()
}

#[test]
fn what_a_call_has_no_room_for_is_answered_too_many() {
    let (turns, most) = (turns(), GrantSpec::default());
    let mut few = principal(GrantSpec { actions_max: 3, ..most.clone() });
    let applied_few = applied(&turns, &mut few, &denials(0..5));
    let too_many = Some(Refusal::TooMany);
    let expected = [(0, None), (1, None), (2, None), (3, too_many), (4, too_many)];
    assert_eq!(answers(&applied_few), expected);
    assert_eq!(applied_few.refused.len(), 1, "{:?}", applied_few.refused);
    assert!(applied_few.refused[0].detail.contains("2 actions"), "{:?}", applied_few.refused);

    // An entry, a count of hits, and with the first rule of the hook its flags.
    let turns = self::turns();
    let mut cheap = principal(GrantSpec { writes_max: 6, ..most });
    let applied_cheap = applied(&turns, &mut cheap, &denials(0..5));
    let expected = [(0, None), (1, None), (2, None), (3, too_many), (4, too_many)];
    assert_eq!(answers(&applied_cheap), expected);
    assert!(applied_cheap.refused[0].detail.contains("6 updates"), "{:?}", applied_cheap.refused);
    // The next call has a budget of its own.
    let again = applied(&turns, &mut cheap, &denials(3..5));
    assert_eq!(answers(&again), [(3, None), (4, None)]);
}

/// Whoever looks at a plugin's other rules has the ledger: nothing may ask for it again meanwhile.
#[test]
fn rules_on_networks_that_ask_for_labels_are_made_beside_each_other() {
    let turns = turns();
    let (exec, full) = (LabelExec::Keep, LabelFull::Count);
    let labels = [Label { name: "a".into(), exec, full }];
    turns.turn(|ledger| ledger.declare_labels(&"p".into(), &labels, Undeclared::End)).unwrap();
    let asked = Asked {
        deny_keys: [KeyKind::Network].into_iter().collect(),
        deny_hooks: HookSet::default().with(Hook::SocketConnect),
        labels: labels.into(),
        ..Asked::default()
    };
    let grant = Grant::new(asked, GrantSpec::default());
    let mut plugin = Principal::new(1, "p".into(), Schema::V0_2, grant);
    let mut actions = Vec::new();
    for (token, first) in [(1, 0), (2, 128)] {
        let rule = Rule {
            token,
            cause_boot_ns: 0,
            key: RuleKey::Network { address: [10, first, 0, 0].into(), prefix: 9, port: 443 },
            subject: Subject::Any,
            labels: LabelTest { has: vec!["a".into()], lacks: Vec::new() },
            hooks: HookSet::default().with(Hook::SocketConnect),
            ttl_ms: 1000,
            reason: "".into(),
        };
        let (mode, if_unread) = (RuleMode::Enforce, IfUnread::Pass);
        Action::Deny(Deny { rule, errno: 1, mode, if_unread }).push(&mut actions).unwrap();
    }
    let done = applied(&turns, &mut plugin, &actions);
    assert_eq!(answers(&done), [(1, None), (2, None)], "{:?}", done.refused);
}

#[test]
fn a_rule_of_0_1_is_on_the_file_that_it_was_last_told_of() {
    let turns = turns();
    let asked = principal(GrantSpec::default()).grant;
    let mut plugin = Principal::new(1, "p".into(), Schema::V0_1, asked);
    let file = |ino, generation| FileKey { ino, dev: 1, generation };
    plugin.note(&Batch::private(Vec::new()).with_files(vec![file(7, 1), file(8, 5), file(7, 2)]));
    let mut actions = Vec::new();
    for (token, ino) in [(3, 7), (4, 8), (5, 9)] {
        let rule = v0_1::Rule {
            token,
            cause_boot_ns: 0,
            key: v0_1::RuleKey::File(v0_1::FileKey { ino, dev: 1 }),
            subject: v0_1::Subject::Any,
            hooks: v0_1::HookSet::default().with(v0_1::Hook::FileOpen),
            ttl_ms: 1000,
            reason: "".into(),
        };
        let deny = v0_1::Deny { rule, errno: 1, audit: false };
        push(&mut actions, v0_1::ActionKind::Deny as u16, &deny).unwrap();
    }
    let done = applied(&turns, &mut plugin, &actions);
    assert_eq!(answers(&done), [(3, None), (4, None), (5, Some(Refusal::Unsupported))]);
    let keys: Vec<&str> = done.rules.iter().map(|rule| &*rule.key).collect();
    assert_eq!(keys, ["file 0:1 inode 7 generation 2", "file 0:1 inode 8 generation 5"]);
    let [refused] = &done.refused[..] else { panic!("{:?}", done.refused) };
    assert!(refused.detail.starts_with("no event told of file 0:1 inode 9, "), "{refused:?}");
    // The newest contract says itself which file it means: nothing is remembered for it.
    let mut newer = principal(GrantSpec::default());
    newer.note(&Batch::private(Vec::new()).with_files(vec![file(1, 9)]));
    let done = applied(&turns, &mut newer, &denials(1..2));
    let key = done.rules.first().map(|rule| &*rule.key);
    assert_eq!(key, Some("file 0:1 inode 1 generation 1"));
}

#[test]
fn others_get_the_ledger_between_the_actions_of_one_call() {
    let turns = turns();
    let asked = Asked {
        deny_keys: [KeyKind::Process].into_iter().collect(),
        deny_hooks: HookSet::default().with(Hook::FileOpen),
        ..Asked::default()
    };
    let grant = Grant::new(asked, GrantSpec::default());
    let mut plugin = Principal::new(1, "p".into(), Schema::V0_2, grant);
    let key = |tgid| RuleKey::Process(ProcessKey { start_boot_ns: 1, tgid });
    let actions = denials_of(0..1000, key);
    let (under_way, starts) = std::sync::mpsc::channel();
    let first = std::sync::Once::new();
    // Asked while the ledger is held: the other one waits for it from the first action on.
    let exists = |_| {
        first.call_once(|| {
            under_way.send(()).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(100));
        });
        true
    };
    let rules_by_then = std::thread::scope(|scope| {
        let turns = &turns;
        let other = scope.spawn(move || {
            starts.recv().unwrap();
            turns.turn(|ledger| ledger.owned(1))
        });
        let kinship =
            Kinship { exists: &exists, descendants: &|_| Vec::new(), running: &|_| Vec::new() };
        let machine = &Machine::default();
        let book = Mutex::new(SampleBook::default());
        let context = ActionContext {
            now_boot_ns: 1,
            kinship,
            machine,
            within: &|_| true,
            bounds: Bounds::default(),
            sampling: &book,
        };
        let applied = apply(turns, &mut plugin, &actions, context);
        assert_eq!(applied.rules.len(), 1000);
        other.join().unwrap()
    });
    assert!(rules_by_then < 10, "the ledger was had after {rules_by_then} of 1000 actions");
}

#[test]
fn a_renewal_is_answered_with_the_same_rule_and_is_no_news() {
    let turns = turns();
    let mut plugin = principal(GrantSpec::default());
    let first = applied(&turns, &mut plugin, &denials(5..6));
    let again = applied(&turns, &mut plugin, &denials(5..6));
    assert_eq!((first.rules.len(), again.rules.len()), (1, 0));
    assert_eq!(first.outcomes, again.outcomes);
}

#[test]
fn samples_are_asked_for_by_who_may_and_of_who_runs_and_an_ask_is_revoked_as_a_rule_is() {
    let turns = turns();
    let gone = ProcessKey { start_boot_ns: 9, tgid: 9 };
    let book = Mutex::new(SampleBook::default());
    let answers_of = |plugin: &mut Principal, actions: &[Action<'_>]| {
        let mut list = Vec::new();
        actions.iter().for_each(|action| action.push(&mut list).unwrap());
        let kinship = Kinship {
            exists: &|key| key != gone,
            descendants: &|_| Vec::new(),
            running: &|_| Vec::new(),
        };
        let context = ActionContext {
            now_boot_ns: 1,
            kinship,
            machine: &Machine::default(),
            within: &|key| key.tgid != 8,
            bounds: Bounds::default(),
            sampling: &book,
        };
        answers(&apply(&turns, plugin, &list, context))
    };
    let ask = |token, tgid| {
        let process = ProcessKey { start_boot_ns: 9, tgid };
        let ask = AskSamples { token, process, every_ms: 1000, times: 9, ..AskSamples::default() };
        Action::AskSamples(AskSamples { usage: true, ..ask })
    };
    let asked = Asked { samples: true, ..Asked::default() };
    let of = |asked: &Asked, spec| {
        Principal::new(1, "p".into(), Schema::V0_2, Grant::new(asked.clone(), spec))
    };
    let few = GrantSpec {
        samples: SampleLimits { asks: 2, per_second: 1 },
        scope: Scope::Uid(7),
        ..GrantSpec::default()
    };
    let mut plugin = of(&asked, few);
    let revoke = |token| Action::Revoke(Revoke { token });
    let actions =
        [ask(1, 1), ask(1, 2), ask(2, 9), ask(3, 8), ask(4, 1), ask(5, 1), revoke(1), ask(6, 1)];
    let expected = [
        (1, None),
        (1, Some(Refusal::TokenInUse)),
        (2, Some(Refusal::UnknownProcess)),
        (3, Some(Refusal::OutOfScope)),
        (4, None),
        (5, Some(Refusal::TooMany)),
        (1, None),
        (6, None),
    ];
    assert_eq!(answers_of(&mut plugin, &actions), expected);
    let not_granted = [(7, Some(Refusal::NotGranted)), (7, Some(Refusal::UnknownRule))];
    let none =
        GrantSpec { samples: SampleLimits { asks: 0, per_second: 1 }, ..GrantSpec::default() };
    for mut plugin in [of(&Asked::default(), GrantSpec::default()), of(&asked, none)] {
        assert_eq!(answers_of(&mut plugin, &[ask(7, 1), revoke(7)]), not_granted);
    }
}
