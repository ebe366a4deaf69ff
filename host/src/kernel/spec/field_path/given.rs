//! What no member holds and a function of the kernel gives: attributes and digests of a `struct file`.

use krsi_host_abi::spec::{Read, STRING_LEN, TEXT_MAX};

use super::{Captured, Field, FieldError, FieldKind, FieldPath, PathStep, WalkPlace};
use crate::kernel::btf::Form;

/// Extended attributes, each by its name.
const XATTR: &str = "xattr";
/// The digest that fs-verity keeps.
const FSVERITY: &str = "fsverity";
/// Bytes of SHA-512, the longest one.
const DIGEST_MAX: u16 = 64;

/// The end of a path whose step `at` asks for such a thing, if it does.
pub(super) fn finish(
    place: &WalkPlace<'_>,
    path: &FieldPath,
    at: usize,
) -> Result<Option<Captured>, FieldError> {
    let Some([PathStep::Member(name), rest @ ..]) = path.steps.get(at..) else { return Ok(None) };
    if !place.is_file() || !matches!(name.as_str(), XATTR | FSVERITY) {
        return Ok(None);
    }
    let shown = path.text();
    let (kind, read, attribute) = match (name.as_str(), rest) {
        (XATTR, [PathStep::Key(key)]) if is_attribute(key) => {
            (FieldKind::Text(bound(TEXT_MAX)), Read::Xattr, Some(key.clone()))
        }
        (FSVERITY, []) => (FieldKind::Digest(DIGEST_MAX), Read::FsVerity, None),
        (XATTR, _) => {
            return Err(FieldError::Attribute { path: shown, most: STRING_LEN - 1 });
        }
        (_, _) => {
            let (path, type_name) = (shown, "a digest".to_owned());
            return Err(FieldError::NoMembers { path, type_name });
        }
    };
    let type_name = place.types.type_name(place.type_id);
    if path.bound.is_some() {
        return Err(FieldError::NoBound { path: shown, type_name });
    }
    let rows = vec![place.row(read, &shown)?];
    let (name, path) = (shown.clone(), shown);
    let field = Field { name, path, kind, type_name, row: 0, is_pointer: false, shown: true };
    Ok(Some(Captured { field, rows, attribute }))
}

impl WalkPlace<'_> {
    /// Whether a pointer to a `struct file` stands here.
    fn is_file(&self) -> bool {
        let Form::Pointer { to } = self.types.shape(self.type_id).form else { return false };
        matches!(self.types.shape(to).form, Form::Members { name, .. } if name == "file")
    }
}

/// Whether it may be given to the kernel: a frozen string with its NUL.
fn is_attribute(key: &str) -> bool {
    !key.is_empty() && key.len() < STRING_LEN && key.bytes().all(|byte| byte.is_ascii_graphic())
}

fn bound(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}
