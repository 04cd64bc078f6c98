//! Every check and every test, one step after the other.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::process::{cargo, run as run_command};
use crate::setup::{self, node};
use crate::ui;
use crate::wasm::{self, Profile};
use crate::workspace::Workspace;
use crate::{chaos, deny, fuzz, image, lint, programs, sim};

#[derive(clap::Args)]
pub struct Args {
    /// Runs only the steps whose name contains this text.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Runs formatting, clippy and the dependency rules.
    #[arg(long)]
    lint: bool,
    /// Runs the tests of everything that is native.
    #[arg(long)]
    native: bool,
    /// Builds and tests the npm package and the demo app, in a browser too.
    #[arg(long)]
    browser: bool,
    /// Goes on after a step that failed.
    #[arg(long)]
    keep_going: bool,
    /// Only prints the names of the steps.
    #[arg(long)]
    list: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    Lint,
    Native,
    Browser,
}

struct Step {
    group: Group,
    name: &'static str,
    run: fn(&Workspace) -> Result<()>,
}

const STEPS: &[Step] = &[
    step(Group::Lint, "format", lint::format_native),
    step(Group::Lint, "format (browser)", lint::format_browser),
    step(Group::Lint, "clippy", lint::clippy_native),
    step(Group::Lint, "clippy (browser)", lint::clippy_browser),
    step(Group::Lint, "dependency rules", deny::run),
    step(Group::Native, "native tests", native_tests),
    step(Group::Native, "image", image::test),
    step(Group::Native, "fuzz targets", fuzz::test),
    step(Group::Native, "simulation", sim::test),
    step(Group::Native, "simulation finds planted bugs", sim::planted),
    step(Group::Browser, "wasm build and gate", |ws| {
        wasm::build(ws, Profile::Publish).map(|_| ())
    }),
    step(Group::Browser, "npm: types", |ws| {
        node::script(ws, "npm", "typecheck", &[])
    }),
    step(Group::Browser, "npm: lint", |ws| {
        node::script(ws, "npm", "lint", &[])
    }),
    step(Group::Browser, "npm: unit tests", |ws| {
        node::script(ws, "npm", "test", &[])
    }),
    step(Group::Browser, "npm: build", |ws| {
        node::script(ws, "npm", "build", &[])
    }),
    step(Group::Browser, "npm: package", |ws| {
        node::script(ws, "npm", "check:package", &[])
    }),
    step(Group::Browser, "demo: types", |ws| {
        node::script(ws, "web-demo", "typecheck", &[])
    }),
    step(Group::Browser, "demo: lint", |ws| {
        node::script(ws, "web-demo", "lint", &[])
    }),
    step(Group::Browser, "demo: build", |ws| {
        node::script(ws, "web-demo", "build", &[])
    }),
    step(Group::Browser, "browser tests: types", |ws| {
        node::script(ws, "tests/browser", "typecheck", &[])
    }),
    step(Group::Browser, "browser tests: lint", |ws| {
        node::script(ws, "tests/browser", "lint", &[])
    }),
    step(Group::Browser, "browser tests", browser_tests),
    step(Group::Browser, "chaos", chaos::test),
];

const fn step(group: Group, name: &'static str, run: fn(&Workspace) -> Result<()>) -> Step {
    Step { group, name, run }
}

fn native_tests(ws: &Workspace) -> Result<()> {
    setup::postgres()?;
    programs::build(ws)?;
    let mut tests = cargo(&ws.root);
    tests.args(["test", "--workspace", "--no-fail-fast"]);
    run_command(tests.env("RELAY_BIN", ws.binary("debug", "zerok-relay")))
}

