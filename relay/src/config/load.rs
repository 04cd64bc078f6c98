//! The settings from their sources: defaults, the file, the environment, flags. Later ones win.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args as _, Command};
use figment::error::Kind;
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::Config;

/// What the names of all variables begin with.
const PREFIX: &str = "ZEROK_RELAY_";
/// Name of the file in the data folder and in [`SYSTEM_FOLDER`].
pub const FILE_NAME: &str = "relay.toml";
/// Where the file is if it is not in the data folder.
const SYSTEM_FOLDER: &str = "/etc/zerok-relay";
/// The flag `--config`, which is none of the file's keys.
const FILE_FLAG: &str = "config";
/// How alike a word has to be to be suggested.
const ALIKE: f64 = 0.8;

/// Settings that cannot be used, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that is not there or cannot be read.
    #[error("cannot read the configuration {0}: {1}")]
    Read(PathBuf, std::io::Error),
    /// A file that is not TOML.
    #[error("the configuration {file} is not TOML: {problem} (line {line})")]
    Syntax {
        /// The file.
        file: PathBuf,
        /// Where.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// A key or a variable that does not exist.
    #[error("unknown {name} in {place}; {hint}")]
    Unknown {
        /// The name as written.
        name: String,
        /// Where it stands.
        place: String,
        /// What was meant, perhaps.
        hint: String,
    },
    /// The data folder's own file cannot say where the data folder is.
    #[error("{0} cannot set data_dir: it was found in the data folder; use --data-dir or --config")]
    MovesItself(PathBuf),
    /// A value of the wrong form.
    #[error("{name} is not right: {problem}")]
    Value {
        /// The setting and where it was set.
        name: String,
        /// What is expected.
        problem: String,
    },
}

/// Settings, and where each comes from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// The file that was read.
    pub file: Option<PathBuf>,
    figment: Figment,
}

impl Loaded {
    /// From what was given on the command line, the outer levels of subcommands first, and the environment.
    ///
    /// # Errors
    /// [`ConfigError`], whose text says what to change.
    pub fn new(
        levels: &[&ArgMatches],
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let settings = Settings::new();
        let (variables, named) = settings.environment(environment)?;
        let flags = settings.flags(levels);
        let defaults = Config::new(DEFAULT_DATA_DIR);
        let figment = Figment::from(Layer::new(DEFAULT, as_dict(&defaults)?));

        let given = levels.iter().rev().find_map(|matches| {
            let mut raw = matches.try_get_raw(FILE_FLAG).ok().flatten()?;
            raw.next_back().map(PathBuf::from)
        });
        let data_dir = flags.get("data_dir").or(variables.get("data_dir"));
        let data_dir = data_dir
            .and_then(Value::as_str)
            .map_or(&*defaults.data_dir, Path::new);
        let file = match given.or(named) {
            Some(file) => Some(file),
            None => found_file(data_dir),
        };
        let figment = match &file {
            Some(file) => {
                let keys = settings.file(file)?;
                if keys.contains_key("data_dir") && *file == data_dir.join(FILE_NAME) {
                    return Err(ConfigError::MovesItself(file.clone()));
                }
                figment.merge(Layer::new(&file.display().to_string(), keys))
            }
            None => figment,
        };
        let figment = figment
            .merge(Layer::new(ENVIRONMENT, variables))
            .merge(Layer::new(FLAGS, flags));
        // Lossy: the environment and the command line have texts only.
        let config = figment
            .extract_lossy()
            .map_err(|error| settings.explain(error))?;
        Ok(Self {
            config,
            file,
            figment,
        })
    }

    /// Where the value of a setting comes from, for people.
    #[must_use]
    pub fn source(&self, key: &str) -> String {
        let metadata = self.figment.find_metadata(key);
        place(metadata, key)
    }
}

/// Adds the settings to a command as flags.
#[must_use]
pub fn with_flags(command: Command) -> Command {
    let file = Arg::new(FILE_FLAG)
        .long(FILE_FLAG)
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help(format!(
            "Configuration to read: TOML, its keys are the names of the flags with _ for -. \
             [default: {FILE_NAME} in the data folder, else {SYSTEM_FOLDER}/{FILE_NAME}, if it is there] \
             [env: {PREFIX}CONFIG]"
        ));
    let settings = Settings::new();
    let arguments = settings.arguments().enumerate();
    let arguments = arguments.map(|(at, argument)| documented(argument).display_order(at + 1));
    command.arg(file.display_order(0)).args(arguments)
}

