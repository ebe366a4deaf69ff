//! The scenarios, and what a detection does and does not do.

use krsi_plugin::testing::{Script, Seen, Spawn};
use krsi_plugin::{Address, Connect, ExecFlags, Refusal, Sample, Text, Value, Whose};
use serde::Deserialize;

use super::Miner;

/// A file of scenarios, as far as native tests play it: `krsi-host plugin test` plays the whole.
#[derive(Deserialize)]
struct Scenarios {
    #[serde(default)]
    attack: Vec<CorpusCase>,
    #[serde(default)]
    benign: Vec<CorpusCase>,
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
    pid: u32,
    #[serde(default)]
    parent: u32,
    exec: Option<String>,
    #[serde(default)]
    argv: Vec<String>,
    #[serde(default)]
    kind: String,
    connect: Option<String>,
    running: Option<String>,
    #[serde(default)]
    connections: Vec<String>,
    watch: Option<u16>,
    #[serde(default)]
    hook: String,
    #[serde(default)]
    values: Vec<Given>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Given {
    Number(u64),
    Text(String),
}

const fn first() -> u32 {
    100
}

/// What is told and refused: to have somebody read is nothing to him, nor is what is noted of him.
fn answers(mut seen: Vec<Seen>) -> Vec<Seen> {
    seen.retain(|seen| !matches!(seen, Seen::Samples { .. } | Seen::Evidence { .. }));
    seen
}

fn play(script: &mut Script<Miner>, act: &Act) -> Vec<Seen> {
    answers(acted(script, act))
}

fn acted(script: &mut Script<Miner>, act: &Act) -> Vec<Seen> {
    if let Some(to) = &act.connect {
        return script.connect(act.pid, to);
    }
    let argv: Vec<&str> = act.argv.iter().map(String::as_str).collect();
    let flags = match act.kind.as_str() {
        "memfd" => ExecFlags::MEMFD | ExecFlags::DELETED,
        "deleted" => ExecFlags::DELETED,
        _ => 0,
    };
    if let Some(index) = act.watch {
        let values = act.values.iter().map(|value| match value {
            Given::Number(number) => Value::Number(*number),
            Given::Text(text) => {
                Value::Text(Text { text: text.as_str().into(), ..Text::default() })
            }
        });
        return script.watch(act.pid, index, &act.hook, &values.collect::<Vec<_>>());
    }
    let spawn = Spawn {
        tgid: act.pid,
        parent: act.parent,
        exe: act.exec.as_ref().or(act.running.as_ref()).unwrap(),
        argv: &argv,
        flags: ExecFlags(flags),
    };
    if act.running.is_some() {
        let to: Vec<&str> = act.connections.iter().map(String::as_str).collect();
        return script.running(&spawn, &to);
    }
    script.exec(&spawn)
}

fn scenarios(text: &str) -> Scenarios {
    toml::from_str(text).unwrap()
}

/// What somebody is told or refused: a label harms nobody, as it is asked for only when a process speaks to a pool.
fn harm(seen: Vec<Seen>) -> Vec<Seen> {
    let is_label = |seen: &Seen| matches!(seen, Seen::Other(text) if text.starts_with("SetLabel"));
    seen.into_iter().filter(|seen| !is_label(seen)).collect()
}

fn alerts(seen: &[Seen]) -> usize {
    seen.iter()
        .filter(|seen| matches!(seen, Seen::Alert { technique, .. } if technique == "T1496"))
        .count()
}

#[test]
fn miners_are_detected_by_their_last_act() {
    for case in scenarios(include_str!("../scenarios/detected.toml")).attack {
        let mut script = Script::start(b"").unwrap();
        let (last, before) = case.acts.split_last().unwrap();
        for act in before {
            assert_eq!(harm(play(&mut script, act)), [], "{}: too early", case.name);
        }
        assert_eq!(alerts(&play(&mut script, last)), 1, "{}", case.name);
    }
}

#[test]
fn the_innocent_are_left_alone() {
    for case in scenarios(include_str!("../scenarios/innocent.toml")).benign {
        let mut script = Script::start(b"").unwrap();
        for act in &case.acts {
            assert_eq!(harm(play(&mut script, act)), [], "{}", case.name);
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
    let evidence = |seen: &Seen| match seen {
        Seen::Alert { evidence, .. } => evidence.iter().map(|(_, weight)| weight).sum(),
        _ => 0,
    };
    // The hint of its place beside an option and a URL.
    assert_eq!(seen.iter().map(evidence).sum::<u32>(), 60 + 80 + 30);
    let seen = answers(seen);
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
    assert_eq!(answers(script.connect(100, "10.1.2.3:3333")), []);
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
    check(&defaults.replace("threshold = 100", "threshold = 40"), "hints_max");
    check(&defaults.replace("\"refuse\"\n", "\"off\"\n"), "mode");
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

/// What a script's plugin has wanted of a pool: rules by network.
fn pool_rules(seen: &[Seen]) -> usize {
    seen.iter().filter(|seen| format!("{seen:?}").contains("Network")).count()
}

#[test]
fn a_pool_has_one_rule_for_everybody_and_what_is_near_or_everybodys_has_none() {
    let config = include_str!("../config.toml").replace("pool_rules = false", "pool_rules = true");
    let mut script = Script::<Miner>::start(config.as_bytes()).unwrap();
    let mut mine = |tgid, to: &str| {
        let argv = ["w", "-a", "rx/0", "-u", "x", "-o", to];
        let exe = format!("/opt/{tgid}");
        let spawn = Spawn { tgid, exe: &exe, argv: &argv, ..Spawn::default() };
        let seen = script.exec(&spawn);
        assert_eq!((alerts(&seen), pool_rules(&seen)), (1, 0), "{seen:?}");
        pool_rules(&script.connect(tgid, to))
    };
    assert_eq!(mine(100, "198.51.100.7:3333"), 1);
    assert_eq!(mine(101, "198.51.100.7:3333"), 0);
    assert_eq!(mine(102, "198.51.100.7:3334"), 1);
    let near = ["198.51.100.7:443", "10.1.2.3:3333", "127.0.0.1:3333", "100.64.1.1:3333"];
    for (tgid, to) in (103..).zip(near) {
        assert_eq!(mine(tgid, to), 0, "{to}");
    }
}

/// One who starts another's program with a miner's words has it refused to nobody else.
#[test]
fn a_program_that_is_somebodys_is_refused_to_nobody_else() {
    let mut script = Script::<Miner>::start(b"").unwrap();
    let argv = ["bridge", "--donate-level=1", "-o", "stratum+tcp://198.51.100.7:3333"];
    let exe = "/opt/cni/bin/bridge";
    let mut seen = script.exec(&Spawn { tgid: 100, exe, argv: &argv, ..Spawn::default() });
    seen.extend(script.connect(100, "198.51.100.7:3333"));
    let told = format!("{seen:?}");
    assert!(alerts(&seen) == 1 && told.contains("socket_connect"), "{told}");
    assert!(!told.contains("bprm_check_security") && pool_rules(&seen) == 0, "{told}");
}

#[test]
fn what_a_former_image_was_is_not_what_the_next_one_is() {
    let mut script = Script::<Miner>::start(b"").unwrap();
    let flags = ExecFlags(ExecFlags::MEMFD | ExecFlags::DELETED);
    let runtime =
        Spawn { tgid: 100, exe: "/memfd:runc", argv: &["runc"], flags, ..Spawn::default() };
    let noted = |weight| Seen::Evidence { what: "an executable in memory only".into(), weight };
    assert_eq!(script.exec(&runtime)[0], noted(30));
    // One word of mining, and a hint: with the runtime's two hints they would be a proof.
    let argv = ["a", "--nicehash"];
    let spawn = Spawn { tgid: 100, exe: "/opt/a", argv: &argv, ..Spawn::default() };
    let seen = script.exec(&spawn);
    assert_eq!(seen[0], noted(0));
    assert_eq!(answers(seen), []);
    assert_eq!(answers(script.connect(100, "10.1.2.3:14444")), []);
}

#[test]
fn to_learn_is_to_alert_and_to_refuse_nothing() {
    let config = include_str!("../config.toml").replace("\"refuse\"\n", "\"learn\"\n");
    let mut script = Script::<Miner>::start(config.as_bytes()).unwrap();
    let argv = ["w", "--donate-level", "1", "stratum+tcp://p"];
    let spawn = Spawn { tgid: 100, exe: "/tmp/w", argv: &argv, ..Spawn::default() };
    let seen = answers(script.exec(&spawn));
    assert_eq!((alerts(&seen), seen.len()), (1, 1), "{seen:?}");
}

#[test]
fn a_tree_without_room_for_a_rule_is_refused_by_process() {
    let (mut script, _) = detected();
    let seen = script.refuse(Refusal::TooMany, "no more lineages");
    let by_process = seen.iter().filter(|seen| format!("{seen:?}").contains("Process("));
    assert!(by_process.count() > 0, "{seen:?}");
    // Nor is there room for that: what it shows next is answered anew.
    script.refuse(Refusal::TooMany, "no more rules");
    assert_eq!(alerts(&script.connect(100, "10.1.2.3:3333")), 1);
}

#[test]
fn the_state_of_the_first_versions_is_left_behind() {
    use krsi_plugin::Plugin;
    let mut ctx = krsi_plugin::Ctx::default();
    let mut miner = Miner::init(b"", 0, &mut ctx).unwrap();
    assert_eq!(miner.restore("0.1.0", b"\xff\xff"), Ok(()));
    assert!(miner.restore("1.0.0", b"\xff\xff").is_err());
}

/// A process that is told `argv` and then works for so many samples, beside a connection of each; what came of it.
fn worked(exe: &str, argv: &[&str], share: u64, to: &[&str]) -> usize {
    let mut script = Script::<Miner>::start(b"").unwrap();
    script.exec(&Spawn { tgid: 100, exe, argv, ..Spawn::default() });
    let mut cpu_ns = 0;
    let mut found = 0;
    for to in to {
        let to: std::net::SocketAddr = to.parse().unwrap();
        let connect =
            Connect { address: Some(to.ip()), port: to.port(), protocol: 6, ..Connect::default() };
        let sample = Sample { cpu_ns, connections: vec![connect], ..Sample::default() };
        found += alerts(&script.sample(100, sample));
        script.wait(15_000);
        cpu_ns += 150_000_000 * share;
    }
    found
}

#[test]
fn work_without_a_break_decides_beside_a_word_of_what_is_computed_and_a_connection_that_stays() {
    let (pool, other) = ("203.0.113.9:443", "203.0.113.8:443");
    let (name, exe) = (["xmrig"], "/opt/xmrig");
    assert_eq!(worked(exe, &name, 95, &[pool; 5]), 1);
    // Too short, too little, on this machine, to one after the other.
    assert_eq!(worked(exe, &name, 95, &[pool; 4]), 0);
    assert_eq!(worked(exe, &name, 70, &[pool; 9]), 0);
    for near in ["127.0.0.1:443", "[::1]:443", "[::ffff:127.0.0.1]:443"] {
        assert_eq!(worked(exe, &name, 95, &[near; 9]), 0, "{near}");
    }
    assert_eq!(worked(exe, &name, 95, &[pool, pool, other, other, pool, pool, other, other]), 0);
    // Whom it is for is not what it does, and to work is no word of mining.
    let wallet = format!("4{}", "A".repeat(94));
    assert_eq!(worked("/opt/scan", &["scan", "--address", &wallet], 95, &[pool; 9]), 0);
    assert_eq!(worked("/tmp/ffmpeg", &["ffmpeg", "-i", "a.mp4"], 95, &[pool; 9]), 0);
}

#[test]
fn hints_with_work_and_memory_are_no_proof() {
    let mut script = Script::<Miner>::start(b"").unwrap();
    let flags = ExecFlags(ExecFlags::MEMFD | ExecFlags::DELETED);
    let argv = ["java", "-o", "10.1.2.3:3333", "-u", "x", "-p", "y"];
    script.exec(&Spawn { tgid: 100, exe: "/tmp/java", argv: &argv, flags, ..Spawn::default() });
    assert_eq!(script.connect(100, "10.1.2.3:3333"), []);
    // Nobody has him read, as nothing that samples say would decide.
    let seen = script.sample(100, Sample { huge_bytes: 1 << 40, ..Sample::default() });
    assert!(matches!(&seen[..], [Seen::Refused { .. }]), "{seen:?}");
}

#[test]
fn a_program_of_a_root_of_its_own_is_no_program_of_the_system() {
    let argv = ["a", "--donate-level", "1", "-o", "stratum+tcp://127.0.0.1:443"];
    let spawn = Spawn { tgid: 100, exe: "/usr/bin/a", argv: &argv, ..Spawn::default() };
    for (root, mounts, expected) in [
        (Whose::Own, Whose::Machine, 1),
        (Whose::Machine, Whose::Own, 1),
        (Whose::Machine, Whose::Machine, 0),
        (Whose::Unknown, Whose::Unknown, 0),
    ] {
        let mut script = Script::<Miner>::start(b"").unwrap();
        assert_eq!(answers(script.exec(&spawn)), []);
        let inside = root == Whose::Own;
        let exe = if inside { "/srv/jail/usr/bin/a" } else { "/usr/bin/a" }.into();
        let sample = Sample { exe, root, mounts, ..Sample::default() };
        assert_eq!(answers(script.sample(100, sample)), []);
        assert_eq!(alerts(&script.connect(100, "127.0.0.1:443")), expected, "{root:?} {mounts:?}");
    }
    // Another program runs by then.
    let mut script = Script::<Miner>::start(b"").unwrap();
    script.exec(&spawn);
    let other = Sample { exe: "/usr/bin/b".into(), root: Whose::Own, ..Sample::default() };
    assert_eq!(script.sample(100, other), []);
    assert_eq!(script.connect(100, "127.0.0.1:443"), []);
}

#[test]
fn a_sample_of_a_process_that_has_ended_is_waited_for_no_longer() {
    let mut script = Script::<Miner>::start(b"").unwrap();
    let spawn = Spawn { tgid: 100, exe: "/opt/xmrig", argv: &["xmrig"], ..Spawn::default() };
    let asks = |seen: &[Seen]| seen.iter().filter(|s| matches!(s, Seen::Samples { .. })).count();
    assert_eq!(asks(&script.exec(&spawn)), 1);
    assert_eq!(script.sample_ended(100), []);
    // It is asked for again, once, when it starts again.
    assert_eq!(asks(&script.exec(&spawn)), 1);
    assert_eq!(script.refuse(Refusal::TooMany, "no more asks"), []);
    assert_eq!(asks(&script.exec(&spawn)), 1);
}

#[test]
fn first_words_of_a_pool_are_enough_but_not_on_this_machine() {
    let to = |ip: &str| {
        let ip = ip.parse().ok();
        [Value::Address(Address { family: 2, ip, port: 443, ..Address::default() })]
    };
    let exe = "/usr/local/sbin/sshd";
    for (index, ip, expected) in
        [(2, "198.51.100.7", 1), (3, "198.51.100.7", 1), (2, "127.0.0.1", 0)]
    {
        let mut script = Script::<Miner>::start(b"").unwrap();
        let spawn = Spawn { tgid: 100, exe, argv: &["sshd"], ..Spawn::default() };
        assert_eq!(script.exec(&spawn), []);
        let seen = script.watch(100, index, "socket_sendmsg", &to(ip));
        assert_eq!(alerts(&seen), expected, "{index} {ip}: {seen:?}");
    }
}

#[test]
fn whoever_runs_from_memory_is_suspect() {
    let mut script = Script::<Miner>::start(b"").unwrap();
    let flags = ExecFlags(ExecFlags::MEMFD);
    let spawn = Spawn { tgid: 100, exe: "/memfd:a", argv: &["a"], flags, ..Spawn::default() };
    let seen = format!("{:?}", script.exec(&spawn));
    assert!(seen.contains("SetLabel") && seen.contains("suspect"), "{seen}");
    let other = Spawn { tgid: 101, exe: "/opt/a", argv: &["a"], ..Spawn::default() };
    assert_eq!(script.exec(&other), []);
}
