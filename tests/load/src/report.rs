//! What a run found: a table for people, JSON for programs.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

/// The results of one mode.
pub struct Report {
    name: String,
    values: Map<String, Value>,
}

impl Report {
    pub fn new(name: impl Into<String>) -> Self {
        let mut report = Self {
            name: name.into(),
            values: Map::new(),
        };
        let cpus = std::thread::available_parallelism().map_or(0, usize::from);
        report.add("cpus", cpus);
        report
    }

    /// The same under a name that says where the data was.
    pub fn on(mut self, what: &str) -> Self {
        self.name = format!("{}-{what}", self.name);
        self
    }

    pub fn add(&mut self, name: &str, value: impl Into<Value>) {
        self.values.insert(name.to_owned(), value.into());
    }

    /// A number with as many digits as it is worth.
    pub fn number(&mut self, name: &str, value: f64) {
        let digits = if value.abs() < 10.0 { 100.0 } else { 1.0 };
        self.add(name, (value * digits).round() / digits);
    }

    /// Percentiles of times, in milliseconds.
    pub fn times(&mut self, name: &str, times: &Times) {
        for (label, part) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)] {
            self.number(&format!("{name}_{label}_ms"), times.at(part));
        }
    }

    /// Prints the table and writes the file.
    pub fn publish(self, folder: &Path) -> Result<()> {
        let width = self.values.keys().map(String::len).max().unwrap_or(0);
        println!("{}", self.name);
        for (name, value) in &self.values {
            println!("  {name:width$}  {value}");
        }
        std::fs::create_dir_all(folder)?;
        let file = folder.join(format!("load-{}.json", self.name));
        let result = json!({ "load": self.name, "results": self.values });
        std::fs::write(&file, format!("{result:#}\n"))?;
        println!("written to {}", file.display());
        Ok(())
    }
}

/// Times, in microseconds up to a minute and more.
pub struct Times(Histogram<u64>);

impl Times {
    pub fn new() -> Result<Self> {
        Ok(Self(Histogram::new_with_max(100_000_000, 3)?))
    }

    pub fn add(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(micros.max(1));
    }

    /// Milliseconds that this part of all stays within.
    pub fn at(&self, part: f64) -> f64 {
        self.0.value_at_quantile(part) as f64 / 1000.0
    }
}
