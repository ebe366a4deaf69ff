//! Types of a kernel: whatever the bytes, answers or errors, and the same ones each time.

use std::time::Duration;

use crate::errno::errno_number;
use crate::kernel::btf::KernelTypes;
use crate::kernel::btf::kfunc::Kfuncs;
use crate::kernel::program::plan::plan;
use crate::kernel::spec::watch;

use crate::fuzz::engine::{FuzzOutcome, FuzzTarget, outcome, words};
use crate::fuzz::seed::types;

pub(crate) const TARGET: FuzzTarget = FuzzTarget {
    name: "btf",
    seeds: || vec![types()],
    words: &["\u{1}\0\0\0", "\0\0\0\u{4}", "\0\0\0\u{2}", "file", "bpf_lsm_file_open"],
    run,
    slow: Duration::from_secs(10),
    longest: 64 << 10,
};

const WATCHES: [&str; 3] = [
    "file_open: file.f_path, file.f_inode.i_ino if file.f_inode.i_mode == 0o644 deny EPERM",
    "inode_mkdir: dentry.d_name.name as name, mode if name.startsWith(\"a\")",
    "path_chmod: path, path.dentry.d_inode.i_uid",
];

fn run(input: &[u8]) -> FuzzOutcome {
    let types = match KernelTypes::parse(input, "fuzz") {
        Ok(types) => types,
        Err(error) => {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            return words(&source.unwrap_or_default());
        }
    };
    let hooks = types.lsm_hooks();
    let shown: usize = hooks.iter().map(|(name, found)| found.prototype(name).len()).sum();
    let offsets =
        [("file", "f_path"), ("inode", "i_ino"), ("dentry", "d_name"), ("path", "dentry")].map(
            |(structure, member)| types.offset(structure, member).map_err(|why| why.to_string()),
        );
    let planned = plan(&types, |_| true);
    let again = KernelTypes::parse(input, "fuzz").map(|types| plan(&types, |_| true).offsets);
    assert_eq!(again.ok(), Some(planned.offsets.clone()), "the same bytes mean two things");
    let kfuncs = Kfuncs::of(&types);
    let resolved = WATCHES.map(|text| {
        let prototype = |hook: &str| types.prototype(&format!("bpf_lsm_{hook}"));
        let watch = watch::parse(text, errno_number).unwrap();
        watch.resolve(&types, &kfuncs, prototype).is_ok()
    });
    let names = types.function_names("bpf_lsm_").len();
    outcome((
        hooks.len(),
        shown.min(64),
        offsets.map(|of| of.is_ok()),
        resolved,
        names,
        planned.missing.len(),
    ))
}
