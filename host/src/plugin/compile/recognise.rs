//! Bytes → a component of a served contract: recognised, made a component, checked against our table.
//!
//! Everything here parses hostile bytes, so it runs in the compiler's child.

use std::panic::catch_unwind;

use wasmtime::component::Component;
use wasmtime::component::types::{ComponentItem, Type};
use wit_component::{ComponentEncoder, metadata};
use wit_parser::{PackageName, WorldKey};

use super::super::engine::Engine;
use super::super::world::{self, CONTRACTS, ContractRow, Describes};
use super::fault::Fault;

const MAGIC: [u8; 4] = *b"\0asm";
const CORE: [u8; 4] = [1, 0, 0, 0];
const COMPONENT: [u8; 4] = [0x0d, 0, 1, 0];

/// Makes a component of the bytes, if they are not one already.
pub(super) fn componentise(bytes: Vec<u8>) -> Result<Vec<u8>, Fault> {
    let (magic, rest) = bytes.split_first_chunk::<4>().ok_or(Fault::NotWasm)?;
    let (version, _) = rest.split_first_chunk::<4>().ok_or(Fault::NotWasm)?;
    match (*magic, *version) {
        (MAGIC, COMPONENT) => Ok(bytes),
        // The encoder trusts lengths that it finds in a module, and panics where it should not.
        (MAGIC, CORE) => catch_unwind(|| encode(&bytes)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let reason = panic.downcast_ref::<String>().cloned().or(text).unwrap_or_default();
            Err(Fault::Encode { reason: format!("what is said of its types is damaged: {reason}") })
        }),
        _ => Err(Fault::NotWasm),
    }
}

/// Makes a component of a core module whose component-type section names a served contract.
fn encode(bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    let failed = |error: &dyn std::fmt::Display| Fault::Encode { reason: Fault::words(error) };
    if imports_wasi(bytes) {
        return Err(Fault::Wasi);
    }
    let (found, bindgen) = metadata::decode(bytes).map_err(|error| failed(&error))?;
    if found.is_none() {
        return Err(Fault::NoContract);
    }
    let resolve = &bindgen.resolve;
    let packages = resolve.packages.iter().map(|(_, package)| &package.name);
    let packages: Vec<&PackageName> = packages.filter(|name| name.namespace != "root").collect();
    let row = packages.iter().find_map(|name| {
        let version = name.version.as_ref().map(|version| (version.major, version.minor))?;
        let ours = (name.namespace.as_str(), name.name.as_str()) == world::PACKAGE;
        CONTRACTS.iter().find(|row| ours && row.version == version)
    });
    let Some(row) = row else {
        let found = packages.first().map_or_else(|| "another contract".into(), ToString::to_string);
        return Err(Fault::WrongContract { found, served: world::served() });
    };
    let exports = resolve.worlds.get(bindgen.world).map(|world| &world.exports);
    for function in row.exports {
        let has = exports.is_some_and(|exports| {
            exports.keys().any(|key| matches!(key, WorldKey::Name(name) if name == function))
        });
        if !has {
            return Err(missing(row, function));
        }
    }
    let encoder = ComponentEncoder::default().module(bytes).map_err(|error| failed(&error))?;
    encoder.validate(true).encode().map_err(|error| failed(&error))
}

fn missing(row: &ContractRow, function: &str) -> Fault {
    Fault::MissingExport { function: function.into(), contract: row.to_string() }
}

fn imports_wasi(bytes: &[u8]) -> bool {
    let names: [&[u8]; 2] = [b"wasi_snapshot_preview1", b"wasi:cli"];
    names.iter().any(|name| bytes.windows(name.len()).any(|window| window == *name))
}

/// Compares what a component imports and exports with our table; the contract it implements.
///
/// A component does not say which version of a contract it was built for, only what it imports and
/// exports: the newest contract whose table it satisfies is taken, of those whose `describe` returns the
/// same.
pub(super) fn contract<'r>(
    rows: &'r [ContractRow],
    engine: &Engine,
    component: &Component,
) -> Result<&'r ContractRow, Fault> {
    let types = component.component_type();
    let imports: Vec<&str> = types.imports(engine.wasm()).map(|(import, _)| import).collect();
    let exports: Vec<&str> = types.exports(engine.wasm()).map(|(export, _)| export).collect();
    if imports.iter().any(|import| import.starts_with("wasi:")) {
        return Err(Fault::Wasi);
    }
    let described = describes(engine, component);
    let same = |row: &&ContractRow| described.is_none_or(|described| row.describes == described);
    let mut why = None;
    for row in rows.iter().rev().filter(same) {
        let unknown = imports.iter().find(|import| !row.imports.contains(import));
        let lacking = row.exports.iter().find(|function| !exports.contains(function));
        let fault = match (lacking, unknown) {
            (None, None) => return Ok(row),
            (Some(function), _) => missing(row, function),
            (None, Some(import)) => Fault::UnknownImport { import: (*import).into() },
        };
        // What the newest lacks is what its author can mend.
        why.get_or_insert(fault);
    }
    Err(why.unwrap_or(Fault::NoContract))
}

/// What `describe` returns; none without such a function, or when it is nothing that a contract has.
fn describes(engine: &Engine, component: &Component) -> Option<Describes> {
    let types = component.component_type();
    let (_, export) = types.exports(engine.wasm()).find(|(export, _)| *export == "describe")?;
    let ComponentItem::ComponentFunc(describe) = export.ty else { return None };
    match describe.results().next()? {
        Type::Record(_) => Some(Describes::Record),
        Type::List(list) if matches!(list.ty(), Type::U8) => Some(Describes::Bytes),
        _ => None,
    }
}
