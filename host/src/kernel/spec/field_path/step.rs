//! The text of a field path → its root, its steps and its bound.

use krsi_host_abi::spec::TEXT_MAX;

use super::FieldError;

/// Bytes of the text of a path.
pub(crate) const PATH_TEXT: usize = 512;
/// Steps of a path.
const MAX_STEPS: usize = 32;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PathStep {
    /// A member, `.name` or `->name`.
    Member(String),
    /// An element of an array, `[3]`.
    Index(u32),
    /// An element by name, `["user.mark"]`.
    Key(String),
}

/// A parsed path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldPath {
    /// Start of the path: an argument, `current` or `current_cred`.
    pub root: String,
    pub steps: Vec<PathStep>,
    /// Bytes that may be taken, from `[..64]`.
    pub bound: Option<u16>,
}

impl FieldPath {
    /// The root and the first steps, written with dots.
    #[must_use]
    pub(crate) fn shown(&self, steps: usize) -> String {
        let mut shown = self.root.clone();
        for step in self.steps.iter().take(steps) {
            match step {
                PathStep::Member(name) => {
                    shown.push('.');
                    shown.push_str(name);
                }
                PathStep::Index(index) => shown.push_str(&format!("[{index}]")),
                PathStep::Key(key) => shown.push_str(&format!("[\"{key}\"]")),
            }
        }
        shown
    }

    /// The whole path but its bound.
    #[must_use]
    pub(crate) fn text(&self) -> String {
        self.shown(self.steps.len())
    }
}

/// Parses a path.
pub(crate) fn parse(text: &str) -> Result<FieldPath, FieldError> {
    let malformed = |why| FieldError::Malformed { path: clipped(text), why };
    if text.len() > PATH_TEXT {
        return Err(malformed("is too long"));
    }
    let (root, mut rest) =
        name(text.trim()).ok_or_else(|| malformed("does not start with a name"))?;
    let mut path = FieldPath { root: root.to_owned(), steps: Vec::new(), bound: None };
    while !rest.trim_start().is_empty() {
        rest = rest.trim_start();
        if path.bound.is_some() {
            return Err(malformed("goes on after its bound"));
        }
        if path.steps.len() >= MAX_STEPS {
            return Err(malformed("has too many steps"));
        }
        if let Some(after) = rest.strip_prefix("->").or_else(|| rest.strip_prefix('.')) {
            let (member, after) =
                name(after.trim_start()).ok_or_else(|| malformed("has no name after a dot"))?;
            path.steps.push(PathStep::Member(member.to_owned()));
            rest = after;
        } else if let Some(after) = rest.strip_prefix('[') {
            let (inside, after) = after
                .split_once(']')
                .ok_or_else(|| malformed("has a bracket that is not closed"))?;
            match inside.trim().strip_prefix("..") {
                Some(bound) => {
                    path.bound =
                        Some(parse_bound(bound).ok_or_else(|| {
                            malformed("has a bound that is no number from 1 to 256")
                        })?)
                }
                None => path.steps.push(match quoted(inside.trim()) {
                    Some(key) => PathStep::Key(key.to_owned()),
                    None => PathStep::Index(
                        inside
                            .trim()
                            .parse()
                            .map_err(|_| malformed("has an index that is no number"))?,
                    ),
                }),
            }
            rest = after;
        } else {
            return Err(malformed(
                "has something that is no step: write `.name`, `[3]` or `[..64]`",
            ));
        }
    }
    Ok(path)
}

/// What stands between quotes, nothing escaped.
fn quoted(text: &str) -> Option<&str> {
    let between = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    let inside = between('"').or_else(|| between('\''))?;
    (!inside.contains(['"', '\'', '\\'])).then_some(inside)
}

fn parse_bound(text: &str) -> Option<u16> {
    let bound: u16 = text.trim().parse().ok()?;
    (bound > 0 && usize::from(bound) <= TEXT_MAX).then_some(bound)
}

/// The name that the text starts with, and what follows.
pub(crate) fn name(text: &str) -> Option<(&str, &str)> {
    let starts = |first: char| first.is_ascii_alphabetic() || first == '_';
    if !text.starts_with(starts) {
        return None;
    }
    let end = text.find(|next: char| !next.is_ascii_alphanumeric() && next != '_');
    text.split_at_checked(end.unwrap_or(text.len()))
}

/// The start of a text that may be long.
pub(crate) fn clipped(text: &str) -> String {
    let mut shown: String = text.chars().take(64).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}
