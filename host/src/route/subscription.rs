//! Who wants what: plugins with the same hooks, scope and schema share one view, encoded once for all of them.
//!
//! A denial reaches the plugin that owns its rule also when that plugin does not subscribe to the
//! hook, and what a watch saw only the plugin that the watch belongs to; such events go through a
//! view of its own.

use std::sync::Arc;

use krsi_plugin_schema::Schema;
use krsi_plugin_schema::frame::FrameError;
use krsi_plugin_schema::latest::{Body, Event, HookSet, Lost, LostOf, LostWhere, Verdict};

use super::batch::{BatchBuilder, Processes};
use super::filter::{Filter, Sieve};
use super::queue::{Delivery, Queue};
use super::scope::Scope;
use super::spare::Spare;
use crate::enrich::ProcessChange;

/// Slot of a plugin: owner of rules, index of its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PluginSlot(pub u8);

/// What a plugin is to be sent.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// Its slot.
    pub slot: PluginSlot,
    /// Schema that it reads.
    pub schema: Schema,
    /// Hooks it wants.
    pub hooks: HookSet,
    /// Hooks that its rules may refuse: it is sent what they decide.
    pub denied: HookSet,
    /// Whose events it may see.
    pub scope: Scope,
    /// What it wants to see of its hooks.
    pub filters: Arc<[Filter]>,
    /// Its queue.
    pub queue: Arc<Queue>,
}

struct Subscriber {
    slot: PluginSlot,
    queue: Arc<Queue>,
}

struct View {
    schema: Schema,
    hooks: HookSet,
    denied: HookSet,
    scope: Scope,
    sieve: Sieve,
    batch: BatchBuilder,
    subscribers: Vec<Subscriber>,
}

impl View {
    fn new(subscription: &Subscription, spare: &Arc<Spare>) -> Self {
        Self {
            schema: subscription.schema,
            hooks: subscription.hooks,
            denied: subscription.denied,
            scope: subscription.scope.clone(),
            sieve: Sieve::new(Arc::clone(&subscription.filters)),
            batch: BatchBuilder::new(
                subscription.scope.clone(),
                subscription.schema,
                Arc::clone(spare),
            ),
            subscribers: Vec::new(),
        }
    }

    /// Whether its readers subscribed to the event's hook, which their schema then has.
    fn wants(&self, event: &Event<'_>) -> bool {
        event.body.hook().is_some_and(|hook| self.hooks.contains(hook)) && event.is_of(self.schema)
    }

    fn add(&mut self, subscription: &Subscription) {
        self.batch.describe_anew();
        let queue = Arc::clone(&subscription.queue);
        self.subscribers.push(Subscriber { slot: subscription.slot, queue });
    }
}

/// All views.
#[derive(Default)]
pub struct Router {
    shared: Vec<View>,
    own: Vec<View>,
    /// One for all views, so that many of them keep no more than one.
    spare: Arc<Spare>,
}

impl Router {
    /// Adds a plugin, or moves it to another view. To be called between two flushes.
    pub fn subscribe(&mut self, subscription: &Subscription) {
        self.unsubscribe(subscription.slot);
        let mut own = View::new(subscription, &self.spare);
        own.add(subscription);
        self.own.push(own);
        let same = |view: &&mut View| {
            (view.schema, view.hooks) == (subscription.schema, subscription.hooks)
                && view.scope == subscription.scope
                && view.sieve.is_of(&subscription.filters)
        };
        match self.shared.iter_mut().find(same) {
            Some(view) => view.add(subscription),
            None => {
                let mut view = View::new(subscription, &self.spare);
                view.add(subscription);
                self.shared.push(view);
            }
        }
    }

    /// Takes a plugin out of every view. To be called between two flushes.
    pub fn unsubscribe(&mut self, slot: PluginSlot) {
        for view in self.shared.iter_mut().chain(&mut self.own) {
            view.subscribers.retain(|subscriber| subscriber.slot != slot);
        }
        self.shared.retain(|view| !view.subscribers.is_empty());
        self.own.retain(|view| !view.subscribers.is_empty());
    }

    /// Puts an event into every batch whose readers want it. `owner` is the slot of the rule that
    /// decided the call, if one did, or of the watch that saw it.
    ///
    /// # Errors
    /// When the event is too long for a frame: nobody gets it.
    pub fn route(
        &mut self,
        event: &Event<'_>,
        owner: Option<PluginSlot>,
        processes: &impl Processes,
    ) -> Result<(), FrameError> {
        for view in &mut self.shared {
            if view.wants(event) && view.scope.sees(event, processes) && view.sieve.passes(event) {
                view.batch.push(event, processes)?;
            }
        }
        let is_watch = matches!(event.body, Body::Watch(_));
        let owner = owner.filter(|_| is_watch || event.meta.verdict != Verdict::None);
        let Some(owner) = owner else { return Ok(()) };
        for view in &mut self.own {
            let owns = view.subscribers.iter().any(|subscriber| subscriber.slot == owner);
            let own = owns && !view.wants(event) && event.is_of(view.schema);
            if own && view.scope.sees(event, processes) {
                view.batch.push(event, processes)?;
            }
        }
        Ok(())
    }

    /// Has every view follow what became of a process. To be called after the event that tells of it
    /// was routed, or could not be.
    pub fn follow(&mut self, change: Option<ProcessChange<'_>>) {
        let Some(change) = change else { return };
        for view in self.shared.iter_mut().chain(&mut self.own) {
            view.batch.follow(change);
        }
    }

    /// Tells a loss to the readers of what was lost, after the events routed so far: of a hook to
    /// its subscribers, of verdicts also to those whose rules may have decided, of a watch to its
    /// `owner`.
    pub fn lose(&mut self, lost: Lost, owner: Option<PluginSlot>) {
        if let LostOf::Watch(_) = lost.of {
            let owns =
                |view: &&mut View| view.subscribers.iter().any(|one| Some(one.slot) == owner);
            self.own.iter_mut().filter(owns).for_each(|view| view.batch.lose(lost));
            return;
        }
        if let (LostWhere::Verdicts, Some(hook)) = (lost.place, lost.of.hook()) {
            let decides =
                |view: &&mut View| view.denied.contains(hook) && !view.hooks.contains(hook);
            self.own.iter_mut().filter(decides).for_each(|view| view.batch.lose(lost));
        }
        for view in &mut self.shared {
            let concerns = match lost.of {
                LostOf::Hook(_) => lost.of.hook().is_some_and(|hook| view.hooks.contains(hook)),
                LostOf::Any | LostOf::Watch(_) => !view.hooks.is_empty(),
            };
            if concerns {
                view.batch.lose(lost);
            }
        }
    }

    /// Hands every batch to its readers' queues.
    pub fn flush(&mut self, boot_ns: u64, unix_offset_ns: i64) {
        for view in self.shared.iter_mut().chain(&mut self.own) {
            if view.batch.is_empty() {
                continue;
            }
            let batch = Arc::new(view.batch.finish(boot_ns, unix_offset_ns));
            for subscriber in &view.subscribers {
                subscriber.queue.push(Delivery::Batch(Arc::clone(&batch)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use krsi_plugin_schema::frame::Frames;
    use krsi_plugin_schema::latest::{
        Call, Connect, Hook, Meta, Process, ProcessKey, Record, Watch,
    };
    use krsi_plugin_schema::lower;

    use super::*;

    struct Nobody;

    impl Processes for Nobody {
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
        let some =
            Subscription { hooks, filters: [filter].into(), ..subscription(1, Scope::System) };
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
}