fn browser_tests(ws: &Workspace) -> Result<()> {
    let chromium = setup::browser()?;
    programs::build(ws)?;
    let relay = ws.binary("debug", "zerok-relay");
    let core = wasm::build_testing(ws, Profile::Dev)?;
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let env = [
        ("CHROMIUM", text(&chromium)),
        ("RELAY_BIN", text(&relay)),
        ("ZEROK_BIN", text(&ws.binary("debug", "zerok"))),
        ("TESTING_CORE", text(&core)),
    ];
    node::script(ws, "tests/browser", "test", &env)
}

/// `cargo xtask test`.
pub fn run(ws: &Workspace, args: &Args) -> Result<ExitCode> {
    let steps: Vec<&Step> = STEPS.iter().filter(|step| is_chosen(args, step)).collect();
    if steps.is_empty() {
        anyhow::bail!("no step has that name; `cargo xtask test --list` prints them");
    }
    if args.list {
        steps.iter().for_each(|step| println!("{}", step.name));
        return Ok(ExitCode::SUCCESS);
    }

    let start = Instant::now();
    let mut results: Vec<(&str, Outcome)> = Vec::new();
    for step in steps {
        if !args.keep_going && results.iter().any(|(_, outcome)| outcome.has_failed()) {
            results.push((step.name, Outcome::NotRun));
            continue;
        }
        ui::heading(step.name);
        let start = Instant::now();
        let outcome = match (step.run)(ws) {
            Ok(()) => Outcome::Passed(start.elapsed()),
            Err(error) => {
                ui::failure(&format!("{error:#}"));
                Outcome::Failed(start.elapsed())
            }
        };
        println!("{} {} ({})", outcome.sign(), step.name, ui::since(start));
        results.push((step.name, outcome));
    }
    summary(&results, start.elapsed());
    let failed = results.iter().any(|(_, outcome)| outcome.has_failed());
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn is_chosen(args: &Args, step: &Step) -> bool {
    let all = !args.lint && !args.native && !args.browser;
    let group = match step.group {
        Group::Lint => args.lint,
        Group::Native => args.native,
        Group::Browser => args.browser,
    };
    (all || group)
        && args
            .filter
            .as_ref()
            .is_none_or(|text| step.name.contains(text.as_str()))
}

enum Outcome {
    Passed(Duration),
    Failed(Duration),
    NotRun,
}

impl Outcome {
    fn has_failed(&self) -> bool {
        matches!(self, Self::Failed(_))
    }

    fn sign(&self) -> &'static str {
        match self {
            Self::Passed(_) => "✓",
            Self::Failed(_) => "✗",
            Self::NotRun => "·",
        }
    }
}

/// A table, and as the very last line the count, alone.
fn summary(results: &[(&str, Outcome)], total: Duration) {
    ui::heading("Summary");
    let rows: Vec<Vec<String>> = results
        .iter()
        .map(|(name, outcome)| {
            let time = match outcome {
                Outcome::Passed(time) | Outcome::Failed(time) => ui::duration(*time),
                Outcome::NotRun => "not run".to_owned(),
            };
            vec![outcome.sign().to_owned(), (*name).to_owned(), time]
        })
        .collect();
    print!("{}", ui::table(&rows));
    println!("total {}", ui::duration(total));
    println!("{}", count(results));
}

fn count(results: &[(&str, Outcome)]) -> String {
    let passed = results
        .iter()
        .filter(|(_, outcome)| matches!(outcome, Outcome::Passed(_)))
        .count();
    let failed = results
        .iter()
        .filter(|(_, outcome)| outcome.has_failed())
        .count();
    format!("{passed} passed, {failed} failed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_that_did_not_run_are_not_counted() {
        let time = Duration::from_secs(1);
        let results = [
            ("a", Outcome::Passed(time)),
            ("b", Outcome::Failed(time)),
            ("c", Outcome::NotRun),
        ];
        assert_eq!(count(&results), "1 passed, 1 failed");
    }

    #[test]
    fn every_step_has_a_name_of_its_own() {
        let mut names: Vec<_> = STEPS.iter().map(|step| step.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), STEPS.len());
    }
}
