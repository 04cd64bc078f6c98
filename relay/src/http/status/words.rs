//! Numbers as people read them.

use std::time::Duration;

/// 1,234,567
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Keeps a number and its unit on one line.
const NO_BREAK: char = '\u{a0}';

/// 1.4 GiB
pub(super) fn bytes(number: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if number < 1024 {
        return format!("{number}{NO_BREAK}B");
    }
    let mut value = number as f64 / 1024.0;
    let mut units = UNITS.iter();
    let mut unit = units.next().unwrap_or(&"");
    for larger in units {
        // What would be written as 1024.
        if value < 1023.5 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    if value < 9.95 {
        format!("{value:.1}{NO_BREAK}{unit}")
    } else {
        format!("{value:.0}{NO_BREAK}{unit}")
    }
}

/// 3 days
pub(super) fn time(duration: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [
        (24 * 3600, "day"),
        (3600, "hour"),
        (60, "minute"),
        (1, "second"),
    ];
    let seconds = duration.as_secs();
    for (length, unit) in UNITS {
        let number = seconds / length;
        if number > 0 {
            let plural = if number == 1 { "" } else { "s" };
            return format!("{} {unit}{plural}", count(number));
        }
    }
    "a moment".to_owned()
}

/// Text for HTML.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_readable() {
        let counts = [0, 999, 1000, 1_234_567].map(count);
        assert_eq!(counts, ["0", "999", "1,000", "1,234,567"]);
        let spaced = |number| bytes(number).replace(NO_BREAK, " ");
        let sizes = [0, 1023, 1024, 1_500_000, 12 << 30, (1 << 20) - 1, u64::MAX].map(spaced);
        assert_eq!(
            sizes,
            [
                "0 B", "1023 B", "1.0 KiB", "1.4 MiB", "12 GiB", "1.0 MiB", "16 EiB"
            ]
        );
        let times = [0, 1, 59, 60, 7200, 86_400, 30 * 86_400].map(Duration::from_secs);
        assert_eq!(
            times.map(time),
            [
                "a moment",
                "1 second",
                "59 seconds",
                "1 minute",
                "2 hours",
                "1 day",
                "30 days"
            ]
        );
    }

    #[test]
    fn text_stays_text() {
        assert_eq!(
            escape("<a href='x'>&\""),
            "&lt;a href=&#39;x&#39;&gt;&amp;&quot;"
        );
    }
}
