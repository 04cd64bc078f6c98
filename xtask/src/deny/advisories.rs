//! Known vulnerabilities. Where a database can't be reached that is said, and not taken for a pass.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Violation;
use crate::process::{cargo, forget_outer_cargo, succeeds_within};
use crate::ui;
use crate::workspace::Workspace;

/// What one audit found out.
enum Audit {
    Clean,
    Found(u64),
    NotChecked(String),
}

/// `npm audit` on what is shipped.
pub fn npm(ws: &Workspace, folders: &[&str]) -> Result<Vec<Violation>> {
    let mut violations = Vec::new();
    for folder in folders {
        let mut npm = Command::new("npm");
        npm.current_dir(ws.path(folder))
            .args(["audit", "--omit=dev", "--json"]);
        let output = npm
            .stdin(Stdio::null())
            .output()
            .context("could not start npm")?;
        match read_npm(&String::from_utf8_lossy(&output.stdout)) {
            Audit::Clean => ui::done(&format!(
                "no known vulnerability in the npm packages of {folder}"
            )),
            Audit::Found(count) => violations.push(Violation::new(
                *folder,
                format!("{count} known vulnerabilities: see `npm audit --omit=dev`"),
            )),
            Audit::NotChecked(why) => {
                ui::note(&format!("npm advisories of {folder} NOT CHECKED: {why}"));
            }
        }
    }
    Ok(violations)
}

fn read_npm(json: &str) -> Audit {
    let Ok(report) = serde_json::from_str::<Value>(json) else {
        return Audit::NotChecked("npm audit gave no answer".to_owned());
    };
    match report["metadata"]["vulnerabilities"]["total"].as_u64() {
        Some(0) => Audit::Clean,
        Some(count) => Audit::Found(count),
        None => {
            let reasons = [
                &report["error"]["summary"],
                &report["message"],
                &report["error"]["code"],
            ];
            let reason = reasons
                .iter()
                .find_map(|reason| reason.as_str().filter(|text| !text.is_empty()));
            Audit::NotChecked(reason.unwrap_or("the registry gave no answer").to_owned())
        }
    }
}

/// `cargo deny check advisories`, if cargo-deny is installed.
pub fn rust(ws: &Workspace, folders: &[&str]) -> Result<Vec<Violation>> {
    let mut version = Command::new("cargo-deny");
    forget_outer_cargo(&mut version);
    if !succeeds_within(version.arg("--version"), Duration::from_secs(5)) {
        ui::note(
            "Rust advisories NOT CHECKED: cargo-deny is not installed (`cargo install --locked cargo-deny`)",
        );
        return Ok(Vec::new());
    }
    let mut violations = Vec::new();
    for folder in folders {
        let mut deny = cargo(&ws.root);
        deny.args(["deny", "--manifest-path"])
            .arg(ws.path(folder).join("Cargo.toml"));
        deny.args(["check", "--config"])
            .arg(ws.path("deny.toml"))
            .arg("advisories");
        let output = deny
            .stdin(Stdio::null())
            .output()
            .context("could not start cargo-deny")?;
        let report = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            ui::done(&format!("no known vulnerability in the crates of {folder}"));
        } else if report.contains("failed to fetch advisory database") {
            ui::note(&format!(
                "Rust advisories of {folder} NOT CHECKED: the database can't be reached"
            ));
        } else {
            violations.push(Violation::new(*folder, report.trim()));
        }
    }
    Ok(violations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreachable_registry_is_not_a_pass() {
        for answer in [
            "",
            "{}",
            r#"{"message": "request failed", "error": {"summary": "", "code": "ENOTFOUND"}}"#,
        ] {
            assert!(matches!(read_npm(answer), Audit::NotChecked(_)), "{answer}");
        }
    }

    #[test]
    fn vulnerabilities_are_counted() {
        let report =
            |total: u64| format!(r#"{{"metadata": {{"vulnerabilities": {{"total": {total}}}}}}}"#);
        assert!(matches!(read_npm(&report(0)), Audit::Clean));
        assert!(matches!(read_npm(&report(3)), Audit::Found(3)));
    }
}
