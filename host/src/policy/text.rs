//! Text of plugins → text for a log: one line, bounded, nothing that moves a cursor.

/// `text` without what could fake a line or drive a terminal: control characters and those that
/// change the direction of writing are escaped. At most `max` bytes, cut between characters.
pub(super) fn one_line(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max));
    for char in text.chars() {
        let mut room = |part: &str| {
            let fits = out.len() + part.len() <= max;
            if fits {
                out.push_str(part);
            }
            fits
        };
        let fits = if is_hostile(char) {
            room(&char.escape_unicode().to_string())
        } else {
            room(char.encode_utf8(&mut [0; 4]))
        };
        if !fits {
            break;
        }
    }
    out
}

/// Control characters, line and paragraph separators, and the bidirectional formatting characters
/// of UAX #9.
fn is_hostile(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(char, '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_characters_are_escaped_and_cuts_keep_characters() {
        assert_eq!(one_line("päth is fine", 256), "päth is fine");
        assert_eq!(one_line("a\n\x1b[2Jb", 256), "a\\u{a}\\u{1b}[2Jb");
        assert_eq!(one_line("x\u{202e}y", 256), "x\\u{202e}y");
        assert_eq!(one_line("aä", 2), "a");
        assert_eq!(one_line("a\nb", 4), "a");
    }
}
