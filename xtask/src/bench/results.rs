//! Reads `bench-results/*.json`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::ui;

/// One number that was measured, and what it should be.
pub struct Measurement {
    pub name: String,
    pub goal: f64,
    pub measured: f64,
    pub unit: String,
    pub met: bool,
}

impl Measurement {
    fn from_json(json: &Value) -> Option<Self> {
        Some(Self {
            name: json["name"].as_str()?.to_owned(),
            goal: json["goal"].as_f64()?,
            measured: json["measured"].as_f64()?,
            unit: json["unit"].as_str()?.to_owned(),
            met: json["met"].as_bool()?,
        })
    }
}

/// All results, in the order of their files. A file holds one result or a list of them.
pub fn read(dir: &Path) -> Result<Vec<Measurement>> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| extension == "json")
    });
    files.sort();
    let mut measurements = Vec::new();
    for file in files {
        let json: Value = serde_json::from_slice(&fs::read(&file)?)
            .with_context(|| format!("{} is not valid JSON", file.display()))?;
        let items = json
            .as_array()
            .map_or_else(|| std::slice::from_ref(&json), Vec::as_slice);
        for item in items {
            let measurement = Measurement::from_json(item).with_context(|| {
                format!(
                    "{} needs name, goal, measured, unit and met",
                    file.display()
                )
            })?;
            measurements.push(measurement);
        }
    }
    Ok(measurements)
}

/// The results as a table.
pub fn table(measurements: &[Measurement]) -> String {
    let title = ["", "benchmark", "measured", "goal"]
        .map(str::to_owned)
        .to_vec();
    let rows = measurements.iter().map(|m| {
        let sign = if m.met { "✓" } else { "✗" };
        let value = |number: f64| format!("{} {}", number_text(number), m.unit);
        vec![
            sign.to_owned(),
            m.name.clone(),
            value(m.measured),
            value(m.goal),
        ]
    });
    ui::table(&std::iter::once(title).chain(rows).collect::<Vec<_>>())
}

/// About three significant digits.
pub fn number_text(number: f64) -> String {
    let decimals = match number.abs() {
        size if size >= 100.0 || size == number.abs().trunc() => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{number:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_hold_one_result_or_several() {
        let dir = std::env::temp_dir().join(format!("xtask-results-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        let one = |name: &str| {
            format!(
                r#"{{"name":"{name}","goal":2,"measured":1.5,"unit":"ms","met":true,"details":{{}}}}"#
            )
        };
        fs::write(dir.join("b.json"), one("b")).unwrap();
        fs::write(dir.join("a.json"), format!("[{},{}]", one("a1"), one("a2"))).unwrap();
        fs::write(dir.join("summary.svg"), "<svg/>").unwrap();
        let names: Vec<_> = read(&dir).unwrap().into_iter().map(|m| m.name).collect();
        assert_eq!(names, ["a1", "a2", "b"]);
        fs::write(dir.join("c.json"), "{}").unwrap();
        assert!(read(&dir).is_err());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(number_text(594.3), "594");
        assert_eq!(number_text(12.345), "12.3");
        assert_eq!(number_text(1.234), "1.23");
        assert_eq!(number_text(3.0), "3");
    }
}
