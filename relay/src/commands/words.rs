//! Sizes and times for people.

use std::time::Duration;

/// `1.5 MB`, with the powers of 1024 that the settings have.
pub fn bytes(size: u64) -> String {
    const UNITS: [&str; 4] = ["KB", "MB", "GB", "TB"];
    if size < 1024 {
        return format!("{size} bytes");
    }
    let mut tenths = u128::from(size) * 10 / 1024;
    let mut unit = UNITS[0];
    for larger in &UNITS[1..] {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1024;
        unit = larger;
    }
    if tenths < 1000 {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    } else {
        format!("{} {unit}", tenths / 10)
    }
}

/// `3 days`: the largest unit of which there is more than one.
pub fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    let (number, unit) = match seconds {
        172_800.. => (seconds / 86_400, "days"),
        7_200.. => (seconds / 3_600, "hours"),
        120.. => (seconds / 60, "minutes"),
        _ => (seconds, "seconds"),
    };
    format!("{number} {unit}")
}

/// `1 group`, `2 groups`.
pub fn count(number: u64, one: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {one}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_short() {
        let sizes = [0, 1023, 1024, 1536, 200 << 10, 3 << 30, 5 << 50].map(bytes);
        let expected = [
            "0 bytes",
            "1023 bytes",
            "1.0 KB",
            "1.5 KB",
            "200 KB",
            "3.0 GB",
            "5120 TB",
        ];
        assert_eq!(sizes, expected);
        let times = [59, 119, 120, 7_199, 86_400, 864_000].map(|s| time(Duration::from_secs(s)));
        let expected = [
            "59 seconds",
            "119 seconds",
            "2 minutes",
            "119 minutes",
            "24 hours",
            "10 days",
        ];
        assert_eq!(times, expected);
    }
}
