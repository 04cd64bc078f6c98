//! What xtask prints.

use std::io::{IsTerminal, stdout};
use std::time::{Duration, Instant};

const GREEN: &str = "32";
const RED: &str = "31";
const YELLOW: &str = "33";
const BOLD: &str = "1";

fn paint(code: &str, text: &str) -> String {
    if stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// `✓ …`: it is so.
pub fn done(text: &str) {
    println!("{} {text}", paint(GREEN, "✓"));
}

/// `• …`: this is being done now.
pub fn doing(text: &str) {
    println!("• {text}");
}

/// `! …`: worth knowing, not a failure.
pub fn note(text: &str) {
    println!("{} {text}", paint(YELLOW, "!"));
}

/// `✗ …`, on standard error.
pub fn failure(text: &str) {
    eprintln!("{} {text}", paint(RED, "✗"));
}

/// A heading.
pub fn heading(text: &str) {
    println!("\n{}", paint(BOLD, &format!("── {text}")));
}

/// `950 ms`, `12.3 s`, `4 min 05 s`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{:.1} s", time.as_secs_f64()),
        _ => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

/// The time since `start`, ready to print.
pub fn since(start: Instant) -> String {
    duration(start.elapsed())
}

/// A size in the units people compare packages in.
pub fn kilobytes(bytes: u64) -> String {
    format!("{:.0} KB", bytes as f64 / 1000.0)
}

/// Rows with aligned columns; the last column is not padded.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.push_str(&" ".repeat(width.saturating_sub(cell.chars().count()) + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        assert_eq!(duration(Duration::from_millis(950)), "950 ms");
        assert_eq!(duration(Duration::from_millis(12_340)), "12.3 s");
        assert_eq!(duration(Duration::from_secs(245)), "4 min 05 s");
    }

    #[test]
    fn table_aligns_by_characters_not_bytes() {
        let rows = vec![vec!["ä".into(), "1".into()], vec!["bb".into(), "2".into()]];
        assert_eq!(table(&rows), "ä   1\nbb  2\n");
    }
}
