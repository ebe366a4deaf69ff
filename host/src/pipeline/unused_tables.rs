//! Tables of the configuration file that are no running plugin's: each is told once, with the name that is meant.

use super::steward::Steward;

/// Letters that a misspelt name may differ in: swapped, missing, too many or others.
const LETTERS: usize = 2;

impl Steward {
    /// Tells of tables that name no plugin. It may be one that comes later, so that nothing is refused.
    pub(super) fn report_unused_tables(&mut self) {
        let names: Vec<String> =
            self.roster.entries().iter().map(|entry| entry.name.clone()).collect();
        let tables: Vec<String> = self.roster.policies.named().map(str::to_owned).collect();
        for table in tables.into_iter().filter(|table| !names.contains(table)) {
            if !self.unused_tables.contains(&table) {
                self.shared.note(words(&table, &names));
                self.unused_tables.insert(table);
            }
        }
    }
}

fn words(table: &str, names: &[String]) -> String {
    let text =
        format!("the configuration's [plugin.{table}] holds for nobody: no plugin {table:?} runs");
    match meant(table, names) {
        Some(name) => format!("{text}; is {name:?} meant?"),
        None => text,
    }
}

/// The name that is spelt most alike, if one is.
fn meant<'n>(table: &str, names: &'n [String]) -> Option<&'n str> {
    let plain = |name: &str| name.to_lowercase().replace('-', "_");
    let table = plain(table);
    let distance = |name: &str| strsim::damerau_levenshtein(&table, &plain(name));
    let rows = names.iter().map(|name| (distance(name), name.as_str()));
    let (letters, name) = rows.min()?;
    // Of a short name so many letters would leave little.
    (letters <= LETTERS && letters * 2 < table.chars().count()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_is_spelt_most_alike_is_meant() {
        let names = ["miner", "suid_watch", "census", "a"].map(str::to_owned);
        let check =
            |table: &str, expected: Option<&str>| assert_eq!(meant(table, &names), expected);
        check("mnier", Some("miner"));
        check("Miner", Some("miner"));
        check("suid-watch", Some("suid_watch"));
        check("sentry", None);
        check("b", None);
        let text = words("mnier", &names);
        assert!(text.contains("[plugin.mnier]") && text.ends_with("is \"miner\" meant?"), "{text}");
    }
}
