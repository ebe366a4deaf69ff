//! Files that are no plugins, each refused in its own words.

use super::super::world::ContractRow;
use super::*;

#[test]
fn what_is_no_plugin_is_refused_in_its_own_words() {
    let check = |bytes: &[u8], words: &str| {
        let fault = apart::code(bytes.to_vec()).unwrap_err();
        assert!(fault.to_string().contains(words), "{fault}");
        assert!(!fault.fix().is_empty());
    };
    check(b"", "not Wasm");
    check(b"\0as", "not Wasm");
    check(b"\x7fELF\x02\x01\x01\0", "not Wasm");
    check(b"\0asm\x01\0\0\0", "component-type");
    check(b"\0asm\x0d\0\x01\0\xff\xff", "not a valid component");
    let import = [&b"\0asm\x01\0\0\0\x02\x1c\x01\x16wasi_snapshot_preview1\x01f\0\0"[..]].concat();
    check(&import, "built for WASI");
    // Cut within what says its types: a panic of the encoder.
    let damaged = [&PINNED[..PINNED.len() - 9], &[0xff; 9]].concat();
    let cut = (1..PINNED.len()).rev().step_by(PINNED.len() / 16).map(|at| &PINNED[..at]);
    for bytes in cut.chain([&damaged[..]]) {
        let fault = apart::code(bytes.to_vec()).err();
        let is_report = fault.as_ref().is_some_and(|fault| fault.fix().contains("report"));
        assert!(!is_report, "{fault:?}");
    }
}

#[test]
fn a_component_without_exports_is_compared_with_the_table() {
    let engine = Engine::new(64 << 10).unwrap();
    let code = apart::code(b"\0asm\x0d\0\x01\0".to_vec()).unwrap();
    let fault =
        recognise::contract(world::CONTRACTS, &engine, &native::take(&engine, &code).unwrap())
            .unwrap_err();
    assert_eq!(fault.to_string(), "does not export `describe`, which krsi:plugin@0.2 requires");
}

#[test]
fn a_file_beyond_the_limit_or_missing_is_named() {
    let file = std::env::temp_dir().join(format!("krsi-compile-{}", std::process::id()));
    std::fs::write(&file, [0; 11]).unwrap();
    let error = read(&file, 10).unwrap_err();
    std::fs::remove_file(&file).unwrap();
    assert!(error.to_string().contains("limit of 10 bytes"), "{error}");
    let error = read(Path::new("/no/such.wasm"), 10).unwrap_err();
    assert_eq!(error.to_string(), "/no/such.wasm: cannot be read");
}

/// A plugin that SDK 0.1.0 built, never to be built again.
const PINNED: &[u8] = include_bytes!("../../../../tests/contract/0.1.0/census.wasm");
/// A batch of schema 0.1, frozen too.
const GOLDEN: &[u8] = include_bytes!("../../../../wit/schema/src/v0_1/golden.batch");

/// A contract beside 0.1 that wants one function more.
const LATER: ContractRow = ContractRow {
    version: (0, 3),
    exports: &["describe", "init", "handle", "snapshot", "restore", "later"],
    ..world::CONTRACTS[0]
};

/// The component of a module that does nothing, built against a contract's text.
fn dummy(text: &str) -> (Engine, Component) {
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_str("plugin.wit", text).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let mut module =
        wit_component::dummy_module(&resolve, world, wit_parser::ManglingAndAbi::Standard32);
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, encoding).unwrap();
    component(&module)
}

#[test]
fn plugins_of_both_contracts_are_told_apart_and_bound() {
    for (version, expected) in [("v0.1", "krsi:plugin@0.1"), ("v0.2", "krsi:plugin@0.2")] {
        let text = std::fs::read_to_string(format!("../wit/{version}/plugin.wit")).unwrap();
        let (engine, component) = dummy(&text);
        let row = recognise::contract(world::CONTRACTS, &engine, &component).unwrap();
        assert_eq!(row.to_string(), expected);
        (row.bind)(&engine, &component).unwrap();
        // What it imports beyond its contract is told, not what an older contract lacks.
        let more = text.replace("import log", "import clock: func() -> u64;\n    import log");
        let (engine, component) = dummy(&more);
        let fault = recognise::contract(world::CONTRACTS, &engine, &component).unwrap_err();
        assert!(fault.to_string().contains("`clock`"), "{fault}");
    }
}

fn component(bytes: &[u8]) -> (Engine, Component) {
    let engine = Engine::new(256 << 10).unwrap();
    let code = apart::code(bytes.to_vec()).unwrap();
    let component = native::take(&engine, &code).unwrap();
    (engine, component)
}

