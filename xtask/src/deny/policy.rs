//! The rules, from deny.toml.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::spdx::Expression;

/// What deny.toml says. Everything that is not allowed is forbidden.
pub struct Policy {
    licences: Vec<String>,
    /// A package, and what is allowed for it alone.
    exceptions: Vec<(String, Vec<String>)>,
    /// A package, and why it must not be there.
    bans: Vec<(String, String)>,
    registries: Vec<String>,
}

impl Policy {
    /// Reads the rules.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not as expected", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let config: Value = toml::from_str(text)?;
        let exceptions = array(&config["licenses"]["exceptions"], "licenses.exceptions")?;
        let bans = array(&config["bans"]["deny"], "bans.deny")?;
        Ok(Self {
            licences: strings(&config["licenses"]["allow"], "licenses.allow")?,
            exceptions: exceptions
                .iter()
                .map(|e| {
                    Ok((
                        string(&e["crate"], "exception.crate")?,
                        strings(&e["allow"], "exception.allow")?,
                    ))
                })
                .collect::<Result<_>>()?,
            bans: bans
                .iter()
                .map(|ban| {
                    Ok((
                        string(&ban["crate"], "ban.crate")?,
                        string(&ban["reason"], "ban.reason")?,
                    ))
                })
                .collect::<Result<_>>()?,
            registries: strings(
                &config["sources"]["allow-registry"],
                "sources.allow-registry",
            )?,
        })
    }

    /// Why this package's licence is not acceptable, if it isn't.
    pub fn licence_problem(&self, package: &str, licence: Option<&str>) -> Option<String> {
        let Some(licence) = licence else {
            return Some("names no licence".to_owned());
        };
        let excepted = self
            .exceptions
            .iter()
            .find(|(name, _)| name == package)
            .map(|(_, allowed)| allowed);
        let allowed = |id: &str| {
            self.licences
                .iter()
                .chain(excepted.into_iter().flatten())
                .any(|allowed| allowed == id)
        };
        match Expression::parse(licence) {
            Ok(expression) if expression.is_allowed(&allowed) => None,
            Ok(_) => Some(format!("licence {licence} is not allowed")),
            Err(error) => Some(format!("licence {licence:?} can't be read: {error}")),
        }
    }

    /// Why this package is banned, if it is.
    pub fn ban(&self, package: &str) -> Option<&str> {
        self.bans
            .iter()
            .find(|(name, _)| name == package)
            .map(|(_, reason)| reason.as_str())
    }

    /// True if crates may come from this registry.
    pub fn allows_registry(&self, url: &str) -> bool {
        self.registries.iter().any(|allowed| allowed == url)
    }
}

fn array<'a>(value: &'a Value, what: &str) -> Result<&'a Vec<Value>> {
    value
        .as_array()
        .with_context(|| format!("{what} must be a list"))
}

fn string(value: &Value, what: &str) -> Result<String> {
    value
        .as_str()
        .map(str::to_owned)
        .with_context(|| format!("{what} must be a text"))
}

fn strings(value: &Value, what: &str) -> Result<Vec<String>> {
    array(value, what)?
        .iter()
        .map(|item| string(item, what))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy::parse(
            r#"
            [licenses]
            allow = ["MIT", "ISC"]
            exceptions = [{ crate = "roots", allow = ["CDLA-Permissive-2.0"] }]
            [bans]
            deny = [{ crate = "openssl", reason = "rustls" }]
            [sources]
            allow-registry = ["https://registry"]
            "#,
        )
        .unwrap()
    }

    #[test]
    fn an_exception_is_for_one_package_only() {
        let policy = policy();
        assert_eq!(
            policy.licence_problem("roots", Some("CDLA-Permissive-2.0")),
            None
        );
        assert!(
            policy
                .licence_problem("other", Some("CDLA-Permissive-2.0"))
                .is_some()
        );
        assert_eq!(policy.licence_problem("other", Some("MIT AND ISC")), None);
    }

    #[test]
    fn no_licence_is_a_problem() {
        assert!(policy().licence_problem("x", None).is_some());
        assert!(policy().licence_problem("x", Some("")).is_some());
    }

    #[test]
    fn a_ban_has_a_reason() {
        assert_eq!(policy().ban("openssl"), Some("rustls"));
        assert_eq!(policy().ban("ring"), None);
        let without = "[licenses]\nallow=[]\nexceptions=[]\n[bans]\ndeny=[{crate=\"x\"}]\n[sources]\nallow-registry=[]";
        assert!(Policy::parse(without).is_err());
    }
}
