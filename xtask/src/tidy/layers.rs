//! Layers of `host/src`, which module may import which: the table in ARCHITECTURE.md, checked against the imports.
//!
//! The table is the block fenced as `layers`: one line a room, `room: rooms it may import`. A room in a room is
//! `outer/inner`; whoever may import the outer one may import what is in it.

use std::collections::{BTreeMap, BTreeSet};

use super::tokens::{module, paths, tokens};
use super::{File, Finding};

const TABLE: &str = "ARCHITECTURE.md";
const HOST: &str = "host/src/";
/// Crates of the contracts, and what the table calls them.
const CONTRACTS: [(&str, &str); 2] = [("krsi_host_abi", "abi"), ("krsi_plugin_schema", "schema")];

type Layers = BTreeMap<String, BTreeSet<String>>;

pub(crate) fn check(architecture: &str, files: &[File]) -> Vec<Finding> {
    let Some(layers) = table(architecture) else {
        return vec![Finding::new(TABLE, 1, "no block fenced as ```layers")];
    };
    let mut findings = Vec::new();
    for file in files {
        let Some(inner) = file.path.strip_prefix(HOST) else { continue };
        let own = module(inner);
        // The root, and the first file of a room that has only rooms in it.
        if own.is_empty() || is_hall(&layers, &own) {
            continue;
        }
        let Some((room, allowed)) = room(&layers, &own) else {
            let what = format!("room {inner:?} is not in the layer table of {TABLE}");
            findings.push(Finding::new(&file.path, 1, what));
            continue;
        };
        let words = tokens(&file.text);
        let contract = |text: &str| CONTRACTS.iter().find(|(name, _)| *name == text);
        let contracts = words
            .iter()
            .filter_map(|token| Some((token.line, contract(&token.text)?.1.to_owned())));
        let imports = paths(&words, &own).into_iter().filter_map(|named| {
            let name = match self::room(&layers, &named.names) {
                Some((room, _)) => room.to_owned(),
                None => named.names.into_iter().next()?,
            };
            name.starts_with(char::is_lowercase).then_some((named.line, name))
        });
        for (line, import) in contracts.chain(imports) {
            let outer = import.split('/').next().unwrap_or_default();
            let known = import == room
                || [import.as_str(), outer, "*"].iter().any(|name| allowed.contains(*name));
            if !known {
                let what =
                    format!("{room} may not import {import}: see the layer table of {TABLE}");
                findings.push(Finding::new(&file.path, line, what));
            }
        }
    }
    findings
}

/// The row of the innermost room that a module is in.
fn room<'a>(layers: &'a Layers, names: &[String]) -> Option<(&'a str, &'a BTreeSet<String>)> {
    let row = |length: usize| layers.get_key_value(&names.get(..length)?.join("/"));
    (1..=names.len().min(2)).rev().find_map(row).map(|(room, allowed)| (room.as_str(), allowed))
}

/// Whether a module only holds rooms.
fn is_hall(layers: &Layers, names: &[String]) -> bool {
    let prefix = format!("{}/", names.join("/"));
    layers.keys().any(|room| room.starts_with(&prefix))
}

fn table(architecture: &str) -> Option<Layers> {
    let (_, rest) = architecture.split_once("```layers\n")?;
    let (block, _) = rest.split_once("```")?;
    let line = |line: &str| {
        let (room, allowed) = line.split_once(':')?;
        let allowed = allowed.split(',').map(|name| name.trim().to_owned());
        Some((room.trim().to_owned(), allowed.filter(|name| !name.is_empty()).collect()))
    };
    Some(block.lines().filter_map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARCHITECTURE: &str = "# x\n```layers\nkernel/btf: abi\nkernel/map: abi\ndecode: abi, schema\npolicy: kernel/map, abi\ncli: kernel\npipeline: *\n```\n";

    fn findings(path: &str, text: &str) -> usize {
        check(ARCHITECTURE, &[File { path: path.into(), text: text.into() }]).len()
    }

    #[test]
    fn imports_follow_the_table() {
        assert_eq!(
            findings("host/src/decode/mod.rs", "use krsi_host_abi::x;\nuse crate::decode::y;"),
            0
        );
        assert_eq!(findings("host/src/decode/mod.rs", "use crate::kernel::x;"), 1);
        assert_eq!(findings("host/src/kernel/map/mod.rs", "use krsi_plugin_schema::x;"), 1);
        assert_eq!(findings("host/src/kernel/map/mod.rs", "use crate::{decode};"), 1);
        assert_eq!(findings("host/src/pipeline.rs", "use crate::kernel::x;"), 0);
        assert_eq!(
            findings("host/src/kernel/map/a.rs", "use super::b;\nuse super::super::map;"),
            0
        );
        assert_eq!(findings("host/src/kernel/map/a.rs", "use super::super::btf;"), 1);
        assert_eq!(findings("host/src/kernel/map/a.rs", "use crate::{\n    kernel::btf,\n};"), 1);
        assert_eq!(findings("host/src/kernel/mod.rs", "pub mod btf;"), 0);
        assert_eq!(findings("host/src/kernel/spare.rs", ""), 1);
        assert_eq!(findings("host/src/policy/a.rs", "use crate::kernel::map::B;"), 0);
        assert_eq!(findings("host/src/policy/a.rs", "use crate::kernel::{map, btf};"), 1);
        assert_eq!(findings("host/src/cli/a.rs", "use crate::kernel::{map, btf};"), 0);
        assert_eq!(findings("host/src/cellar/mod.rs", ""), 1);
        assert_eq!(findings("xtask/src/main.rs", "use crate::anything;"), 0);
        assert_eq!(check("# no table", &[]).len(), 1);
    }
}
