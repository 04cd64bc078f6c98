//! The page of a soak.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;

use super::Soak;
use super::verdict::Curve;
use crate::report::style::{self, SERIES, escape, round_up};

const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 200.0;
const LEFT: f64 = 48.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 22.0;

/// Writes `soak.json` and `soak.html`.
///
/// # Errors
/// When the folder cannot be written.
pub fn write(out: &Path, soak: &Soak) -> Result<()> {
    std::fs::create_dir_all(out)?;
    std::fs::write(
        out.join("soak.json"),
        format!("{:#}\n", serde_json::to_value(soak)?),
    )?;
    std::fs::write(out.join("soak.html"), page(soak))?;
    Ok(())
}

/// A line for each curve.
#[must_use]
pub fn table(soak: &Soak) -> String {
    let mut text = String::new();
    for curve in &soak.curves {
        let sign = if curve.verdict.passed { "✓" } else { "✗" };
        let _ = writeln!(
            text,
            "{sign} {:<31} {:<18} {}",
            curve.plot, curve.name, curve.verdict.text
        );
    }
    if let Some(error) = &soak.error {
        let _ = writeln!(text, "✗ {error}");
    }
    text
}

fn page(soak: &Soak) -> String {
    let verdict = if soak.passed() { "flat" } else { "not flat" };
    let end = soak
        .curves
        .iter()
        .filter_map(|curve| curve.points.last())
        .map(|(at, _)| *at)
        .fold(1.0, f64::max);
    let mut body = format!(
        "<h1>Soak: {verdict}</h1>\n<p>{:.0} minutes, {} blobs in each log at the end. Shaded: faults, one after the other.</p>\n",
        end / 60.0,
        soak.blobs
    );
    if let Some(error) = &soak.error {
        let _ = writeln!(body, "<p class=\"missed\">{}</p>", escape(error));
    }
    let mut plots: Vec<&str> = soak.curves.iter().map(|curve| curve.plot).collect();
    plots.dedup();
    let mut seen: Vec<&str> = Vec::new();
    plots.retain(|plot| {
        !seen.contains(plot) && {
            seen.push(plot);
            true
        }
    });
    body.push_str("<section class=\"grid\">\n");
    for plot in plots {
        let curves: Vec<_> = soak
            .curves
            .iter()
            .filter(|curve| curve.plot == plot)
            .collect();
        let _ = writeln!(body, "<article><h3>{}</h3>", escape(plot));
        body.push_str(&draw(plot, &curves, soak, end));
        for curve in &curves {
            let class = if curve.verdict.passed {
                "met"
            } else {
                "missed"
            };
            let sign = if curve.verdict.passed { "✓" } else { "✗" };
            let _ = writeln!(
                body,
                "<p class=\"small\"><b class=\"{class}\">{sign}</b> {}: {}</p>",
                escape(&curve.name),
                escape(&curve.verdict.text)
            );
        }
        body.push_str("</article>\n");
    }
    body.push_str("</section>\n");
    style::page("Soak", &body)
}

fn draw(title: &str, curves: &[&Curve], soak: &Soak, end: f64) -> String {
    let top = round_up(
        curves
            .iter()
            .flat_map(|curve| &curve.points)
            .map(|(_, value)| *value)
            .fold(0.0, f64::max),
    );
    let x = |time: f64| LEFT + (WIDTH - LEFT - RIGHT) * (time / end);
    let y = |value: f64| TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - value / top);
    let base = HEIGHT - BOTTOM;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
        escape(title)
    );
    for window in &soak.windows {
        let (from, to) = (x(window.from), x(window.to.unwrap_or(end)));
        let _ = writeln!(
            svg,
            "<rect class=\"fault\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"><title>{}</title></rect>",
            (to - from).max(0.5),
            base - TOP,
            escape(&window.label)
        );
    }
    let _ = writeln!(
        svg,
        "<path class=\"axis\" fill=\"none\" d=\"M{LEFT},{TOP} V{base} H{:.1}\"/>\n\
         <text class=\"dim\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{top:.0}</text>\n\
         <text class=\"dim\" x=\"{:.1}\" y=\"{base}\" text-anchor=\"end\">0</text>\n\
         <text class=\"dim\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{:.0} s</text>",
        WIDTH - RIGHT,
        LEFT - 6.0,
        TOP + 9.0,
        LEFT - 6.0,
        WIDTH - RIGHT,
        HEIGHT - 6.0,
        end
    );
    for (index, curve) in curves.iter().enumerate() {
        let points: Vec<_> = curve
            .points
            .iter()
            .map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value)))
            .collect();
        let _ = writeln!(
            svg,
            "<polyline class=\"s{}\" points=\"{}\"/>",
            index % SERIES,
            points.join(" ")
        );
    }
    svg.push_str("</svg>\n");
    svg.push_str(&style::legend(
        curves.iter().map(|curve| curve.name.as_str()),
    ));
    svg
}
