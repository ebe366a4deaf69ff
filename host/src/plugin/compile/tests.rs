//! Files that are no plugins, each refused in its own words.

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
}

#[test]
fn a_component_without_exports_is_compared_with_the_table() {
    let engine = Engine::new(64 << 10).unwrap();
    let code = apart::code(b"\0asm\x0d\0\x01\0".to_vec()).unwrap();
    let fault = recognise::contract(&engine, &native::take(&engine, &code).unwrap()).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "does not export `describe`, which krsi:plugin@0.1 requires"
    );
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