const DEFAULT_DATA_DIR: &str = "./data";
const DEFAULT: &str = "default";
const ENVIRONMENT: &str = "environment";
const FLAGS: &str = "flags";

/// The table of settings, which is [`Config`] as clap sees it.
pub(super) struct Settings(Command);

impl Settings {
    pub(super) fn new() -> Self {
        Self(Config::augment_args(Command::new("")))
    }

    pub(super) fn arguments(&self) -> impl Iterator<Item = &Arg> {
        self.0.get_arguments()
    }

    /// The setting of a name or of an alias of one.
    fn get(&self, key: &str) -> Option<&Arg> {
        let is_alias = |argument: &&Arg| {
            let mut aliases = argument.get_all_aliases().into_iter().flatten();
            aliases.any(|alias| alias.replace('-', "_") == key)
        };
        let mut arguments = self.arguments();
        arguments
            .find(|argument| argument.get_id() == key)
            .or_else(|| self.arguments().find(is_alias))
    }

    /// What was given on the command line.
    fn flags(&self, levels: &[&ArgMatches]) -> Dict {
        let mut dict = Dict::new();
        for argument in self.arguments() {
            let key = argument.get_id().as_str();
            for matches in levels {
                if matches.try_get_raw(key).is_err()
                    || matches.value_source(key) != Some(ValueSource::CommandLine)
                {
                    continue;
                }
                let values = matches.get_raw(key).into_iter().flatten();
                let mut values = values.map(|value| value.to_string_lossy().into_owned());
                let value = match argument.get_value_delimiter() {
                    Some(_) => Value::from(values.collect::<Vec<_>>()),
                    None => Value::from(values.next_back().unwrap_or_default()),
                };
                dict.insert(key.to_owned(), value);
            }
        }
        dict
    }

    /// What the environment says, and which file it names. A variable that is empty counts as not set. Sections, as in
    /// `ZEROK_RELAY__STORAGE__DATABASE`, are for people: the last name says which setting it is.
    fn environment(
        &self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<(Dict, Option<PathBuf>), ConfigError> {
        let (mut dict, mut file) = (Dict::new(), None);
        for (name, value) in variables {
            let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
                continue;
            };
            if value.is_empty() {
                continue;
            }
            let written = &name[PREFIX.len()..];
            let last = written.rsplit("__").next().unwrap_or(written);
            let key = last.trim_start_matches('_').to_ascii_lowercase();
            if key == FILE_FLAG {
                file = Some(value.into());
                continue;
            }
            let in_capitals = !written.contains(|c: char| c.is_ascii_lowercase());
            let argument = self.get(&key).filter(|_| in_capitals);
            let argument = argument.ok_or_else(|| ConfigError::Unknown {
                name: format!("variable {name}"),
                place: "the environment".into(),
                hint: self.hint(&key, variable),
            })?;
            let value = value.to_string_lossy();
            let value = match argument.get_value_delimiter() {
                Some(delimiter) => Value::from(value.split(delimiter).collect::<Vec<_>>()),
                None => Value::from(&*value),
            };
            dict.insert(argument.get_id().to_string(), value);
        }
        Ok((dict, file))
    }

