//! Two plugins on one recording: what only one of them wants.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use super::told::What;
use super::{Follower, On, Replay, ReplayError, Replayed, Told, replay};

/// Collects what a plugin wants, and hands progress on.
struct Wishes<'f> {
    wishes: Vec<(u64, String, String)>,
    follower: &'f mut dyn Follower,
}

impl Follower for Wishes<'_> {
    fn tell(&mut self, told: &Told) -> io::Result<()> {
        if let What::Action { text } = &told.what {
            self.wishes.push((told.after_ns, told.plugin.clone(), text.clone()));
        }
        Ok(())
    }

    fn progress(&mut self, read: (u64, u64)) {
        self.follower.progress(read);
    }
}

/// Plays two plugins, each with its configuration, on a recording's stream, and tells what only one of them wants, in
/// the order in which it wants it. The replay's own plugins are left out. What both come to; how many wishes differ
/// counts as different.
///
/// # Errors
/// As [`replay`].
pub(crate) fn compare(
    what: &Replay,
    (old, new): ((PathBuf, Vec<u8>), (PathBuf, Vec<u8>)),
    follower: &mut dyn Follower,
) -> Result<Replayed, ReplayError> {
    let mut play = |plugin: (PathBuf, Vec<u8>)| {
        let mut wishes = Wishes { wishes: Vec::new(), follower: &mut *follower };
        let one = Replay { plugins: vec![plugin], on: On::Stream, ..what.clone() };
        let replayed = replay(&one, &mut wishes)?;
        Ok::<_, ReplayError>((wishes.wishes, replayed))
    };
    let ((before, _), (after, replayed)) = (play(old)?, play(new)?);
    // What both want, however often, in whatever order within a recording.
    let mut balance: BTreeMap<&str, i64> = BTreeMap::new();
    before.iter().for_each(|(_, _, text)| *balance.entry(text).or_default() -= 1);
    after.iter().for_each(|(_, _, text)| *balance.entry(text).or_default() += 1);
    let mut different = 0;
    for (who, wishes, sign) in [("old", &before, -1), ("new", &after, 1)] {
        // The last of those that are the same are the ones that are too many.
        let mut only = Vec::new();
        for (after_ns, plugin, text) in wishes.iter().rev() {
            if let Some(left) = balance.get_mut(text.as_str())
                && *left * sign > 0
            {
                *left -= sign;
                only.push((*after_ns, plugin, text));
            }
        }
        for (after_ns, plugin, text) in only.into_iter().rev() {
            different += 1;
            let what = What::Only { who, text: text.clone() };
            let told = Told { after_ns, plugin: plugin.clone(), what };
            follower.tell(&told).map_err(ReplayError::Tell)?;
        }
    }
    Ok(Replayed { different, ..replayed })
}
