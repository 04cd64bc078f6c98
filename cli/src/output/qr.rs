//! A QR code of half blocks: two modules a character, so that it is square.

use qrcode::{Color, EcLevel, QrCode};

/// Modules of white around the code, without which cameras don't find it.
const QUIET_ZONE: usize = 4;
/// Black on white, from the fixed part of the palette: themes change the first sixteen colours.
const COLOURS: &str = "\x1b[38;5;16;48;5;231m";
const RESET: &str = "\x1b[0m";

/// The code, line by line. In colour it looks the same on every terminal; without, light modules are drawn, which is
/// right on a dark background, and most cameras read the negative as well. `None` for more text than fits.
pub fn draw(text: &str, colour: bool) -> Option<String> {
    // The lowest level: a screen has no stains, and a smaller code fits a smaller window.
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let width = code.width();
    let is_dark = |x: usize, y: usize| {
        let inside = |at: usize| (QUIET_ZONE..QUIET_ZONE + width).contains(&at);
        inside(x) && inside(y) && code[(x - QUIET_ZONE, y - QUIET_ZONE)] == Color::Dark
    };
    let side = width + 2 * QUIET_ZONE;
    let mut out = String::new();
    for y in (0..side).step_by(2) {
        if colour {
            out.push_str(COLOURS);
        }
        for x in 0..side {
            // What the character's ink is: dark modules in colour, light ones without.
            let (top, bottom) = (
                is_dark(x, y) == colour,
                // An odd number of rows ends with half a line of background.
                is_dark(x, y + 1) == colour && (colour || y + 1 < side),
            );
            out.push(match (top, bottom) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        if colour {
            out.push_str(RESET);
        }
        out.push('\n');
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_square_with_a_quiet_zone() {
        let drawn = draw("https://app.example/#0k=1.abcdef", false).unwrap();
        let lines: Vec<Vec<char>> = drawn.lines().map(|line| line.chars().collect()).collect();
        let width = lines[0].len();
        assert_eq!(lines.len(), width.div_ceil(2));
        assert!(lines.iter().all(|line| line.len() == width));
        assert!(
            lines[..2]
                .concat()
                .iter()
                .all(|character| *character == '█')
        );
        assert!(lines.iter().all(|line| line[..4] == line[width - 4..]));
        let coloured = draw("https://app.example/#0k=1.abcdef", true).unwrap();
        assert!(
            coloured
                .lines()
                .all(|line| line.starts_with(COLOURS) && line.ends_with(RESET))
        );
    }

    /// What a camera sees: whether each point is dark, when ink and background have these colours.
    fn seen(drawn: &str, ink_is_dark: bool) -> Vec<Vec<bool>> {
        let halves = |line: &str, full: [char; 2]| {
            let is_dark = |character| full.contains(&character) == ink_is_dark;
            line.chars().map(is_dark).collect()
        };
        let lines = drawn
            .lines()
            .map(|line| line.replace(COLOURS, "").replace(RESET, ""));
        let rows = |line: String| [halves(&line, ['█', '▀']), halves(&line, ['█', '▄'])];
        lines.flat_map(rows).collect()
    }

    #[test]
    fn a_camera_sees_the_code() {
        let text = "https://app.example/#0k=1.abcdef";
        let code = QrCode::with_error_correction_level(text, EcLevel::L).unwrap();
        for colour in [true, false] {
            let seen = seen(&draw(text, colour).unwrap(), colour);
            let side = code.width() + 2 * QUIET_ZONE;
            for (y, row) in seen.iter().enumerate().take(side) {
                for (x, dark) in row.iter().enumerate() {
                    let at = x.checked_sub(QUIET_ZONE).zip(y.checked_sub(QUIET_ZONE));
                    let inside = at.filter(|(x, y)| x.max(y) < &code.width());
                    let expected = inside.is_some_and(|at| code[at] == Color::Dark);
                    assert_eq!(*dark, expected, "at {x}, {y}");
                }
            }
        }
    }

    #[test]
    fn too_much_text_is_no_panic() {
        assert_eq!(draw(&"x".repeat(5000), true), None);
    }
}
