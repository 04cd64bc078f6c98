//! What people and programs get to read: a table, JSON, and a page with plots.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use serde_json::json;

use crate::runner::Outcome;

mod plot;
pub mod style;

/// Writes `results.json` and `index.html`.
///
/// # Errors
/// When the folder cannot be written.
pub fn write(out: &Path, seed: u64, outcomes: &[Outcome]) -> Result<()> {
    std::fs::create_dir_all(out)?;
    let passed = outcomes.iter().filter(|outcome| outcome.passed()).count();
    let results = json!({
        "seed": seed,
        "passed": passed,
        "failed": outcomes.len() - passed,
        "scenarios": outcomes,
    });
    std::fs::write(out.join("results.json"), format!("{results:#}\n"))?;
    std::fs::write(out.join("index.html"), page(seed, passed, outcomes))?;
    Ok(())
}

/// A table: scenario, result, time to converge, notes.
#[must_use]
pub fn table(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    let width = outcomes
        .iter()
        .map(|outcome| outcome.title.chars().count())
        .max()
        .unwrap_or(0);
    for outcome in outcomes {
        let sign = if outcome.passed() { "✓" } else { "✗" };
        let converged = outcome
            .converged_seconds
            .map_or_else(|| "–".to_owned(), |seconds| format!("{seconds:.1} s"));
        let notes: Vec<_> = outcome
            .error
            .iter()
            .chain(&outcome.notes)
            .map(String::as_str)
            .collect();
        let line = format!(
            "{sign} {:<9} {converged:>7}  {:<width$}  {}",
            outcome.id,
            outcome.title,
            notes.join("; ")
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn page(seed: u64, passed: usize, outcomes: &[Outcome]) -> String {
    let failed = outcomes.len() - passed;
    let verdict = if failed == 0 {
        "all passed"
    } else {
        "not all passed"
    };
    let mut body = format!(
        "<h1>Chaos: {passed} of {} scenarios passed</h1>\n\
         <p>Real processes under faults, seed {seed}. Every scenario ends with all devices having the same, nothing lost, doubled, \
         reordered or leaked: {verdict}.</p>\n",
        outcomes.len()
    );
    body.push_str("<h2>Time to converge after the last push and the last fault</h2>\n");
    body.push_str(&plot::bars(outcomes));
    let mut group = "";
    for outcome in outcomes {
        if outcome.group != group {
            let end = if group.is_empty() { "" } else { "</section>\n" };
            group = &outcome.group;
            let title = style::escape(group_title(group));
            let _ = writeln!(body, "{end}<h2>{title}</h2>\n<section class=\"grid\">");
        }
        body.push_str(&article(outcome));
    }
    body.push_str("</section>\n");
    style::page("Chaos", &body)
}

fn article(outcome: &Outcome) -> String {
    let sign = if outcome.passed() {
        "<b class=\"met\">✓</b>"
    } else {
        "<b class=\"missed\">✗</b>"
    };
    let converged = outcome
        .converged_seconds
        .map_or_else(String::new, |seconds| {
            format!(", converged in {seconds:.1} s")
        });
    let devices: Vec<_> = outcome
        .devices
        .iter()
        .map(|device| device.name.as_str())
        .collect();
    let mut text = format!(
        "<article id=\"{id}\">\n<h3>{sign} {id} {title}</h3>\n<p class=\"small\">{} blobs on each of {}; {:.0} s{converged}</p>\n",
        outcome.blobs,
        style::escape(&devices.join(", ")),
        outcome.seconds,
        id = outcome.id,
        title = style::escape(&outcome.title),
    );
    for note in outcome.error.iter().chain(&outcome.notes) {
        let _ = writeln!(text, "<p class=\"note\">{}</p>", style::escape(note));
    }
    text.push_str(&plot::timeline(outcome));
    text.push_str("</article>\n");
    text
}

fn group_title(group: &str) -> &str {
    match group {
        "T-LAT" => "T-LAT: everything arrives, but late",
        "T-LOSS" => "T-LOSS: a part never arrives",
        "T-CONN" => "T-CONN: connections and processes end, hang or lie",
        "T-BW" => "T-BW: little gets through at a time",
        "S-SM" => "S-SM: the connection goes in every state of a session",
        "S-CONC" => "S-CONC: much happens at once",
        "S-CONV" => "S-CONV: what was apart comes together",
        "S-BLOB" => "S-BLOB: many blobs, equal blobs, empty blobs",
        "C-STOR" => "C-STOR: disks are full, forget, or change what they hold",
        other => other,
    }
}
