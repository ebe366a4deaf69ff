//! Texts of others → texts for people: one line, nothing that drives a terminal, and of two names never the same.
//!
//! Names come from whoever makes files, threads and plugins. They are kept as they are and made readable where
//! they are written for people; JSON escapes for itself.

use std::fmt::{self, Display, Formatter, Write};

/// A text as a part of a line: what could end the line, drive a terminal, turn the direction of writing or is
/// not seen is escaped, and so is the backslash, so that no name reads like the escape of another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Escaped<'a>(pub &'a str);

/// A name as one word of a line: the same, in quotes where it could pass for more than one word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quoted<'a>(pub &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| escape(letter, out))
    }
}

impl Display for Quoted<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Self(text) = self;
        if is_word(text) {
            return out.pad(text);
        }
        let mut quoted = String::with_capacity(text.len() + 2);
        quoted.push('"');
        for letter in text.chars() {
            match letter {
                '"' => quoted.push_str("\\\""),
                letter => escape(letter, &mut quoted)?,
            }
        }
        quoted.push('"');
        out.pad(&quoted)
    }
}

fn escape(letter: char, out: &mut impl Write) -> fmt::Result {
    match letter {
        '\\' => out.write_str("\\\\"),
        '\n' => out.write_str("\\n"),
        '\t' => out.write_str("\\t"),
        '\r' => out.write_str("\\r"),
        letter if is_hidden(letter) => write!(out, "{}", letter.escape_unicode()),
        letter => out.write_char(letter),
    }
}

/// Whether a text is one word that says nothing but itself: no white space, no mark that sets fields or quotes
/// apart, and not the dash that stands for what is not there.
fn is_word(text: &str) -> bool {
    let marks = |letter: char| matches!(letter, ' ' | '=' | '"' | '\'' | '\\' | '(' | ')' | ',');
    !matches!(text, "" | "-" | "?")
        && !text.chars().any(|letter| marks(letter) || is_hidden(letter))
}

/// Control characters, separators of lines and paragraphs, characters that set the direction of writing
/// (UAX #9), those that take no room, and white space that is not the blank.
fn is_hidden(letter: char) -> bool {
    letter.is_control()
        || letter != ' ' && letter.is_whitespace()
        || matches!(letter, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180b}'..='\u{180f}')
        || matches!(letter, '\u{115f}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}')
        || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(letter, '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
        || matches!(letter, '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// The start of a text, of at most `most` bytes, cut between characters.
#[must_use]
pub(crate) fn cut(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_drives_a_terminal_or_hides_is_escaped() {
        let check = |text: &str, expected: &str| assert_eq!(Escaped(text).to_string(), expected);
        check("päth is fine, 日本", "päth is fine, 日本");
        check("a\n\x1b[2Jb\r\t", "a\\n\\u{1b}[2Jb\\r\\t");
        check("x\u{202e}y\u{2066}z\u{200b}", "x\\u{202e}y\\u{2066}z\\u{200b}");
        check("a\u{a0}b\u{3000}c\u{2028}d\u{85}", "a\\u{a0}b\\u{3000}c\\u{2028}d\\u{85}");
        check("it is \"so\"", "it is \"so\"");
    }

    #[test]
    fn no_two_names_read_the_same() {
        let names = [
            "a\nb",
            "a\\nb",
            "a\\\\nb",
            "a b",
            "\"a b\"",
            "a\" b",
            "a\\\" b",
            "",
            "\"\"",
            "-",
            "\"-\"",
            "a",
            "\\u{202e}",
            "\u{202e}",
            "a=b",
            "a",
            "?",
            " a",
            "a ",
            "'a'",
        ];
        let shown: std::collections::BTreeSet<String> =
            names.iter().map(|name| Quoted(name).to_string()).collect();
        // "a" stands there twice.
        assert_eq!(shown.len(), names.len() - 1, "{shown:?}");
        for shown in &shown {
            assert!(!shown.contains('\n') && !shown.contains('\u{202e}'), "{shown}");
            // Outside of its quotes no name has a blank.
            assert!(shown.starts_with('"') || !shown.contains(' '), "{shown}");
        }
    }

    #[test]
    fn a_name_that_is_one_word_stays_bare() {
        let check = |text: &str, expected: &str| assert_eq!(Quoted(text).to_string(), expected);
        check("/usr/bin/päth-1.2_3", "/usr/bin/päth-1.2_3");
        check("[::1]:443", "[::1]:443");
        check("x uid=0 name=/etc/shadow", "\"x uid=0 name=/etc/shadow\"");
        check("a\"b", "\"a\\\"b\"");
        assert_eq!(format!("{:<6}|{:<6}|", Quoted("ab"), Quoted("a b")), "ab    |\"a b\" |");
    }

    #[test]
    fn a_cut_keeps_characters() {
        assert_eq!((cut("aä", 2), cut("aä", 3), cut("ab", 9)), ("a", "aä", "ab"));
    }
}
