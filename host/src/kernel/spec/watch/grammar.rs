//! The text `HOOK: FIELD, FIELD as NAME if PREDICATE deny ERRNO` → its parts.

use super::super::field_path::{self, FieldPath};
use super::super::predicate::{self, Predicate, is_label, outside_strings};
use super::WatchError;

/// Bytes of a watch.
pub(crate) const WATCH_TEXT: usize = 4096;
/// Bytes of the name of a hook or a field.
const NAME: usize = 64;
/// Largest errno.
const MAX_ERRNO: u16 = 4095;
/// Words that begin a verdict.
const VERDICTS: &[&str] = &["deny", "audit", "label"];
/// Words that no field may be called: CEL's, and those of a watch.
const RESERVED: &[&str] = &[
    "as",
    "audit",
    "break",
    "const",
    "continue",
    "deny",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "label",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// What a watch does with a call that it matches, beyond recording it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WatchVerdict {
    /// Refuses it with that errno.
    Deny(u16),
    /// Reports that it would have refused it with that errno.
    Audit(u16),
    /// Gives the caller a label.
    Label {
        /// The label, as it is written: its name, or its owner's and its own.
        name: String,
        /// Number of the label, once it is known.
        number: Option<u8>,
    },
}

/// What a verdict does with a call for which the predicate is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatchIfUnread {
    /// The verdict lets the call pass.
    Pass,
    /// The call is treated as one that the predicate holds for.
    Deny,
}

/// A field that a watch asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AskedField {
    pub(crate) path: FieldPath,
    pub(crate) name: Option<String>,
}

/// A watch whose fields are not resolved yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WatchSpec {
    /// LSM hook, without `bpf_lsm_` or `security_`.
    pub hook: String,
    pub(crate) asked: Vec<AskedField>,
    pub(crate) predicate: Option<Predicate>,
    /// Verdict on a call that the watch matches.
    pub verdict: Option<WatchVerdict>,
    /// What it does with a call for which the predicate is unknown, if it says so.
    pub(crate) if_unread: Option<WatchIfUnread>,
}

impl WatchSpec {
    /// Whether it says which calls it matches, by more than the word `true`.
    #[must_use]
    pub(crate) fn has_predicate(&self) -> bool {
        self.predicate.as_ref().is_some_and(|predicate| !predicate.is_true())
    }
}

/// Parses a watch. `errno` knows the numbers of names such as `EPERM`.
///
/// # Errors
/// When the text is too long or not of that form.
pub(crate) fn parse(
    text: &str,
    errno: impl Fn(&str) -> Option<u16>,
) -> Result<WatchSpec, WatchError> {
    if text.len() > WATCH_TEXT {
        return Err(WatchError::Long { len: text.len() });
    }
    if text.contains("\"\"\"") || text.contains("'''") {
        return Err(WatchError::TripleQuotes);
    }
    predicate::numbers(text)?;
    let parts = Parts::of(text);
    let (hook, fields) = parts.head.split_once(':').unwrap_or((parts.head, ""));
    Ok(WatchSpec {
        hook: hook_name(hook.trim())?,
        asked: asked(fields)?,
        predicate: parts.predicate.map(|(before, text)| predicate(before, text)).transpose()?,
        verdict: parts.verdict.map(|verdict| verdict_of(verdict, errno)).transpose()?,
        if_unread: parts.if_unread()?,
    })
}

/// Whether the text of a watch names that hook.
#[must_use]
pub(crate) fn is_on(text: &str, hook: &str) -> bool {
    let head = Parts::of(text).head;
    head.split_once(':').map_or(head, |(name, _)| name).trim() == hook
}

fn predicate(before: &str, text: &str) -> Result<Predicate, WatchError> {
    if text.trim().is_empty() {
        return Err(WatchError::NoPredicate);
    }
    Ok(Predicate::parse(before, text)?)
}

/// The text cut at its keywords.
struct Parts<'a> {
    head: &'a str,
    /// Text before the predicate, and text of the predicate.
    predicate: Option<(&'a str, &'a str)>,
    verdict: Option<(&'a str, &'a str)>,
    /// The word behind [`IF_UNREAD`].
    if_unread: Option<&'a str>,
}

