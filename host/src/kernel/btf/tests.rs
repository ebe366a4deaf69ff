//! Offsets against stored BTF of Debian's 5.10.0-43, 6.1.0-56, 6.12.117 and 7.2.13.
//!
//! The files hold the structures of `ebpf/abi/src/capture.rs` and the hooks' functions as those
//! kernels have them; the types of named members were left out to keep them small.

use std::path::PathBuf;

use super::*;

pub(crate) fn stored(kernel: &str) -> KernelTypes {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/kernel/btf");
    KernelTypes::read(&folder.join(format!("{kernel}.btf"))).unwrap()
}

#[test]
fn offsets_differ_between_kernels_and_are_resolved() {
    let check = |structure: &str, member: &str, expected: [u32; 3]| {
        let found = ["6.1", "6.12", "7.2"].map(|kernel| stored(kernel).offset(structure, member));
        assert_eq!(found, expected.map(Ok), "{structure}.{member}");
    };
    check("file", "f_path", [F_PATH.0, F_PATH.1, F_PATH.2]);
    check("file", "f_inode", [32, 40, 32]);
    check("inode", "i_ino", [64, 64, 64]);
    check("path", "dentry", [8, 8, 8]);
    // A member of an anonymous union.
    check("inode", "i_nlink", [72, 72, 72]);
}

const F_PATH: (u32, u32, u32) = (16, 64, 64);

#[test]
fn what_a_kernel_lacks_is_named() {
    let types = stored("6.12");
    assert_eq!(types.offset("file", "f_nothing"), Err(OffsetError::NoMember));
    assert_eq!(types.offset("no_such_struct", "x"), Err(OffsetError::NoStructure));
    assert!(!types.has_function("bpf_lsm_no_such_hook"));
}

#[test]
fn what_is_no_btf_is_an_error_that_names_the_file() {
    let missing = KernelTypes::read("/no/such/btf".as_ref()).err().unwrap();
    assert!(missing.to_string().contains("/no/such/btf"));
    let file = std::env::temp_dir().join(format!("krsi-no-btf-{}", std::process::id()));
    std::fs::write(&file, b"not BTF").unwrap();
    let invalid = KernelTypes::read(&file).err().unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(matches!(invalid, BtfError::Invalid { .. }));
}
