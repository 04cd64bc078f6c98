//! The settings as a file: those in effect, or an example.

use std::fmt::Write as _;

use clap::Arg;
use figment::value::{Dict, Value};

use super::Config;
use super::load::{ConfigError, Loaded, Settings, as_dict};

/// What stands where a secret would.
const NOT_SHOWN: &str = "set, not shown";
/// Characters of a line of the example.
const WIDTH: usize = 100;

impl Loaded {
    /// The settings in effect as TOML, each with where it comes from; secrets are left out.
    ///
    /// # Errors
    /// When a value has no form in TOML.
    pub fn effective(&self) -> Result<String, ConfigError> {
        let values = as_dict(&self.config)?;
        let settings = Settings::new();
        let mut lines = Vec::new();
        for argument in settings.arguments().filter(|a| !a.is_hide_set()) {
            let key = argument.get_id().as_str();
            let line = match values.get(key).and_then(toml_text) {
                None => format!("# {key} is not set"),
                Some(_) if argument.is_hide_env_values_set() => format!("# {key} = {NOT_SHOWN}"),
                Some(value) => format!("{key} = {value}"),
            };
            lines.push((line, self.source(key)));
        }
        let width = lines.iter().map(|(line, _)| line.len()).max();
        let width = width.unwrap_or_default().min(WIDTH / 2);
        let mut text = String::new();
        for (line, source) in lines {
            let _ = writeln!(text, "{line:width$}  # {source}");
        }
        Ok(text)
    }
}

/// A file with every setting, its help text and its default, all of them commented out.
///
/// # Errors
/// When a default has no form in TOML.
pub fn example() -> Result<String, ConfigError> {
    let values = as_dict(&Config::new("./data"))?;
    let mut text = String::from(
        "# Configuration of zerok-relay. Everything is optional; what is commented out shows the default.\n\
         # Flags (--blob-ttl 7d) and variables (ZEROK_RELAY_BLOB_TTL=7d) win over this file.\n\
         # `zerok-relay config` shows what is in effect, `zerok-relay check` whether it works.\n",
    );
    for argument in Settings::new().arguments().filter(|a| !a.is_hide_set()) {
        text.push('\n');
        write_setting(&mut text, argument, &values);
    }
    Ok(text)
}

fn write_setting(text: &mut String, argument: &Arg, values: &Dict) {
    let help = argument
        .get_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let mut line = String::from("#");
    for word in help.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH {
            let _ = writeln!(text, "{line}");
            line.truncate(1);
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(text, "{line}");
    let key = argument.get_id().as_str();
    let value = values.get(key).and_then(toml_text).unwrap_or_default();
    let _ = writeln!(text, "{}", format!("#{key} = {value}").trim_end());
}

/// `None` where nothing is set.
fn toml_text(value: &Value) -> Option<String> {
    match value {
        Value::Empty(..) => None,
        value => toml::Value::try_from(value)
            .ok()
            .map(|value| value.to_string()),
    }
}
