//! Where a PostgreSQL database is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::Url;

/// The URL of a PostgreSQL database. It holds a password, so it is shown in parts only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DatabaseUrl(Url);

impl DatabaseUrl {
    /// All of it, for connecting.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for DatabaseUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "postgres" | "postgresql") => Ok(Self(url)),
            Ok(_) => Err("a URL that starts with postgres:// is needed".into()),
            Err(error) => Err(format!("{error}; it starts with postgres://")),
        }
    }
}

impl TryFrom<String> for DatabaseUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<DatabaseUrl> for String {
    fn from(url: DatabaseUrl) -> Self {
        url.0.into()
    }
}

/// Without user, password and parameters.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        f.write_str(self.0.host_str().unwrap_or_default())?;
        if let Some(port) = self.0.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(self.0.path())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_shown_without_its_password() {
        let text = "postgres://sync:geheim@db.example:5433/sync?sslpassword=geheim";
        let url: DatabaseUrl = text.parse().unwrap();
        assert_eq!(url.to_string(), "postgres://db.example:5433/sync");
        assert_eq!(format!("{url:?}"), url.to_string());
        assert_eq!(url.expose(), text);
        for wrong in ["mysql://sync:geheim@db/sync", "db.example", "geheim"] {
            let error = wrong.parse::<DatabaseUrl>().unwrap_err();
            assert!(error.contains("postgres://") && !error.contains("geheim"));
        }
    }
}
