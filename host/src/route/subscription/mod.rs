//! Subscriptions: plugins with the same hooks, scope and schema share one view, encoded once for all of them.
//!
//! A denial reaches the plugin that owns its rule also when that plugin does not subscribe to the
//! hook, and what a watch saw only the plugin that the watch belongs to; such events go through a
//! view of its own.

use std::sync::Arc;

use krsi_plugin_schema::Schema;
use krsi_plugin_schema::frame::FrameError;
use krsi_plugin_schema::latest::{
    Body, Event, HookSet, Lost, LostOf, LostWhere, ProcessKey, Verdict,
};

use super::batch::{BatchBuilder, ProcessSource};
use super::buffer_pool::BufferPool;
use super::filter::{Filter, Sieve};
use super::queue::{Delivery, Queue};
use super::scope::Scope;
use crate::enrich::ProcessChange;

/// Slot of a plugin: owner of rules, index of its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PluginSlot(pub u8);

/// Subscription of a plugin.
#[derive(Clone, Debug)]
pub struct Subscription {
    pub slot: PluginSlot,
    /// Schema that it reads.
    pub schema: Schema,
    /// Hooks that the plugin subscribes to.
    pub hooks: HookSet,
    /// Hooks that its rules may refuse: it is sent what they decide.
    pub denied: HookSet,
    /// Processes whose events the plugin may see.
    pub scope: Scope,
    /// Filters on the hooks; a hook without one is seen whole.
    pub filters: Arc<[Filter]>,
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
    fn new(subscription: &Subscription, pool: &Arc<BufferPool>) -> Self {
        Self {
            schema: subscription.schema,
            hooks: subscription.hooks,
            denied: subscription.denied,
            scope: subscription.scope.clone(),
            sieve: Sieve::new(Arc::clone(&subscription.filters)),
            batch: BatchBuilder::new(
                subscription.scope.clone(),
                subscription.schema,
                Arc::clone(pool),
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

/// The views of all plugins.
#[derive(Default)]
pub struct Router {
    shared: Vec<View>,
    own: Vec<View>,
    /// One for all views, so that many of them keep no more than one.
    pool: Arc<BufferPool>,
}

impl Router {
    /// Adds a plugin, or moves it to another view. To be called between two flushes.
    pub fn subscribe(&mut self, subscription: &Subscription) {
        self.unsubscribe(subscription.slot);
        let mut own = View::new(subscription, &self.pool);
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
                let mut view = View::new(subscription, &self.pool);
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

    /// Notes that a plugin knows processes that its view did not describe: it is told when they are gone, at once of
    /// those that do not run any more.
    pub fn described(
        &mut self,
        slot: PluginSlot,
        processes: &[ProcessKey],
        is_running: impl Fn(ProcessKey) -> bool,
    ) {
        let owns = |view: &&mut View| view.subscribers.iter().any(|one| one.slot == slot);
        let Some(own) = self.own.iter_mut().find(owns) else { return };
        for process in processes {
            own.batch.described(*process);
            if !is_running(*process) {
                own.batch.follow(ProcessChange::Exited { process: *process });
            }
        }
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
        processes: &impl ProcessSource,
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
mod tests;
