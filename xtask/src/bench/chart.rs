//! The results as one bar chart: how far each is from its goal.

use std::fmt::Write;

use super::results::{Measurement, number_text};

const WIDTH: u32 = 860;
const ROW: u32 = 34;
const TOP: u32 = 44;
/// Left edge and length of a bar that just reaches its goal.
const BAR_X: u32 = 300;
const GOAL_LENGTH: f64 = 220.0;
/// Longer bars are cut here.
const MAX_LENGTH: f64 = 400.0;

const STYLE: &str = "
    text { font: 13px system-ui, sans-serif; fill: #1f2328 }
    .small { font-size: 11px; fill: #59636e }
    .met { fill: #2da44e }
    .missed { fill: #cf222e }
    .goal { stroke: #59636e; stroke-dasharray: 3 3 }
    @media (prefers-color-scheme: dark) {
      text { fill: #f0f6fc }
      .small { fill: #9198a1 }
      .met { fill: #3fb950 }
      .missed { fill: #f85149 }
      .goal { stroke: #9198a1 }
    }
  ";

/// Draws all results.
pub fn draw(measurements: &[Measurement]) -> String {
    let rows = u32::try_from(measurements.len()).unwrap_or(u32::MAX / ROW - TOP);
    let height = TOP + rows * ROW + 8;
    let goal_x = f64::from(BAR_X) + GOAL_LENGTH;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"Benchmark results\">\n  <style>{STYLE}</style>\n  \
         <text class=\"small\" x=\"{goal_x}\" y=\"20\" text-anchor=\"middle\">goal</text>\n  \
         <line class=\"goal\" x1=\"{goal_x}\" y1=\"28\" x2=\"{goal_x}\" y2=\"{}\"/>\n",
        height - 8
    );
    let mut y = TOP;
    for measurement in measurements {
        svg.push_str(&bar(measurement, y));
        y += ROW;
    }
    svg.push_str("</svg>\n");
    svg
}

fn bar(m: &Measurement, y: u32) -> String {
    let class = if m.met { "met" } else { "missed" };
    let length = bar_length(m);
    let text_y = y + 14;
    let text_x = f64::from(BAR_X) + length + 8.0;
    let mut svg = String::new();
    // Writing to a String can't fail.
    let _ = writeln!(
        svg,
        "  <text x=\"{}\" y=\"{text_y}\" text-anchor=\"end\">{}</text>\n  \
         <rect class=\"{class}\" x=\"{BAR_X}\" y=\"{y}\" width=\"{length:.1}\" height=\"20\" rx=\"3\"/>\n  \
         <text class=\"small\" x=\"{text_x:.1}\" y=\"{text_y}\">{} {unit} (goal {} {unit})</text>",
        BAR_X - 10,
        escape(&m.name),
        number_text(m.measured),
        number_text(m.goal),
        unit = escape(&m.unit),
    );
    svg
}

fn bar_length(m: &Measurement) -> f64 {
    let ratio = if m.goal > 0.0 {
        m.measured / m.goal
    } else {
        f64::from(u8::from(m.measured > 0.0))
    };
    (ratio * GOAL_LENGTH).clamp(1.0, MAX_LENGTH)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement(goal: f64, measured: f64) -> Measurement {
        Measurement {
            name: "a < b & c".into(),
            goal,
            measured,
            unit: "ms".into(),
            met: measured <= goal,
        }
    }

    #[test]
    fn bars_show_the_ratio_and_have_an_end() {
        assert_eq!(bar_length(&measurement(10.0, 5.0)), GOAL_LENGTH / 2.0);
        assert_eq!(bar_length(&measurement(1.0, 1e9)), MAX_LENGTH);
        assert_eq!(bar_length(&measurement(0.0, 0.0)), 1.0);
    }

    #[test]
    fn names_are_escaped_and_colours_follow_the_theme() {
        let svg = draw(&[measurement(10.0, 5.0), measurement(1.0, 2.0)]);
        assert!(svg.contains("a &lt; b &amp; c") && svg.contains("prefers-color-scheme: dark"));
        assert!(svg.contains("class=\"met\"") && svg.contains("class=\"missed\""));
    }
}