/// Stands behind a verdict.
const IF_UNREAD: &str = "if_unread";

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Self {
        let mut words = words(text);
        let mut body_end = text.len();
        let mut if_unread = None;
        let keyword = words.iter().rev().take(2).position(|(_, word)| *word == IF_UNREAD);
        if let Some(behind) = keyword {
            if_unread =
                Some(if behind == 0 { "" } else { words.pop().map_or("", |(_, word)| word) });
            body_end = words.pop().map_or(body_end, |(at, _)| at);
        }
        let mut verdict = None;
        if let [.., (keyword_at, keyword), (_, errno)] = words.as_slice()
            && VERDICTS.contains(keyword)
        {
            verdict = Some((*keyword, *errno));
            body_end = *keyword_at;
        } else if let Some((keyword_at, keyword)) = words.last()
            && VERDICTS.contains(keyword)
        {
            verdict = Some((*keyword, ""));
            body_end = *keyword_at;
        }
        let body = text.get(..body_end).unwrap_or(text);
        let found = words.iter().find(|(at, word)| *word == "if" && *at < body_end);
        let (head, predicate) = match found {
            Some((at, word)) => {
                (body.get(..*at).unwrap_or(body), body.split_at_checked(at + word.len()))
            }
            None => (body, None),
        };
        Self { head, predicate, verdict, if_unread }
    }

    fn if_unread(&self) -> Result<Option<WatchIfUnread>, WatchError> {
        match (self.if_unread, self.verdict) {
            (None, _) => Ok(None),
            (Some("pass"), Some(_)) => Ok(Some(WatchIfUnread::Pass)),
            (Some("deny"), Some(_)) => Ok(Some(WatchIfUnread::Deny)),
            (Some(_), _) => Err(WatchError::IfUnread),
        }
    }
}

/// Words outside of strings, between white space, with their places.
fn words(text: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, byte, outside) in outside_strings(text) {
        let gap = outside && byte.is_ascii_whitespace();
        match start {
            Some(from) if gap => {
                words.extend(text.get(from..at).map(|word| (from, word)));
                start = None;
            }
            None if !gap => start = Some(at),
            _ => {}
        }
    }
    words.extend(start.and_then(|from| text.get(from..).map(|word| (from, word))));
    words
}

fn hook_name(text: &str) -> Result<String, WatchError> {
    let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if text.is_empty() || text.len() > NAME || !text.bytes().all(valid) {
        return Err(WatchError::HookName { text: field_path::clipped(text) });
    }
    Ok(text.to_owned())
}

fn asked(text: &str) -> Result<Vec<AskedField>, WatchError> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    text.split(',').map(|item| field(item.trim())).collect()
}

fn field(item: &str) -> Result<AskedField, WatchError> {
    if item.is_empty() {
        return Err(WatchError::EmptyField);
    }
    let words: Vec<(usize, &str)> = words(item);
    let [before @ .., (keyword_at, "as"), (_, name)] = words.as_slice() else {
        return Ok(AskedField { path: field_path::parse(item)?, name: None });
    };
    let path = item.get(..*keyword_at).filter(|_| !before.is_empty()).unwrap_or_default();
    let whole = field_path::name(name).is_some_and(|(_, rest)| rest.is_empty());
    if !whole || name.len() > NAME || RESERVED.contains(name) {
        return Err(WatchError::FieldName { name: field_path::clipped(name) });
    }
    Ok(AskedField { path: field_path::parse(path)?, name: Some((*name).to_owned()) })
}

fn verdict_of(
    (keyword, errno): (&str, &str),
    number: impl Fn(&str) -> Option<u16>,
) -> Result<WatchVerdict, WatchError> {
    if keyword == "label" {
        return match is_label(errno) {
            true => Ok(WatchVerdict::Label { name: errno.to_owned(), number: None }),
            false => Err(WatchError::LabelName { text: field_path::clipped(errno) }),
        };
    }
    let known = errno.parse().ok().or_else(|| number(errno));
    match known.filter(|errno| (1..=MAX_ERRNO).contains(errno)) {
        Some(errno) if keyword == "deny" => Ok(WatchVerdict::Deny(errno)),
        Some(errno) => Ok(WatchVerdict::Audit(errno)),
        None => Err(WatchError::Errno { text: field_path::clipped(errno) }),
    }
}
