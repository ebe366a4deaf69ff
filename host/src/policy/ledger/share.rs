//! How much of what plugins share one of them may take: slots of a key, room of a map, marks of a process.
//!
//! A share always leaves something to those who come later. It is counted when a rule is added; a rule that
//! is in force stays, however much others take.

use std::collections::HashMap;

use krsi_host_abi::deny::{LINEAGES, SLOTS, flag};

use super::place::Place;

/// Leases of one plugin that a key can carry, those of covering prefixes and the operator's own among them.
pub(super) const OWNER_SLOTS: usize = SLOTS - 1;
/// Lineages of one plugin's rules that one process can be marked with.
pub(super) const OWNER_LINEAGES: usize = LINEAGES - 1;

/// Keys that each plugin's rules hold in each map.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    held: HashMap<(u8, u64), usize>,
}

/// What tells maps apart: both kinds of destinations, and both kinds of paths, lie in one map.
fn room(place: Place) -> u64 {
    match place.flag() {
        flag::ANY_PORT => flag::NETWORK,
        map => map,
    }
}

impl Holdings {
    /// A plugin has its first rule at a key.
    pub(super) fn add(&mut self, owner: u8, place: Place) {
        *self.held.entry((owner, room(place))).or_default() += 1;
    }

    /// A plugin has no rule at a key any more.
    pub(super) fn remove(&mut self, owner: u8, place: Place) {
        if let Some(held) = self.held.get_mut(&(owner, room(place))) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                self.held.remove(&(owner, room(place)));
            }
        }
    }

    /// Keys that a plugin's rules hold in the map of a key.
    pub(super) fn of(&self, owner: u8, place: Place) -> usize {
        self.held.get(&(owner, room(place))).copied().unwrap_or(0)
    }

    /// How many it may: half of what the others leave of `capacity`, the last one included.
    pub(super) fn share(&self, owner: u8, place: Place, capacity: usize) -> usize {
        let others =
            self.held.iter().filter(|((other, map), _)| *other != owner && *map == room(place));
        capacity.saturating_sub(others.map(|(_, held)| held).sum()).div_ceil(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_later_finds_half_of_what_is_left() {
        let (mut held, mut next) = (Holdings::default(), 0);
        let mut fill = |held: &mut Holdings, owner| {
            let mut taken = 0;
            loop {
                let place = Place::Cgroup(next);
                if held.of(owner, place) >= held.share(owner, place, 64) {
                    return taken;
                }
                held.add(owner, place);
                (taken, next) = (taken + 1, next + 1);
            }
        };
        assert_eq!([0, 1, 2, 3].map(|owner| fill(&mut held, owner)), [32, 16, 8, 4]);
        // What is left of little is little, and not nothing.
        assert_eq!(held.share(9, Place::Cgroup(0), 61), 1);
        // Another map is another room.
        assert_eq!(held.share(0, Place::Lineage(1), 64), 32);
        held.remove(3, Place::Cgroup(0));
        assert_eq!((held.of(3, Place::Cgroup(0)), fill(&mut held, 3)), (3, 1));
    }
}
