//! A watch gets a program, within what its owner may take of slots and of its hook.

use super::{EXEC_BEGINS, Hooks};
use crate::attach::left_out::LeftOut;
use crate::attach::watches::{LiveWatch, Watch, places};
use crate::kernel::btf::KernelTypes;
use crate::kernel::spec::watch;

impl Hooks {
    pub(super) fn add_watch(&mut self, types: &KernelTypes, watch: Watch) {
        let (text, owner) = (watch.text.clone(), Some(watch.owner));
        let refuse = |hooks: &mut Self, why| hooks.refuse_of(owner, &text, why);
        let Some(slot) = self.watches.free_slot() else {
            return refuse(self, LeftOut::TooManyWatches);
        };
        let most = self.watches.share(watch.owner);
        if self.watches.count(watch.owner) >= most {
            return refuse(self, LeftOut::WatchShare { most });
        }
        if self.without.iter().any(|hook| watch::is_on(&text, hook)) {
            return refuse(self, LeftOut::Without);
        }
        let most = places(watch.owner);
        match LiveWatch::resolve(types, &self.loader, watch, slot, self.mode) {
            Ok((_, _, job)) if job.labels_at_exec() && self.leaves(EXEC_BEGINS.name()) => {
                refuse(self, LeftOut::NoBeginning { hook: EXEC_BEGINS.name() });
            }
            Ok((live, layout, job)) => {
                let hook = live.hook.clone();
                let there = self.live.iter().filter(|live| live.hook == hook).count();
                if there >= most {
                    refuse(self, LeftOut::HookShare { hook, most });
                } else if self.start(types, &job, (&text, owner)) {
                    self.layouts.set(slot, layout);
                    self.watches.add(live);
                }
            }
            Err(why) => refuse(self, why),
        }
    }
}
