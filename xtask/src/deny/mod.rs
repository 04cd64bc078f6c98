//! Licences, sources, banned crates and known vulnerabilities of all dependencies, by the rules in deny.toml.

mod advisories;
mod npm_packages;
mod policy;
mod rust_crates;
mod spdx;

use anyhow::{Result, bail};

use crate::ui;
use crate::workspace::Workspace;
use policy::Policy;

/// The folders with a Cargo.lock.
const RUST: &[&str] = &[".", "client-wasm"];
/// The folders whose npm packages reach users.
const NPM: &[&str] = &["npm", "web-demo"];

/// A dependency that breaks a rule.
struct Violation {
    /// Name and version, or the folder it is about.
    package: String,
    /// Which rule, and how.
    problem: String,
}

impl Violation {
    fn new(package: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            package: package.into(),
            problem: problem.into(),
        }
    }
}

/// `cargo xtask deny`.
pub fn run(ws: &Workspace) -> Result<()> {
    let policy = Policy::read(&ws.path("deny.toml"))?;
    let mut violations = Vec::new();
    for folder in RUST {
        let found = rust_crates::check(ws, folder, &policy)?;
        report(
            &found,
            &format!("crates of {folder}: licences, sources, bans"),
        );
        violations.extend(found);
    }
    for folder in NPM {
        let found = npm_packages::check(ws, folder, &policy);
        report(
            &found,
            &format!("npm packages shipped by {folder}: licences"),
        );
        violations.extend(found);
    }
    violations.extend(advisories::npm(ws, NPM)?);
    violations.extend(advisories::rust(ws, RUST)?);
    for violation in &violations {
        ui::failure(&format!("{}: {}", violation.package, violation.problem));
    }
    if !violations.is_empty() {
        bail!(
            "the dependencies break the rules of deny.toml ({} times)",
            violations.len()
        );
    }
    Ok(())
}

fn report(violations: &[Violation], what: &str) {
    if violations.is_empty() {
        ui::done(what);
    }
}
