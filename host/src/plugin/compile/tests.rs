//! Files that are no plugins, each refused in its own words.

use std::fs;

use super::*;

fn refused(name: &str, bytes: &[u8], limits: Limits) -> String {
    let file = std::env::temp_dir().join(format!("krsi-compile-{}-{name}", std::process::id()));
    fs::write(&file, bytes).unwrap();
    let engine = Engine::new().unwrap();
    let error = PluginPre::load(&engine, &file, limits).err().unwrap();
    fs::remove_file(&file).unwrap();
    assert!(error.to_string().contains(name), "{error} does not name the file");
    assert!(!error.fix().is_empty());
    error.to_string()
}

#[test]
fn what_is_no_plugin_is_refused_in_its_own_words() {
    let check = |name: &str, bytes: &[u8], words: &str| {
        let text = refused(name, bytes, Limits::default());
        assert!(text.contains(words), "{text}");
    };
    check("empty", b"", "not Wasm");
    check("short", b"\0as", "not Wasm");
    check("elf", b"\x7fELF\x02\x01\x01\0", "not Wasm");
    check("module", b"\0asm\x01\0\0\0", "component-type");
    check("component", b"\0asm\x0d\0\x01\0", "does not export `describe`");
    check("damaged", b"\0asm\x0d\0\x01\0\xff\xff", "not a valid component");
    let import = [&b"\0asm\x01\0\0\0\x02\x1c\x01\x16wasi_snapshot_preview1\x01f\0\0"[..]].concat();
    check("wasi", &import, "built for WASI");
}

#[test]
fn a_file_beyond_the_limit_is_refused_unread() {
    let limits = Limits { binary_bytes: 10, ..Limits::default() };
    assert!(refused("large", &[0; 11], limits).contains("limit of 10 bytes"));
}

#[test]
fn a_missing_file_is_named() {
    let engine = Engine::new().unwrap();
    let error = PluginPre::load(&engine, Path::new("/no/such.wasm"), Limits::default());
    assert_eq!(error.err().unwrap().to_string(), "/no/such.wasm: cannot be read");
}
