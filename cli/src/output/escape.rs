//! Text of others on a terminal: what could move the cursor, set colours or turn the direction of writing is shown as
//! an escape.

use std::fmt::Write as _;

/// One line, whatever the text holds.
pub fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{1b}' => out.push_str("\\e"),
            other if is_unsafe(other) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(other));
            }
            other => out.push(other),
        }
    }
    out
}

/// JSON with those characters as JSON writes them; they can only be inside its strings.
pub fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if is_unsafe(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(character);
        }
    }
    out
}

/// Control characters of both sets, separators of lines, what changes the direction of writing, and what can't be seen.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_and_control_characters_are_shown() {
        assert_eq!(line("grüße 👋 \\o/"), "grüße 👋 \\o/");
        assert_eq!(line("a\nb\r\tc"), "a\\nb\\r\\tc");
        assert_eq!(line("\u{1b}[31mred\u{7}"), "\\e[31mred\\u{7}");
        assert_eq!(line("\u{9b}2J \u{202e}x"), "\\u{9b}2J \\u{202e}x");
    }

    #[test]
    fn json_means_the_same_afterwards() {
        let text = "\u{1b}\u{9b}\u{202e}\u{e0001} \"ok\" \n";
        let encoded = json(&serde_json::to_string(text).unwrap());
        assert!(encoded.chars().all(|character| !is_unsafe(character)));
        assert_eq!(serde_json::from_str::<String>(&encoded).unwrap(), text);
    }
}
