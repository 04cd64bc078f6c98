//! The crates of a lock file.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Violation;
use super::policy::Policy;
use crate::process::{cargo, output};
use crate::ui;
use crate::workspace::Workspace;

/// Checks every crate that any platform, feature or test of this workspace can bring in.
pub fn check(ws: &Workspace, folder: &str, policy: &Policy) -> Result<Vec<Violation>> {
    let mut command = cargo(&ws.path(folder));
    let text = output(command.args(["metadata", "--format-version", "1", "--all-features"]))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata")?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata lists no packages")?;

    report_duplicates(folder, packages);
    Ok(packages
        .iter()
        .flat_map(|package| check_package(package, &ws.root, policy))
        .collect())
}

fn check_package(package: &Value, root: &Path, policy: &Policy) -> Vec<Violation> {
    let text = |key: &str| package[key].as_str();
    let name = text("name").unwrap_or_default();
    let problems = [
        policy.licence_problem(name, text("license")),
        policy
            .ban(name)
            .map(|reason| format!("is banned: {reason}")),
        source_problem(
            text("source"),
            text("manifest_path").unwrap_or_default(),
            root,
            policy,
        ),
    ];
    let package = format!("{name} {}", text("version").unwrap_or_default());
    problems
        .into_iter()
        .flatten()
        .map(|problem| Violation::new(&package, problem))
        .collect()
}

fn source_problem(
    source: Option<&str>,
    manifest: &str,
    root: &Path,
    policy: &Policy,
) -> Option<String> {
    match source {
        None if Path::new(manifest).starts_with(root) => None,
        None => Some(format!("comes from outside of the repository: {manifest}")),
        Some(source) => {
            let allowed = source
                .strip_prefix("registry+")
                .is_some_and(|url| policy.allows_registry(url));
            (!allowed).then(|| format!("comes from {source}"))
        }
    }
}

fn report_duplicates(folder: &str, packages: &[Value]) {
    let mut versions: BTreeMap<&str, u32> = BTreeMap::new();
    for name in packages
        .iter()
        .filter_map(|package| package["name"].as_str())
    {
        *versions.entry(name).or_default() += 1;
    }
    let repeated = versions.values().filter(|&&count| count > 1).count();
    if repeated > 0 {
        ui::note(&format!(
            "{folder}: {repeated} crates in several versions, on all platforms together (`cargo tree --duplicates`)"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn problems(package: &Value) -> Vec<String> {
        let policy = Policy::read(&Workspace::find().unwrap().path("deny.toml")).unwrap();
        check_package(package, Path::new("/repo"), &policy)
            .into_iter()
            .map(|v| v.problem)
            .collect()
    }

    #[test]
    fn only_the_repository_and_crates_io_are_sources() {
        let package = |source: Value, manifest: &str| json!({"name": "x", "version": "1.0.0", "license": "MIT", "source": source, "manifest_path": manifest});
        let crates_io = json!("registry+https://github.com/rust-lang/crates.io-index");
        assert!(problems(&package(crates_io, "/elsewhere/x")).is_empty());
        assert!(problems(&package(Value::Null, "/repo/shared/Cargo.toml")).is_empty());
        assert_eq!(
            problems(&package(Value::Null, "/other/Cargo.toml")).len(),
            1
        );
        assert_eq!(problems(&package(json!("git+https://x/y"), "/g")).len(), 1);
        assert_eq!(
            problems(&package(json!("registry+https://x"), "/r")).len(),
            1
        );
    }

    #[test]
    fn every_broken_rule_is_named() {
        let package =
            json!({"name": "openssl", "version": "1", "license": "GPL-3.0", "source": "git+x"});
        assert_eq!(problems(&package).len(), 3);
    }
}
