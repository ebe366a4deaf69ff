//! Batches and losses that each subscriber is sent.

use krsi_plugin_schema::frame::Frames;
use krsi_plugin_schema::latest::{Call, Connect, Hook, Meta, Process, ProcessKey, Record, Watch};
use krsi_plugin_schema::lower;

use super::*;

struct Nobody;

impl ProcessSource for Nobody {
    fn process(&self, _key: ProcessKey) -> Option<&Process<'static>> {
        None
    }
}

fn subscription(slot: u8, scope: Scope) -> Subscription {
    let hooks = HookSet::default().with(Hook::SocketConnect);
    let queue = Arc::new(Queue::new(100));
    let denied = HookSet::default();
    let (slot, schema, filters) = (PluginSlot(slot), Schema::V0_2, Arc::default());
    Subscription { slot, schema, hooks, denied, scope, filters, queue }
}

fn connect(uid: u32) -> Event<'static> {
    let meta = Meta { uid, ..Meta::default() };
    Event { meta, body: Body::SocketConnect(Connect::default()) }
}

fn uids(queue: &Queue) -> Vec<u32> {
    queue.push(Delivery::Stop);
    let mut uids = Vec::new();
    while let Delivery::Batch(batch) = queue.pop(None) {
        for frame in Frames::new(batch.bytes()) {
            if let Ok(Record::Event(event)) = Record::decode(&frame.unwrap()) {
                uids.push(event.meta.uid);
            }
        }
    }
    uids
}

#[test]
fn who_comes_and_goes_gets_what_was_routed_meanwhile() {
    let mut router = Router::default();
    let (first, second) = (subscription(1, Scope::System), subscription(2, Scope::System));
    let route = |router: &mut Router, uid| {
        router.route(&connect(uid), None, &Nobody).unwrap();
        router.flush(1, 0);
    };
    router.subscribe(&first);
    route(&mut router, 1);
    router.subscribe(&second);
    route(&mut router, 2);
    router.unsubscribe(first.slot);
    route(&mut router, 3);
    assert_eq!((uids(&first.queue), uids(&second.queue)), (vec![1, 2], vec![2, 3]));
}

#[test]
fn a_filter_on_what_the_host_lives_on_keeps_nothing_from_others() {
    use krsi_plugin_schema::latest::{Condition, Exec};
    let mut router = Router::default();
    let hooks = HookSet::default().with(Hook::BprmCommittedCreds);
    let filter = Filter { hook: Hook::BprmCommittedCreds, conditions: vec![Condition::Uid(7)] };
    let some = Subscription { hooks, filters: [filter].into(), ..subscription(1, Scope::System) };
    let all = Subscription { hooks, ..subscription(2, Scope::System) };
    router.subscribe(&some);
    router.subscribe(&all);
    for uid in [7, 8] {
        let meta = Meta { uid, ..Meta::default() };
        let event = Event { meta, body: Body::BprmCommittedCreds(Exec::default()) };
        router.route(&event, None, &Nobody).unwrap();
    }
    router.flush(1, 0);
    assert_eq!((uids(&some.queue), uids(&all.queue)), (vec![7], vec![7, 8]));
}

#[test]
fn plugins_with_the_same_view_share_one_encoding() {
    let mut router = Router::default();
    let subscriptions = [1, 2, 3].map(|slot| subscription(slot, Scope::System));
    subscriptions.iter().for_each(|plugin| router.subscribe(plugin));
    router.route(&connect(1), None, &Nobody).unwrap();
    router.flush(1, 0);
    let [first, second, third] = subscriptions.each_ref().map(|plugin| plugin.queue.pop(None));
    let (Delivery::Batch(a), Delivery::Batch(b), Delivery::Batch(c)) = (first, second, third)
    else {
        panic!("no batch");
    };
    assert!(Arc::ptr_eq(&a, &b) && Arc::ptr_eq(&b, &c));
}

/// Names of the hooks whose events a queue holds, and the schema of its batches.
fn names(queue: &Queue) -> (Vec<String>, Vec<u16>) {
    queue.push(Delivery::Stop);
    let (mut names, mut schemas) = (Vec::new(), Vec::new());
    while let Delivery::Batch(batch) = queue.pop(None) {
        let schema = lower::schema_of(batch.bytes()).unwrap();
        for frame in Frames::new(batch.bytes()) {
            match lower::record(&frame.unwrap(), schema).unwrap() {
                Record::Event(event) => names.push(event.body.name().to_owned()),
                Record::BatchStart(start) => schemas.push(start.schema),
                other => panic!("{other:?}"),
            }
        }
    }
    (names, schemas)
}

#[test]
fn a_view_is_of_one_schema_and_holds_only_what_that_has() {
    let mut router = Router::default();
    let hooks: HookSet = [Hook::SocketConnect, Hook::TaskKill].into_iter().collect();
    let newer = Subscription { hooks, ..subscription(1, Scope::System) };
    let older = Subscription { schema: Schema::V0_1, hooks, ..subscription(2, Scope::System) };
    router.subscribe(&newer);
    router.subscribe(&older);
    let call = |verdict| Event {
        meta: Meta { verdict, ..Meta::default() },
        body: Body::Call(Call { hook: Hook::TaskKill, values: Vec::new() }),
    };
    let denied = call(Verdict::Denied { rule_id: 1, errno: 1 });
    for event in [connect(1), call(Verdict::None), denied] {
        router.route(&event, Some(older.slot), &Nobody).unwrap();
    }
    router.flush(1, 0);
    let expected = ["socket_connect", "task_kill", "task_kill"].map(String::from);
    assert_eq!(names(&newer.queue), (expected.to_vec(), vec![2]));
    assert_eq!(names(&older.queue), (vec!["socket_connect".into()], vec![1]));
}

