//! Rows of the table: ours, the other side, and how much more ours may cost.

use crate::act::Act;
use crate::baseline::Work;
use crate::ours::Setting;

/// Entries of a full map.
pub const MANY: u32 = 100_000;

/// The other side of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Against {
    Baseline(Work),
    /// Ours in another setting.
    Ours(Setting),
}

/// One comparison, for every act that has both sides.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Name of the row in the table.
    pub name: &'static str,
    pub ours: Setting,
    /// The other side of the comparison.
    pub against: Against,
    /// The most that ours may cost, in hundredths of that.
    pub target_percent: u32,
}

/// Rows of the table, in the order in which they are printed.
pub const ROWS: &[Row] = &[
    row("nothing wanted", Setting::Clear, Against::Baseline(Work::Bare), 130),
    row("process rules, a miss", Setting::Processes(1), Against::Baseline(Work::Process), 130),
    row("100 000 of them", Setting::Processes(MANY), Against::Ours(Setting::Processes(1)), 110),
    row("object rules, a miss", Setting::Objects(1), Against::Baseline(Work::Object), 130),
    row("100 000 of them", Setting::Objects(MANY), Against::Ours(Setting::Objects(1)), 110),
    row("scalar filter, no match", Setting::ScalarFilter, Against::Baseline(Work::Bare), 160),
    row("path filter, no match", Setting::PathFilter, Against::Baseline(Work::Path), 130),
    row("a record", Setting::Forward, Against::Baseline(Work::Record), 150),
];

const fn row(name: &'static str, ours: Setting, against: Against, target_percent: u32) -> Row {
    Row { name, ours, against, target_percent }
}

/// Settings of ours, those that fill a map last: it stays filled.
pub fn settings() -> Vec<Setting> {
    let mut settings = Vec::new();
    for row in ROWS {
        if !settings.contains(&row.ours) {
            settings.push(row.ours);
        }
    }
    settings.sort_by_key(|setting| fills(*setting));
    settings
}

/// Whether a setting fills a map.
pub const fn fills(setting: Setting) -> bool {
    matches!(setting, Setting::Processes(MANY) | Setting::Objects(MANY))
}

/// Whether an act has the row at all: only what has a path can be filtered by it.
pub fn concerns(row: &Row, act: Act) -> bool {
    match row.ours {
        Setting::PathFilter => matches!(act, Act::Open | Act::Exec),
        Setting::Objects(_) => !matches!(act, Act::Mprotect),
        _ => true,
    }
}
