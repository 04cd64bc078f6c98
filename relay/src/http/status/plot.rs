//! One hour as bars.

use std::fmt::Write as _;

use super::words::escape;
use crate::limits::HISTORY_MINUTES;

/// Height of the plot; a minute is [`STEP`] wide, its bar a little less.
const HEIGHT: f64 = 48.0;
const STEP: usize = 5;
const BAR: usize = 4;
/// What happened at all is to be seen.
const LOWEST: f64 = 2.0;

/// A figure of the last hour; `values` are the last minutes, the newest last.
pub(super) fn figure(title: &str, values: &[u64], write: impl Fn(u64) -> String) -> String {
    let peak = values.iter().copied().max().unwrap_or(0);
    let now = values.last().copied().unwrap_or(0);
    let width = HISTORY_MINUTES * STEP;
    let (title, peak_text, now) = (escape(title), escape(&write(peak)), escape(&write(now)));
    let mut bars = String::new();
    let first = HISTORY_MINUTES.saturating_sub(values.len());
    for (at, value) in values.iter().enumerate() {
        if *value == 0 {
            continue;
        }
        let height = (*value as f64 / peak as f64 * HEIGHT).max(LOWEST);
        // Writing to a String cannot fail.
        let _ = write!(
            bars,
            "<rect x=\"{}\" y=\"{:.1}\" width=\"{BAR}\" height=\"{height:.1}\" rx=\"1\"/>",
            (first + at) * STEP,
            HEIGHT - height,
        );
    }
    format!(
        "<figure><figcaption><span>{title}</span><b>{now}</b></figcaption>\
         <svg viewBox=\"0 0 {width} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"{title} over the last hour: {now} now, {peak_text} at most\">{bars}</svg>\
         <p><span>an hour ago</span><span>at most {peak_text}</span><span>now</span></p></figure>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_high_as_its_share_of_the_peak_and_the_newest_is_at_the_right() {
        let svg = figure("Pushes", &[0, 50, 100], |n| n.to_string());
        assert_eq!(svg.matches("<rect").count(), 2);
        assert!(
            svg.contains("<rect x=\"290\" y=\"24.0\" width=\"4\" height=\"24.0\""),
            "{svg}"
        );
        assert!(
            svg.contains("<rect x=\"295\" y=\"0.0\" width=\"4\" height=\"48.0\""),
            "{svg}"
        );
        assert!(svg.contains("100 now, 100 at most"), "{svg}");
        assert_eq!(
            figure("Pushes", &[0; 60], |n| n.to_string())
                .matches("<rect")
                .count(),
            0
        );
    }
}