#[test]
fn what_a_watch_saw_is_for_its_plugin_alone() {
    let mut router = Router::default();
    let subscriptions = [1, 2].map(|slot| subscription(slot, Scope::System));
    subscriptions.iter().for_each(|plugin| router.subscribe(plugin));
    let watch = Watch { index: 0, hook: "socket_connect".into(), values: Vec::new() };
    let event = Event { meta: Meta::default(), body: Body::Watch(watch) };
    router.route(&event, Some(PluginSlot(2)), &Nobody).unwrap();
    // The administrator's own.
    router.route(&event, Some(PluginSlot(63)), &Nobody).unwrap();
    router.flush(1, 0);
    let [first, second] = &subscriptions;
    assert_eq!(names(&first.queue).0, Vec::<String>::new());
    assert_eq!(names(&second.queue).0, ["socket_connect"]);
}

#[test]
fn a_loss_is_told_in_order_to_those_who_see_its_hook() {
    let mut router = Router::default();
    let hooks = HookSet::default().with(Hook::TaskKill);
    let (newer, older) = (subscription(1, Scope::System), subscription(2, Scope::Uid(7)));
    let older = Subscription { schema: Schema::V0_1, ..older };
    let denied = HookSet::default().with(Hook::SocketConnect);
    let other = Subscription { hooks, denied, ..subscription(3, Scope::System) };
    [&newer, &older, &other].into_iter().for_each(|plugin| router.subscribe(plugin));
    let lost = |place, of| Lost { place, records: 4, of };
    let connects = LostOf::Hook(Hook::SocketConnect as u16);
    router.route(&connect(7), None, &Nobody).unwrap();
    router.lose(lost(LostWhere::Verdicts, connects), None);
    router.route(&connect(7), None, &Nobody).unwrap();
    router.lose(lost(LostWhere::Recursion, connects), None);
    router.lose(lost(LostWhere::Ring, LostOf::Watch(2)), Some(other.slot));
    router.lose(lost(LostWhere::Decode, LostOf::Any), None);
    router.flush(1, 0);
    let told = |queue: &Queue| {
        let mut told = Vec::new();
        queue.push(Delivery::Stop);
        while let Delivery::Batch(batch) = queue.pop(None) {
            let schema = lower::schema_of(batch.bytes()).unwrap();
            told.extend(Frames::new(batch.bytes()).filter_map(|frame| {
                match lower::record(&frame.unwrap(), schema).unwrap() {
                    Record::Event(_) => Some(None),
                    Record::Lost(lost) => Some(Some((lost.place, lost.of))),
                    _ => None,
                }
            }));
        }
        told
    };
    let (any, decode) = (LostOf::Any, LostWhere::Decode);
    let expected = [
        None,
        Some((LostWhere::Verdicts, connects)),
        None,
        Some((LostWhere::Recursion, connects)),
        Some((decode, any)),
    ];
    assert_eq!(told(&newer.queue), expected);
    let expected = [None, Some((LostWhere::Ring, any)), None, Some((decode, any))];
    assert_eq!(told(&older.queue), expected);
    let expected = [
        Some((decode, any)),
        Some((LostWhere::Verdicts, connects)),
        Some((LostWhere::Ring, LostOf::Watch(2))),
    ];
    assert_eq!(told(&other.queue), expected);
}

#[test]
fn a_scope_hides_what_others_do() {
    let mut router = Router::default();
    let (all, one) = (subscription(1, Scope::System), subscription(2, Scope::Uid(7)));
    router.subscribe(&all);
    router.subscribe(&one);
    for uid in [0, 7, 8] {
        router.route(&connect(uid), None, &Nobody).unwrap();
    }
    router.flush(1, 0);
    assert_eq!((uids(&all.queue), uids(&one.queue)), (vec![0, 7, 8], vec![7]));
}

#[test]
fn who_was_described_on_another_way_is_told_of_when_gone() {
    let key = |tgid| ProcessKey { start_boot_ns: u64::from(tgid), tgid };
    let mut router = Router::default();
    let (first, second) = (subscription(1, Scope::System), subscription(2, Scope::System));
    router.subscribe(&first);
    router.subscribe(&second);
    // The second of them ended before this was known.
    router.described(first.slot, &[key(1), key(2)], |one| one != key(2));
    router.flush(1, 0);
    for one in [key(1), key(3)] {
        router.follow(Some(ProcessChange::Exited { process: one }));
    }
    router.flush(2, 0);
    let gone = |queue: &Queue| -> Vec<u32> {
        queue.push(Delivery::Stop);
        let mut gone = Vec::new();
        while let Delivery::Batch(batch) = queue.pop(None) {
            for frame in Frames::new(batch.bytes()) {
                if let Ok(Record::Gone(one)) = Record::decode(&frame.unwrap()) {
                    gone.push(one.key.tgid);
                }
            }
        }
        gone
    };
    assert_eq!((gone(&first.queue), gone(&second.queue)), (vec![2, 1], vec![]));
}