    fn file(&self, file: &Path) -> Result<Dict, ConfigError> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| ConfigError::Read(file.to_owned(), error))?;
        let dict: Dict = toml::from_str(&text).map_err(|error| ConfigError::Syntax {
            file: file.to_owned(),
            line: error.span().map_or(1, |span| {
                let before = text.bytes().take(span.start);
                1 + before.filter(|byte| *byte == b'\n').count()
            }),
            problem: error.message().to_owned(),
        })?;
        let mut settings = Dict::new();
        for (key, value) in self.without_sections(dict) {
            let argument = self.get(&key).ok_or_else(|| ConfigError::Unknown {
                name: format!("key `{key}`"),
                place: file.display().to_string(),
                hint: self.hint(&key, |key| format!("`{key}`")),
            })?;
            settings.insert(argument.get_id().to_string(), value);
        }
        Ok(settings)
    }

    /// The keys of a file; those in a section such as `[storage]` as if they stood outside. No setting is a table.
    fn without_sections(&self, dict: Dict) -> Vec<(String, Value)> {
        let mut keys = Vec::new();
        for (key, value) in dict {
            match value {
                Value::Dict(_, section) if self.get(&key).is_none() => keys.extend(section),
                _ => keys.push((key, value)),
            }
        }
        keys
    }

    fn hint(&self, name: &str, written: impl Fn(&str) -> String) -> String {
        let name = name.to_ascii_lowercase().replace('-', "_");
        let shown = self.arguments().filter(|argument| !argument.is_hide_set());
        let keys: BTreeSet<&str> = shown.map(|argument| argument.get_id().as_str()).collect();
        let alike = |key: &str| strsim::jaro_winkler(key, &name);
        let best = keys
            .into_iter()
            .max_by(|a, b| alike(a).total_cmp(&alike(b)))
            .filter(|key| alike(key) >= ALIKE);
        match best {
            Some(key) => format!("did you mean {}?", written(key)),
            None => "`zerok-relay --help` has all of them".to_owned(),
        }
    }

    fn explain(&self, error: figment::Error) -> ConfigError {
        let key = error.path.first().map_or("", String::as_str);
        let secret = self.get(key).is_some_and(Arg::is_hide_env_values_set);
        let problem = match &error.kind {
            Kind::Message(text) => text.clone(),
            _ if secret => "it has not the form that is needed (not shown)".to_owned(),
            Kind::InvalidType(found, expected) | Kind::InvalidValue(found, expected) => {
                format!("it is {found}, and {expected} is needed")
            }
            Kind::UnknownVariant(found, expected) => {
                format!(
                    "it is {found:?}, and one of {} is needed",
                    expected.join(", ")
                )
            }
            other => other.to_string(),
        };
        let name = match error.metadata.as_ref() {
            Some(metadata) if metadata.name == ENVIRONMENT || metadata.name == FLAGS => {
                place(Some(metadata), key)
            }
            metadata => format!("`{key}` in {}", place(metadata, key)),
        };
        ConfigError::Value { name, problem }
    }
}

fn found_file(data_dir: &Path) -> Option<PathBuf> {
    let folders = [data_dir, Path::new(SYSTEM_FOLDER)];
    let mut files = folders.iter().map(|folder| folder.join(FILE_NAME));
    // One that may not be read is an error later, not passed over.
    files.find(|file| file.try_exists().unwrap_or(true))
}

fn place(metadata: Option<&Metadata>, key: &str) -> String {
    match metadata.map_or(DEFAULT, |metadata| &*metadata.name) {
        ENVIRONMENT => variable(key),
        FLAGS => format!("--{}", key.replace('_', "-")),
        other => other.to_owned(),
    }
}

fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_ascii_uppercase())
}

/// One of the sources.
struct Layer {
    metadata: Metadata,
    dict: Dict,
}

impl Layer {
    fn new(name: &str, dict: Dict) -> Self {
        let metadata = Metadata::named(name.to_owned());
        Self { metadata, dict }
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        self.metadata.clone()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

pub(super) fn as_dict(config: &Config) -> Result<Dict, ConfigError> {
    let dict = Value::serialize(config).map(Value::into_dict);
    dict.map(Option::unwrap_or_default)
        .map_err(|error| ConfigError::Value {
            name: "a default".into(),
            problem: error.to_string(),
        })
}

/// The flag of a setting: never required, its default and its variable in the help text.
fn documented(argument: &Arg) -> Arg {
    let mut argument = argument.clone().required(false);
    if matches!(argument.get_action(), ArgAction::SetTrue) {
        // So that a flag can also take back what the file says.
        argument = argument
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_name("true|false")
            .value_parser(clap::value_parser!(bool));
    }
    let key = argument.get_id().as_str().to_owned();
    let defaults = as_dict(&Config::new(DEFAULT_DATA_DIR)).unwrap_or_default();
    let default = defaults.get(&key).and_then(|value| match value {
        Value::String(_, text) => Some(text.clone()),
        Value::Num(..) => toml::Value::try_from(value)
            .ok()
            .map(|value| value.to_string()),
        _ => None,
    });
    let default = default
        .map(|text| format!(" [default: {text}]"))
        .unwrap_or_default();
    let help = argument
        .get_long_help()
        .or(argument.get_help())
        .map(ToString::to_string)
        .unwrap_or_default();
    argument
        .help(format!("{help}{default} [env: {}]", variable(&key)))
        .long_help(None::<&str>)
}
