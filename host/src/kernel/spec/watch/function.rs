//! Rows that functions of the kernel read: refused, or read another way, where it does not give them.

use krsi_host_abi::kfunc::{FILE_XATTR, FSVERITY_DIGEST, PATH_D_PATH, PUT_FILE, TASK_EXE_FILE};
use krsi_host_abi::spec::{Capture, Compare, Read, Spec, root};

use super::super::field_path::Field;
use super::super::predicate::Lowered;
use super::WatchError;
use crate::kernel::btf::kfunc::Kfuncs;

/// Settles how each row is read.
pub(super) fn choose_reads(
    rows: &mut [Capture],
    fields: &[Field],
    lowered: Option<&Lowered>,
    kfuncs: &Kfuncs,
) -> Result<(), WatchError> {
    let resolves = [TASK_EXE_FILE, PUT_FILE, PATH_D_PATH].into_iter().all(|one| kfuncs.has(one));
    for field in fields {
        let Some(row) = rows.get_mut(field.row) else { continue };
        let is = |read: Read| row.read == read as u8;
        let needs = |number, function, since| match kfuncs.has(number) {
            true => Ok(()),
            false => Err(WatchError::Function { field: field.path.clone(), function, since }),
        };
        if is(Read::Xattr) {
            needs(FILE_XATTR, "bpf_get_file_xattr", "6.8")?;
        } else if is(Read::FsVerity) {
            needs(FSVERITY_DIGEST, "bpf_get_fsverity_digest", "6.8")?;
        } else if is(Read::TaskExe) && !resolves {
            if lowered.is_some_and(|lowered| tests(lowered, field.row)) {
                needs(TASK_EXE_FILE, "bpf_get_task_exe_file", "6.12")?;
            }
            row.read = Read::Path as u8;
        } else if is(Read::Path)
            && row.root != root::ARG
            && lowered.is_some_and(|lowered| tests(lowered, field.row))
        {
            return Err(WatchError::Unresolved { field: field.path.clone() });
        }
    }
    Ok(())
}

/// Gives names of attributes their strings, behind those of the predicate.
pub(super) fn name_attributes(
    spec: &mut Spec,
    attributes: &[(usize, String)],
    used: usize,
) -> Result<(), WatchError> {
    for (at, (row, name)) in attributes.iter().enumerate() {
        let at = used + at;
        let place = spec.strings.get_mut(at).zip(spec.captures.get_mut(*row));
        let full = || WatchError::Attributes { name: name.clone() };
        let (string, capture) = place.ok_or_else(full)?;
        // What follows the name stays NUL.
        string.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
        capture.size = u8::try_from(at).map_err(|_| full())?;
    }
    Ok(())
}

/// Whether a path is tested that the kernel must resolve for it.
pub(super) fn tests_path(spec: &Spec, lowered: &Lowered) -> bool {
    let is_path = |capture: &Capture| capture.read == Read::Path as u8;
    let rows = spec.captures.iter().enumerate().filter(|(_, capture)| is_path(capture));
    rows.into_iter().any(|(row, _)| tests(lowered, row))
}

/// Whether some test is about a row's value, and not only about whether it could be read.
fn tests(lowered: &Lowered, row: usize) -> bool {
    let present = Compare::Present as u8;
    lowered.atoms.iter().any(|atom| usize::from(atom.capture) == row && atom.compare != present)
}
