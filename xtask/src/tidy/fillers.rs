//! Documentation that says nothing: a block of a few words, none of which names its subject.

use super::{File, Finding};

/// Words of the longest block that is looked at: a longer one says something, however little.
const LONGEST: usize = 3;
/// Words of the longest block whose first word is looked at.
const SHORT: usize = 9;
/// First words of a block that speaks of what another line names.
const ELSEWHERE: [&str; 9] =
    ["it", "its", "they", "their", "them", "those", "that", "none", "never"];
/// Words that point to a subject and do not name it.
const POINTING: &str = "\
    the its their it they them this that these those which why what how who whom whose where \
    when whether nothing nobody anything everything something yes no not none all any both \
    some same other many much long bad is are was were does do did and as at by for in of \
    there";
/// Words that stand in for nearly everything here, and name nothing without another.
const VAGUE: &str = "\
    body bytes call called caller calls child counts decided errno event events failed field \
    file files format found function head holds hook hooks input key kind length line lines \
    list maps means member name number object output owner parent plugin process processes \
    read record refused result returned root says seen starts stopped subject table text \
    value verdict version word words wrong";

pub(crate) fn check(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, text) in blocks(&file.text) {
        if is_filler(&text) || is_of_another(&text) {
            let what = format!("{text:?} does not name its subject: name it, or leave it out");
            findings.push(Finding::new(&file.path, line, what));
        }
    }
    findings
}

/// Blocks of documentation, each with its first line: lines that follow each other, with one sign before them.
fn blocks(text: &str) -> Vec<(usize, String)> {
    let mut blocks: Vec<(usize, String)> = Vec::new();
    let mut before = None;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let sign = ["///", "//!"].into_iter().find(|sign| line.starts_with(sign));
        if let Some(said) = sign.and_then(|sign| line.strip_prefix(sign)) {
            match blocks.last_mut().filter(|_| sign == before) {
                Some((_, block)) => *block = format!("{block} {}", said.trim()),
                None => blocks.push((at + 1, said.trim().to_owned())),
            }
        }
        before = sign;
    }
    blocks
}

/// Whether a text is short and all of its words are vague. Several words must point somewhere too: a text such as
/// "Calls refused." says enough.
fn is_filler(text: &str) -> bool {
    let words: Vec<String> = text.split_whitespace().map(bare).collect();
    let is_among = |list: &str, word: &String| list.split_whitespace().any(|known| known == word);
    let points = words.iter().any(|word| is_among(POINTING, word));
    (1..=LONGEST).contains(&words.len())
        && (points || words.len() == 1)
        && words.iter().all(|word| is_among(POINTING, word) || is_among(VAGUE, word))
}

/// Whether a short text speaks of a subject that stands elsewhere: "Its calls so far.", "The same from memory."
fn is_of_another(text: &str) -> bool {
    let words: Vec<String> = text.split_whitespace().map(bare).collect();
    let first = words.first().map(String::as_str).unwrap_or_default();
    let is_same = words.get(..2).is_some_and(|words| words == ["the", "same"]);
    words.len() <= SHORT && (ELSEWHERE.contains(&first) || is_same)
}

/// A word without punctuation, whose it is, and capitals. Code keeps its marks: it always names something.
fn bare(word: &str) -> String {
    let word = word.trim_matches(['.', ',', ';', ':', '?', '!', '(', ')']);
    word.strip_suffix("'s").unwrap_or(word).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        check(&File { path: "a.rs".into(), text: text.into() })
            .into_iter()
            .map(|finding| finding.line)
            .collect()
    }

    #[test]
    fn a_filler_is_found() {
        for filler in ["The file.", "Why.", "Its name.", "How many.", "Bytes.", "Yes.", "Which."] {
            assert_eq!(
                lines(&format!("//! A.\n\n    /// {filler}\n    a: u8,\n")),
                [3],
                "{filler}"
            );
        }
        for filler in ["Name in it.", "The plugin's file.", "Where and how.", "What was decided."] {
            assert_eq!(lines(&format!("//! {filler}\nmod a;\n")), [1], "{filler}");
        }
    }

    #[test]
    fn a_subject_that_stands_elsewhere_is_found() {
        for text in
            ["Its calls so far.", "The same, but only reported.", "Those that were refused."]
        {
            assert_eq!(lines(&format!("/// {text}\n")), [1], "{text}");
        }
        let long = "It is called by the host once for each plugin that starts.";
        assert_eq!(lines(&format!("/// {long}\n")), [0; 0]);
    }

    #[test]
    fn a_subject_is_no_filler() {
        for good in [
            "Name of the file.",
            "Effective user id.",
            "Socket type, `SOCK_*`.",
            "`SOCK_*`.",
            "Semaphores are operated.",
            "No rule applies.",
            "A file.",
            "Calls refused.",
            "The calling process.",
        ] {
            assert_eq!(lines(&format!("/// {good}\n")), [0; 0], "{good}");
        }
    }

    #[test]
    fn a_block_is_read_as_a_whole() {
        assert_eq!(lines("/// The file.\n/// It is closed by the kernel.\n"), [0; 0]);
        assert_eq!(lines("/// The file of a rule, without\n/// its name.\n"), [0; 0]);
        assert_eq!(lines("/// A rule.\nx\n/// Its\n/// name.\n"), [3]);
        assert_eq!(lines("// Why.\nlet a = \"/// Why.\";\n//// Why.\n"), [0; 0]);
    }
}
