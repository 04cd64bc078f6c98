//! The plots of the chaos report.

use std::fmt::Write as _;

use super::style::{self, SERIES, escape, round_up};
use crate::runner::Outcome;

const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 170.0;
const LEFT: f64 = 42.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 22.0;
/// Points of one line that are drawn: more can't be told apart.
const MAX_POINTS: usize = 400;

/// Time to converge of every scenario.
pub fn bars(outcomes: &[Outcome]) -> String {
    let longest = outcomes
        .iter()
        .filter_map(|outcome| outcome.converged_seconds)
        .fold(0.0, f64::max);
    let end = round_up(longest);
    let mut text = "<div class=\"rows\">\n".to_owned();
    for outcome in outcomes {
        let class = if outcome.passed() {
            "row"
        } else {
            "row missed"
        };
        let (share, label) = outcome.converged_seconds.map_or_else(
            || (100.0, "failed".to_owned()),
            |seconds| (seconds / end * 100.0, format!("{seconds:.1} s")),
        );
        let _ = writeln!(
            text,
            "<a class=\"{class}\" href=\"#{id}\"><span>{id}</span><span class=\"what\">{}</span><i style=\"width:{share:.1}%\"></i><span>{label}</span></a>",
            escape(&outcome.title),
            id = outcome.id,
        );
    }
    text.push_str("</div>\n");
    text
}

/// Blobs in each log over time, with the faults behind them.
pub fn timeline(outcome: &Outcome) -> String {
    let last_point = outcome
        .devices
        .iter()
        .filter_map(|device| device.points.last());
    let last_time = last_point
        .clone()
        .map(|(time, _)| *time)
        .fold(outcome.converged_at.unwrap_or(0.0), f64::max);
    let most = last_point.map(|(_, count)| *count).max().unwrap_or(0);
    if most == 0 {
        return String::new();
    }
    let seconds = round_up(last_time.max(1.0));
    #[allow(clippy::cast_precision_loss, reason = "a plot has fewer pixels")]
    let top = round_up(most as f64);
    let x = |time: f64| LEFT + (WIDTH - LEFT - RIGHT) * (time / seconds).clamp(0.0, 1.0);
    let y = |count: f64| TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - count / top);

    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Blobs over time in {}\">\n",
        outcome.id
    );
    for (index, window) in outcome.windows.iter().enumerate() {
        let (from, to) = (x(window.from), x(window.to.unwrap_or(seconds)));
        let _ = writeln!(
            svg,
            "<rect class=\"fault\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"><title>{}</title></rect>",
            (to - from).max(1.5),
            HEIGHT - TOP - BOTTOM,
            escape(&window.label)
        );
        // Labels of short windows in a row would lie on each other.
        if index == 0
            || window.label != outcome.windows[index - 1].label
                && from > LEFT + 180.0 * f64::from(u8::from(index > 0))
        {
            let _ = writeln!(
                svg,
                "<text class=\"dim\" x=\"{from:.1}\" y=\"{:.1}\">{}</text>",
                TOP - 6.0,
                escape(&window.label)
            );
        }
    }
    let base = HEIGHT - BOTTOM;
    let _ = writeln!(
        svg,
        "<path class=\"axis\" fill=\"none\" d=\"M{LEFT},{TOP} V{base} H{:.1}\"/>\n\
         <text class=\"dim\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{top:.0}</text>\n\
         <text class=\"dim\" x=\"{:.1}\" y=\"{base}\" text-anchor=\"end\">0</text>\n\
         <text class=\"dim\" x=\"{LEFT}\" y=\"{:.1}\">0 s</text>\n\
         <text class=\"dim\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{seconds:.0} s</text>",
        WIDTH - RIGHT,
        LEFT - 6.0,
        TOP + 9.0,
        LEFT - 6.0,
        HEIGHT - 6.0,
        WIDTH - RIGHT,
        HEIGHT - 6.0,
    );
    for (index, device) in outcome.devices.iter().enumerate() {
        let points = line(&device.points, &x, &y);
        let _ = writeln!(
            svg,
            "<polyline class=\"s{}\" points=\"{points}\"><title>{}</title></polyline>",
            index % SERIES,
            escape(&device.name)
        );
    }
    if let Some(at) = outcome.converged_at {
        let _ = writeln!(
            svg,
            "<line class=\"end\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{base}\"><title>converged</title></line>",
            at = x(at)
        );
    }
    svg.push_str("</svg>\n");
    svg.push_str(&style::legend(
        outcome.devices.iter().map(|device| device.name.as_str()),
    ));
    svg
}

/// A staircase, without points that nobody could tell from their neighbours.
fn line(points: &[(f64, u64)], x: &impl Fn(f64) -> f64, y: &impl Fn(f64) -> f64) -> String {
    let step = points.len().div_ceil(MAX_POINTS).max(1);
    let last = points.len().saturating_sub(1);
    let mut text = String::new();
    let mut level: Option<f64> = None;
    for (_, (time, count)) in points
        .iter()
        .enumerate()
        .filter(|(index, _)| index % step == 0 || *index == last)
    {
        #[allow(clippy::cast_precision_loss, reason = "a plot has fewer pixels")]
        let (x, y) = (x(*time), y(*count as f64));
        if let Some(level) = level {
            let _ = write!(text, "{x:.1},{level:.1} ");
        }
        let _ = write!(text, "{x:.1},{y:.1} ");
        level = Some(y);
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_thinned_and_keeps_its_end() {
        let points: Vec<_> = (0..10_000_u32)
            .map(|n| (f64::from(n), u64::from(n)))
            .collect();
        #[allow(clippy::cast_precision_loss, reason = "small numbers")]
        let text = line(&points, &|time| time, &|count| count);
        assert!(text.split(' ').count() < 3 * MAX_POINTS);
        assert!(text.ends_with("9999.0,9999.0"));
    }
}
