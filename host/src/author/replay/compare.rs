//! Two plugins on one recording: what only one of them wants.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use super::told::{OnlyKind, What};
use super::{Follower, On, Replay, ReplayError, Replayed, Told, replay};

/// Something that a plugin does, with its time and the plugin's name.
type Deed = (u64, String, (OnlyKind, String));

/// Collects what a plugin wants and how it fails, and hands on progress and what is about the recording.
struct Wishes<'f> {
    wishes: Vec<Deed>,
    /// Whether what is about the recording, and not about a plugin, is told.
    is_first: bool,
    follower: &'f mut dyn Follower,
}

impl Follower for Wishes<'_> {
    fn write(&mut self, told: &Told) -> io::Result<()> {
        let (kind, text) = match &told.what {
            What::Action { text } => (OnlyKind::Wants, text.clone()),
            What::NotDone { text } => (OnlyKind::NotDone, text.clone()),
            What::Failed { text } => (OnlyKind::Failed, text.clone()),
            What::WouldRefuse { hook, tgid, errno } => {
                (OnlyKind::Refuses, format!("{hook} of process {tgid} with errno {errno}"))
            }
            // What a plugin lacks or misses is about this one of the two.
            What::OnStream { lacks, .. } if !lacks.is_empty() => return self.follower.write(told),
            What::TicksLeftOut { .. } => return self.follower.write(told),
            What::Recording { .. } | What::Gap { .. } | What::Damaged { .. } if self.is_first => {
                return self.follower.write(told);
            }
            _ => return Ok(()),
        };
        self.wishes.push((told.after_ns, told.plugin.clone(), (kind, text)));
        Ok(())
    }

    fn progress(&mut self, read: (u64, u64)) {
        self.follower.progress(read);
    }
}

/// Plays two plugins, each with its configuration, on a recording's stream, and tells what only one of them wants, in
/// the order in which it wants it; how a plugin fails is told whether the other does or not. The replay's own plugins
/// are left out. What both come to together; how much they differ in counts as different.
///
/// # Errors
/// As [`replay`].
pub(crate) fn compare(
    what: &Replay,
    (old, new): ((PathBuf, Vec<u8>), (PathBuf, Vec<u8>)),
    follower: &mut dyn Follower,
) -> Result<Replayed, ReplayError> {
    let mut play = |plugin: (PathBuf, Vec<u8>), is_first| {
        let mut wishes = Wishes { wishes: Vec::new(), is_first, follower: &mut *follower };
        let one = Replay { plugins: vec![plugin], on: On::Stream, ..what.clone() };
        let replayed = replay(&one, &mut wishes)?;
        Ok::<_, ReplayError>((wishes.wishes, replayed))
    };
    let ((before, of_old), (after, of_new)) = (play(old, true)?, play(new, false)?);
    // What both want, however often, in whatever order within a recording.
    let mut balance: BTreeMap<&(OnlyKind, String), i64> = BTreeMap::new();
    before.iter().for_each(|(_, _, done)| *balance.entry(done).or_default() -= 1);
    after.iter().for_each(|(_, _, done)| *balance.entry(done).or_default() += 1);
    // What both fail with is no difference, and is told all the same.
    let fails = after.iter().filter(|(_, _, (kind, _))| *kind == OnlyKind::Failed);
    for (after_ns, plugin, done) in fails {
        if balance.get(done) == Some(&0) {
            let what = What::Failed { text: done.1.clone() };
            let told = Told { after_ns: *after_ns, plugin: plugin.clone(), what };
            follower.write(&told).map_err(ReplayError::Tell)?;
        }
    }
    let mut different = 0;
    for (who, wishes, sign) in [("old", &before, -1), ("new", &after, 1)] {
        // The last of those that are the same are the ones that are too many.
        let mut only = Vec::new();
        for (after_ns, plugin, done) in wishes.iter().rev() {
            if let Some(left) = balance.get_mut(done)
                && *left * sign > 0
            {
                *left -= sign;
                only.push((*after_ns, plugin, done));
            }
        }
        for (after_ns, plugin, (kind, text)) in only.into_iter().rev() {
            different += 1;
            let what = What::Only { who, kind: *kind, text: text.clone() };
            let told = Told { after_ns, plugin: plugin.clone(), what };
            follower.write(&told).map_err(ReplayError::Tell)?;
        }
    }
    Ok(Replayed {
        different,
        calls: of_old.calls + of_new.calls,
        unplayed: of_old.unplayed + of_new.unplayed,
        lacking: of_old.lacking || of_new.lacking,
        ..of_new
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct NoFollower;

    impl Follower for NoFollower {
        fn write(&mut self, _: &Told) -> io::Result<()> {
            Ok(())
        }

        fn progress(&mut self, _: (u64, u64)) {}
    }

    #[test]
    fn what_a_plugin_wants_and_what_its_rules_would_refuse_is_compared() {
        let mut follower = NoFollower;
        let mut wishes = Wishes { wishes: Vec::new(), is_first: true, follower: &mut follower };
        for what in [
            What::Action { text: "alert".into() },
            What::WouldRefuse { hook: "file_open", tgid: 7, errno: 13 },
            What::OnStream { version: "1".into(), lacks: Vec::new() },
        ] {
            wishes.write(&Told { after_ns: 5, plugin: "a".into(), what }).unwrap();
        }
        let kept: Vec<Deed> = wishes.wishes;
        let refused = "file_open of process 7 with errno 13";
        assert_eq!(
            kept,
            [
                (5, "a".into(), (OnlyKind::Wants, "alert".into())),
                (5, "a".into(), (OnlyKind::Refuses, refused.into())),
            ]
        );
    }
}
