//! The scenarios, and what a detection does and does not do.

use krsi_plugin::ExecFlags;
use krsi_plugin::testing::{Script, Seen, Spawn};
use serde::Deserialize;

use super::Miner;

#[derive(Deserialize)]
struct Scenarios {
    case: Vec<CorpusCase>,
}

#[derive(Deserialize)]
struct CorpusCase {
    name: String,
    acts: Vec<Act>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Act {
    #[serde(default = "first")]
    tgid: u32,
    #[serde(default)]
    parent: u32,
    exec: Option<String>,
    #[serde(default)]
    argv: Vec<String>,
    #[serde(default)]
    kind: String,
    connect: Option<String>,
}

const fn first() -> u32 {
    100
}

fn play(script: &mut Script<Miner>, act: &Act) -> Vec<Seen> {
    if let Some(to) = &act.connect {
        return script.connect(act.tgid, to);
    }
    let argv: Vec<&str> = act.argv.iter().map(String::as_str).collect();
    let flags = match act.kind.as_str() {
        "memfd" => ExecFlags::MEMFD | ExecFlags::DELETED,
        "deleted" => ExecFlags::DELETED,
        _ => 0,
    };
    script.exec(&Spawn {
        tgid: act.tgid,
        parent: act.parent,
        exe: act.exec.as_deref().unwrap(),
        argv: &argv,
        flags: ExecFlags(flags),
    })
}

fn cases(text: &str) -> Vec<CorpusCase> {
    toml::from_str::<Scenarios>(text).unwrap().case
}

fn alerts(seen: &[Seen]) -> usize {
    seen.iter()
        .filter(|seen| matches!(seen, Seen::Alert { technique, .. } if technique == "T1496"))
        .count()
}

#[test]
fn miners_are_detected_by_their_last_act() {
    for case in cases(include_str!("../scenarios/detected.toml")) {
        let mut script = Script::start(b"").unwrap();
        let (last, before) = case.acts.split_last().unwrap();
        for act in before {
            assert_eq!(play(&mut script, act), [], "{}: too early", case.name);
        }
        assert_eq!(alerts(&play(&mut script, last)), 1, "{}", case.name);
    }
}

#[test]
fn the_innocent_are_left_alone() {
    for case in cases(include_str!("../scenarios/innocent.toml")) {
        let mut script = Script::start(b"").unwrap();
        for act in &case.acts {
            assert_eq!(play(&mut script, act), [], "{}", case.name);
        }
    }
}

fn detected() -> (Script<Miner>, Vec<Seen>) {
    let mut script = Script::start(b"").unwrap();
    let argv = ["w", "--donate-level", "1", "stratum+tcp://p"];
    let seen = script.exec(&Spawn { tgid: 100, exe: "/tmp/w", argv: &argv, ..Spawn::default() });
    (script, seen)
}

#[test]
fn a_detection_denies_the_file_and_the_tree_connections_and_messages() {
    let (_, seen) = detected();
    let shown: Vec<String> = seen.iter().map(|seen| format!("{seen:?}")).collect();
    let file = format!("{:?}", Script::<Miner>::file("/tmp/w"));
    assert!(shown[0].contains(&file) && shown[0].contains("bprm_check_security"), "{}", shown[0]);
    let key = format!("{:?}", Script::<Miner>::key(100));
    for hook in ["socket_connect", "socket_sendmsg"] {
        let is_rule = |told: &&String| told.contains(&key) && told.contains(hook);
        assert_eq!(shown.iter().filter(is_rule).count(), 1, "{hook}: {shown:?}");
    }
    assert_eq!(alerts(&seen), 1);
}

#[test]
fn a_detection_is_answered_once_and_again_after_its_time() {
    let (mut script, _) = detected();
    assert_eq!(script.connect(100, "10.1.2.3:3333"), []);
    script.tick(61 * 60_000);
    assert_eq!(alerts(&script.connect(100, "10.1.2.3:3333")), 1);
}

#[test]
fn a_system_executable_is_never_denied() {
    let mut script = Script::<Miner>::start(b"").unwrap();
    let argv = ["xmrig", "--donate-level=1"];
    let seen =
        script.exec(&Spawn { tgid: 100, exe: "/usr/bin/xmrig", argv: &argv, ..Spawn::default() });
    assert_eq!(alerts(&seen), 1);
    assert!(!format!("{seen:?}").contains("bprm_check_security"));
}

#[test]
fn the_state_survives_a_reload() {
    let mut script = Script::<Miner>::start(b"").unwrap();
    let argv = ["w", "stratum+tcp://p:443"];
    script.exec(&Spawn { tgid: 100, exe: "/opt/w", argv: &argv, ..Spawn::default() });
    let mut script = script.reload(b"").unwrap();
    assert_eq!(alerts(&script.connect(100, "10.1.2.3:443")), 1);
}

#[test]
fn the_tree_that_is_answered_starts_with_the_miner() {
    let mut script = Script::<Miner>::start(b"").unwrap();
    script.exec(&Spawn { tgid: 100, exe: "/tmp/ci-runner", argv: &["ci"], ..Spawn::default() });
    let argv = ["w", "--donate-level", "1", "stratum+tcp://p"];
    let seen = script.exec(&Spawn {
        tgid: 101,
        parent: 100,
        exe: "/tmp/w",
        argv: &argv,
        ..Spawn::default()
    });
    let told = format!("{seen:?}");
    assert!(told.contains(&format!("{:?}", Script::<Miner>::key(101))), "{told}");
    assert!(!told.contains(&format!("{:?}", Script::<Miner>::key(100))), "{told}");
    assert!(!told.contains(&format!("{:?}", Script::<Miner>::file("/tmp/ci-runner"))), "{told}");
}

#[test]
fn a_wrong_configuration_is_refused_by_name() {
    let check = |config: &str, expected: &str| {
        let error = Script::<Miner>::start(config.as_bytes()).err().unwrap();
        assert!(error.contains(expected), "{error}");
    };
    check("colour = 1", "colour");
    let defaults = include_str!("../config.toml");
    check(
        &defaults.replace("pool_networks = []", "pool_networks = [\"10.0.0.0/33\"]"),
        "10.0.0.0/33",
    );
    check(&defaults.replace("threshold = 100", "threshold = 0"), "threshold");
}

#[test]
fn a_pool_network_is_enough() {
    let config = include_str!("../config.toml")
        .replace("pool_networks = []", "pool_networks = [\"203.0.113.0/24\"]");
    let mut script = Script::<Miner>::start(config.as_bytes()).unwrap();
    script.exec(&Spawn { tgid: 100, exe: "/opt/a", argv: &["a"], ..Spawn::default() });
    assert_eq!(script.connect(100, "203.0.114.1:443"), []);
    assert_eq!(alerts(&script.connect(100, "203.0.113.9:443")), 1);
}