#[test]
fn a_plugin_of_the_first_contract_lives_beside_a_later_one() {
    let (engine, component) = component(PINNED);
    let row = recognise::contract(world::CONTRACTS, &engine, &component).unwrap();
    assert_eq!(row.to_string(), "krsi:plugin@0.1");

    let pre = (row.bind)(&engine, &component).unwrap();
    let limits = Limits::default();
    let mut plugin = world::instantiate(&pre, &engine, limits, Path::new("census.wasm")).unwrap();
    let manifest = plugin.describe().unwrap().unwrap();
    assert_eq!((manifest.name.as_str(), manifest.version.as_str()), ("census", "1.0.000"));
    assert_eq!(manifest.schema, krsi_plugin_schema::Schema::V0_1);
    let actions = plugin.init(b"127.0.0.1:1", 7).unwrap().unwrap();
    assert!(!actions.is_empty());
    plugin.handle(GOLDEN).unwrap();
    let state = plugin.snapshot().unwrap();
    plugin.restore("1.0.000", &state).unwrap().unwrap();
}

#[test]
fn a_plugin_of_a_later_contract_is_told_from_the_first() {
    let text = std::fs::read_to_string("../wit/v0.1/plugin.wit").unwrap();
    let text = text.replace("export snapshot", "export later: func();\n    export snapshot");
    let (engine, component) = dummy(&text);
    let row = |rows: &'static [ContractRow]| {
        recognise::contract(rows, &engine, &component).map(ToString::to_string)
    };
    const ROWS: &[ContractRow] = &[world::CONTRACTS[0], LATER];
    assert_eq!(row(ROWS).unwrap(), "krsi:plugin@0.3");
    assert_eq!(row(world::CONTRACTS).unwrap(), "krsi:plugin@0.1");
}

#[test]
fn a_limit_met_at_the_start_is_named_with_what_was_asked() {
    let (engine, component) = component(PINNED);
    let pre = (world::CONTRACTS[0].bind)(&engine, &component).unwrap();
    let check = |limits: Limits, words: &str| {
        let started = world::instantiate(&pre, &engine, limits, Path::new("census.wasm"));
        let error = started.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(words), "{error}");
    };
    let limits = Limits::default();
    check(Limits { memory_bytes: (1 << 20) + 1, ..limits }, "of memory, the limit is 1 MiB");
    check(Limits { table_elements: 1, ..limits }, "of table elements, the limit is 1");
}

#[test]
fn code_for_every_processor_is_taken_where_there_is_none_for_this_one() {
    let folder = std::env::temp_dir().join(format!("krsi-precompile-{}", std::process::id()));
    let cache = Cache::open(&folder).unwrap();
    let file = folder.join("census.wasm");
    std::fs::write(&file, PINNED).unwrap();
    let limits = Limits::default();
    precompile(&cache, &file, limits.binary_bytes).unwrap();
    let engine = Engine::new(limits.stack_bytes).unwrap();
    // There is no child that could compile.
    let load = |cache| {
        let child = PathBuf::from("/no/such/host");
        let compiler = Compiler::new(child, CompileLimits::default(), cache, None);
        compiler.load(&engine, &file, limits).map(|pre| pre.identity().origin)
    };
    let (found, compiled) = (load(Some(cache)), load(None));
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(found.unwrap(), CodeOrigin::Cached);
    assert!(compiled.is_err());
}

#[test]
fn a_host_that_ends_waits_for_no_compiler() {
    use std::os::unix::fs::PermissionsExt;
    let folder = std::env::temp_dir().join(format!("krsi-compile-stop-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (file, child) = (folder.join("census.wasm"), folder.join("child"));
    std::fs::write(&file, PINNED).unwrap();
    std::fs::write(&child, "#!/bin/sh\nexec /bin/sleep 100\n").unwrap();
    std::fs::set_permissions(&child, std::fs::Permissions::from_mode(0o755)).unwrap();
    let limits = Limits::default();
    let engine = Engine::new(limits.stack_bytes).unwrap();
    let compiler = Compiler::new(child, CompileLimits::default(), None, None);
    let stop = compiler.stop_handle();
    let started = std::time::Instant::now();
    let ender = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        stop.stop();
    });
    let tell = || match compiler.load(&engine, &file, limits) {
        Err(LoadError::Fault { fault, .. }) => fault,
        other => panic!("{:?}", other.map(|pre| pre.identity().clone())),
    };
    // The one that runs, and each one later.
    let faults = [tell(), tell()];
    ender.join().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(faults, [Fault::Stopped, Fault::Stopped]);
    assert!(started.elapsed() < std::time::Duration::from_secs(50), "{:?}", started.elapsed());
}
