//! Fuzzing: builds the targets so that coverage is seen, and lets libFuzzer run them one after the other.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::process::{cargo, run as run_command, which};
use crate::ui;
use crate::workspace::Workspace;

/// Seconds for each target in `cargo xtask test`.
const TEST_SECONDS: u64 = 4;
/// Longest input.
const MAX_LEN: usize = 4096;
/// Longest input that is kept in the repository.
const MAX_KEPT: u64 = 1024;
/// Inputs of one target that are kept in the repository.
const MAX_INPUTS: usize = 40;

#[derive(clap::Args)]
pub struct Args {
    /// Time for each target: 90s, 15m, 8h
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = seconds)]
    time: u64,
    /// Only these targets
    #[arg(long, value_name = "NAME")]
    target: Vec<String>,
    /// Puts the smallest inputs that reach everything that was reached into tests/fuzz/corpus
    #[arg(long)]
    minimise: bool,
}

fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || "a number and s, m or h is needed, such as 90s".to_owned();
    let (number, unit) = text.split_at(text.len().saturating_sub(1));
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    number
        .parse::<u64>()
        .map(|number| number * factor)
        .map_err(|_| wrong())
}

/// `cargo xtask fuzz`.
pub fn run(ws: &Workspace, args: &Args) -> Result<()> {
    let fuzzer = Fuzzer::build(ws)?;
    let known = fuzzer.targets()?;
    let chosen = if args.target.is_empty() {
        known.clone()
    } else {
        args.target.clone()
    };
    if let Some(unknown) = chosen.iter().find(|name| !known.contains(name)) {
        bail!(
            "there is no target {unknown}; there are: {}",
            known.join(", ")
        );
    }
    fuzzer.run(&chosen, args.time)?;
    if args.minimise {
        for name in &chosen {
            fuzzer.minimise(name)?;
        }
    }
    Ok(())
}

/// The step of `cargo xtask test`: every target for a moment, from what was found before.
pub fn test(ws: &Workspace) -> Result<()> {
    let fuzzer = Fuzzer::build(ws)?;
    fuzzer.run(&fuzzer.targets()?, TEST_SECONDS)
}

struct Fuzzer {
    program: PathBuf,
    /// In the repository, one folder for each target.
    corpus: PathBuf,
    /// What was found on this machine.
    found: PathBuf,
}

impl Fuzzer {
    fn build(ws: &Workspace) -> Result<Self> {
        ensure!(
            ["c++", "clang++", "g++"]
                .iter()
                .any(|name| which(name).is_some()),
            "libFuzzer needs a C++ compiler: install g++ or clang"
        );
        ui::doing("compiling the fuzz targets…");
        let mut build = cargo(&ws.root);
        build
            .args([
                "build",
                "--package",
                "zerok-sync-fuzz",
                "--features",
                "libfuzzer",
            ])
            .args(["--bin", "zerok-fuzz"])
            .env(
                "RUSTC_WORKSPACE_WRAPPER",
                ws.path("tests/fuzz/coverage-rustc"),
            );
        run_command(&mut build)?;
        Ok(Self {
            program: ws.binary("debug", "zerok-fuzz"),
            corpus: ws.path("tests/fuzz/corpus"),
            found: ws.target.join("fuzz"),
        })
    }

    /// Each has a folder.
    fn targets(&self) -> Result<Vec<String>> {
        let entries = fs::read_dir(&self.corpus).context("tests/fuzz/corpus")?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names = names.collect::<Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn command(&self, target: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env("ZEROK_FUZZ_TARGET", target)
            .env("RUST_BACKTRACE", "1")
            .arg(format!("-max_len={MAX_LEN}"))
            .stdin(Stdio::null());
        command
    }

    fn run(&self, targets: &[String], seconds: u64) -> Result<()> {
        let mut rows = vec![
            ["target", "executions", "a second", "coverage"]
                .map(str::to_owned)
                .to_vec(),
        ];
        for target in targets {
            let found = self.found.join(target);
            fs::create_dir_all(&found)?;
            let crashes = self.found.join(format!("crash-{target}-"));
            ui::doing(&format!("{target} for {seconds} s…"));
            let mut command = self.command(target);
            command
                .arg(format!("-max_total_time={seconds}"))
                .args(["-print_final_stats=1", "-timeout=25", "-rss_limit_mb=4096"])
                .arg(format!("-artifact_prefix={}", crashes.display()))
                .args([&found, &self.corpus.join(target)]);
            let output = command.output().context("the fuzzer does not start")?;
            let text = String::from_utf8_lossy(&output.stderr);
            if !output.status.success() {
                let lines: Vec<_> = text.lines().collect();
                let tail = lines[lines.len().saturating_sub(60)..].join("\n");
                bail!(
                    "{tail}\n{target} broke a promise; the input is beside {}",
                    crashes.display()
                );
            }
            rows.push(vec![
                target.clone(),
                statistic(&text, "stat::number_of_executed_units:"),
                statistic(&text, "stat::average_exec_per_sec:"),
                coverage(&text),
            ]);
        }
        print!("{}", ui::table(&rows));
        Ok(())
    }

    /// Replaces the corpus of a target by the fewest inputs that reach as much.
    fn minimise(&self, target: &str) -> Result<()> {
        let corpus = self.corpus.join(target);
        let new = self.found.join(format!("{target}.new"));
        if new.exists() {
            fs::remove_dir_all(&new)?;
        }
        fs::create_dir_all(&new)?;
        let mut command = self.command(target);
        command
            .arg("-set_cover_merge=1")
            .args([&new, &corpus, &self.found.join(target)])
            .stderr(Stdio::null());
        run_command(&mut command)?;
        for entry in fs::read_dir(&corpus)? {
            fs::remove_file(entry?.path())?;
        }
        let inputs = fs::read_dir(&new)?.map(|entry| {
            let entry = entry?;
            Ok((entry.metadata()?.len(), entry.path()))
        });
        let mut inputs = inputs.collect::<Result<Vec<_>>>()?;
        inputs.retain(|(length, _)| *length <= MAX_KEPT);
        // The longest do most.
        inputs.sort_by(|a, b| b.cmp(a));
        inputs.truncate(MAX_INPUTS);
        for (_, input) in &inputs {
            fs::copy(input, corpus.join(short(input)))?;
        }
        println!("{target}: {} inputs", inputs.len());
        Ok(())
    }
}

/// The names are hashes; their beginnings tell them apart.
fn short(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.chars().take(12).collect()
}

fn statistic(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or("?").trim().to_owned()
}

/// Of the last line that has it.
fn coverage(text: &str) -> String {
    let found = text.lines().rev().find_map(|line| line.split_once("cov: "));
    let number = found.and_then(|(_, rest)| rest.split_whitespace().next());
    number.unwrap_or("?").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_what_libfuzzer_prints_are_read() {
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("2m"), Ok(120));
        assert!(seconds("s").is_err() && seconds("90").is_err() && seconds("").is_err());
        let text = "#7\tNEW cov: 12 ft: 3\n#9\tDONE   cov: 2151 ft: 99 corp: 3/1b\nstat::average_exec_per_sec:     77\n";
        assert_eq!(coverage(text), "2151");
        assert_eq!(statistic(text, "stat::average_exec_per_sec:"), "77");
    }
}
