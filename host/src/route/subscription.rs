//! Who wants what: plugins with the same hooks share one view, encoded once for all of them.
//!
//! A denial reaches the plugin that owns its rule also when that plugin does not subscribe to the
//! hook; such events go through a view of its own.

use std::sync::Arc;

use krsi_plugin_schema::frame::FrameError;
use krsi_plugin_schema::latest::{Event, HookSet, Verdict};

use super::batch::{BatchBuilder, Processes};
use super::queue::{Delivery, Queue};

/// Slot of a plugin: owner of rules, index of its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PluginSlot(pub u8);

struct Subscriber {
    slot: PluginSlot,
    queue: Arc<Queue>,
}

struct View {
    hooks: HookSet,
    batch: BatchBuilder,
    subscribers: Vec<Subscriber>,
}

/// All views.
#[derive(Default)]
pub struct Router {
    shared: Vec<View>,
    own: Vec<View>,
}

impl Router {
    /// Adds a plugin.
    pub fn subscribe(&mut self, slot: PluginSlot, hooks: HookSet, queue: &Arc<Queue>) {
        let subscriber = || Subscriber { slot, queue: Arc::clone(queue) };
        let own = View { hooks, batch: BatchBuilder::default(), subscribers: vec![subscriber()] };
        self.own.push(own);
        match self.shared.iter_mut().find(|view| view.hooks == hooks) {
            Some(view) => {
                view.batch.describe_anew();
                view.subscribers.push(subscriber());
            }
            None => self.shared.push(View {
                hooks,
                batch: BatchBuilder::default(),
                subscribers: vec![subscriber()],
            }),
        }
    }

    /// Puts an event into every batch whose readers want it. `owner` is the slot of the rule that
    /// decided the call, if one did.
    ///
    /// # Errors
    /// When the event is too long for a frame: nobody gets it.
    pub fn route(
        &mut self,
        event: &Event<'_>,
        owner: Option<PluginSlot>,
        processes: &impl Processes,
    ) -> Result<(), FrameError> {
        let hook = event.body.hook();
        for view in &mut self.shared {
            if view.hooks.contains(hook) {
                view.batch.push(event, processes)?;
            }
            view.batch.follow(event);
        }
        let owner = owner.filter(|_| event.meta.verdict != Verdict::None);
        for view in &mut self.own {
            let owns = view.subscribers.iter().any(|subscriber| Some(subscriber.slot) == owner);
            if owns && !view.hooks.contains(hook) {
                view.batch.push(event, processes)?;
            }
            view.batch.follow(event);
        }
        Ok(())
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
