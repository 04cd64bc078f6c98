//! The npm packages that a folder ships.

use std::fs;

use serde_json::Value;

use super::Violation;
use super::policy::Policy;
use crate::workspace::Workspace;

/// Checks the licences of all packages of the lock file that are not for development only.
pub fn check(ws: &Workspace, folder: &str, policy: &Policy) -> Vec<Violation> {
    let lock = fs::read_to_string(ws.path(folder).join("package-lock.json")).ok();
    let lock: Option<Value> = lock.and_then(|text| serde_json::from_str(&text).ok());
    let Some(shipped) = lock.as_ref().and_then(shipped) else {
        return vec![Violation::new(
            folder,
            "package-lock.json is missing or broken",
        )];
    };
    let violations = shipped.iter().filter_map(|&(name, package)| {
        let problem = policy.licence_problem(name, package["license"].as_str())?;
        let version = package["version"].as_str().unwrap_or_default();
        Some(Violation::new(
            format!("{name} {version} ({folder})"),
            problem,
        ))
    });
    violations.collect()
}

fn shipped(lock: &Value) -> Option<Vec<(&str, &Value)>> {
    const FOLDER: &str = "node_modules/";
    let installed = lock["packages"]
        .as_object()?
        .iter()
        .filter_map(|(path, package)| {
            // Paths without node_modules/ are our own folders, links lead to them.
            let (_, name) = path.rsplit_once(FOLDER)?;
            let flag = |key: &str| package[key] == true;
            (!flag("dev") && !flag("devOptional") && !flag("link")).then_some((name, package))
        });
    Some(installed.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_is_shipped_counts() {
        let lock = json!({"packages": {
            "": {"name": "us"},
            "node_modules/a": {"license": "MIT"},
            "node_modules/a/node_modules/@s/b": {"license": "ISC"},
            "node_modules/c": {"license": "GPL-3.0", "dev": true},
            "node_modules/us": {"resolved": "../npm", "link": true},
            "../npm": {"name": "us"},
        }});
        let names: Vec<_> = shipped(&lock)
            .unwrap()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["a", "@s/b"]);
        assert!(shipped(&json!({})).is_none());
    }
}
