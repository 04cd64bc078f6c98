//! Values that are written in a form of their own. Each is a module for `value_parser = …::parse` and
//! `#[serde(with = "…")]`.

use std::fmt;

use serde::de::{self, Deserializer, Visitor};

/// A length of time: `90s`, `15m`, `12h`, `30d`.
pub mod time {
    use std::time::Duration;

    use serde::{Deserializer, Serializer};

    const UNITS: [(&str, u64); 4] = [("d", 24 * 3600), ("h", 3600), ("m", 60), ("s", 1)];

    /// From text.
    ///
    /// # Errors
    /// Says what is expected.
    pub fn parse(text: &str) -> Result<Duration, String> {
        let wrong = || "a number and s, m, h or d is needed, such as 30d".to_owned();
        let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, unit) = text.split_at(unit_at);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        if unit == "ms" && number > 0 {
            return Ok(Duration::from_millis(number));
        }
        let unit = UNITS.iter().find(|(name, _)| *name == unit);
        let (_, factor) = unit.ok_or_else(wrong)?;
        match number.checked_mul(*factor) {
            Some(seconds @ 1..) => Ok(Duration::from_secs(seconds)),
            _ => Err("between one second and the end of time".into()),
        }
    }

    /// To text, in the largest unit that is exact.
    #[must_use]
    pub fn text(time: &Duration) -> String {
        let seconds = time.as_secs();
        if time.subsec_nanos() > 0 || seconds == 0 {
            return format!("{}ms", time.as_millis());
        }
        let exact = UNITS
            .iter()
            .find(|(_, factor)| seconds.is_multiple_of(*factor));
        exact.map_or_else(
            || format!("{seconds}s"),
            |(unit, factor)| format!("{}{unit}", seconds / factor),
        )
    }

    pub(crate) fn serialize<S: Serializer>(time: &Duration, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&text(time))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        super::read(from, parse)
    }
}

/// A number of bytes: `500M`, `2G`.
pub mod size {
    use serde::{Deserializer, Serializer};

    const UNITS: [(char, u64); 4] = [
        ('T', 1 << 40),
        ('G', 1 << 30),
        ('M', 1 << 20),
        ('K', 1 << 10),
    ];

    /// From text.
    ///
    /// # Errors
    /// Says what is expected.
    pub fn parse(text: &str) -> Result<u64, String> {
        let wrong = || "a number of bytes is needed, perhaps with K, M, G or T".to_owned();
        let unit = UNITS
            .iter()
            .find(|(unit, _)| text.ends_with([*unit, unit.to_ascii_lowercase()]));
        let (number, factor) = match unit {
            Some((_, factor)) => (&text[..text.len() - 1], *factor),
            None => (text, 1),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        number.checked_mul(factor).ok_or_else(wrong)
    }

    /// To text, in the largest unit that is exact.
    #[must_use]
    pub fn text(size: u64) -> String {
        let exact = UNITS
            .iter()
            .find(|(_, factor)| size > 0 && size.is_multiple_of(*factor));
        exact.map_or_else(
            || size.to_string(),
            |(unit, factor)| format!("{}{unit}", size / factor),
        )
    }

    pub(crate) fn serialize<S: Serializer>(size: &u64, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&text(*size))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        super::read(from, parse)
    }
}

/// The URL of a relay, if there is one.
pub mod public_url {
    use serde::{Deserializer, Serialize as _, Serializer};
    use url::Url;
    use zerok_sync_shared::limits::MAX_RELAY_URL;

    /// From text.
    ///
    /// # Errors
    /// Says what is expected.
    pub fn parse(text: &str) -> Result<Url, String> {
        let url = Url::parse(text).map_err(|error| format!("{error}; it starts with https://"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err("a URL that starts with https:// or http:// is needed".into());
        }
        if url.query().is_some() || url.fragment().is_some() || url.path() != "/" {
            return Err("only scheme, host and port; the relay is not served below a path".into());
        }
        if url.as_str().len() > MAX_RELAY_URL {
            return Err(format!("longer than {MAX_RELAY_URL} bytes"));
        }
        Ok(url)
    }

    pub(crate) fn serialize<S: Serializer>(url: &Option<Url>, out: S) -> Result<S::Ok, S::Error> {
        url.as_ref().map(Url::as_str).serialize(out)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Url>, D::Error> {
        super::read_option(from, parse)
    }
}

/// A value from a text or a number.
fn read<'de, D: Deserializer<'de>, T>(
    from: D,
    parse: fn(&str) -> Result<T, String>,
) -> Result<T, D::Error> {
    from.deserialize_any(Text(parse))
}

/// The same where there may be nothing.
fn read_option<'de, D: Deserializer<'de>, T>(
    from: D,
    parse: fn(&str) -> Result<T, String>,
) -> Result<Option<T>, D::Error> {
    from.deserialize_option(Maybe(parse))
}

struct Text<T>(fn(&str) -> Result<T, String>);

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

struct Maybe<T>(fn(&str) -> Result<T, String>);

impl<'de, T> Visitor<'de> for Maybe<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        read(from, self.0).map(Some)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use zerok_sync_shared::limits::DEFAULT_TTL;

    use super::*;

    #[test]
    fn times_are_read_or_refused_and_written_in_the_same_form() {
        assert_eq!(time::parse("30d"), Ok(DEFAULT_TTL));
        assert_eq!(time::parse("90s"), Ok(Duration::from_secs(90)));
        for wrong in ["", "d", "30", "-1d", "0s", "3 d", "99999999999999999999d"] {
            assert!(time::parse(wrong).is_err(), "{wrong}");
        }
        for text in ["30d", "25h", "90s", "15m", "250ms"] {
            assert_eq!(time::text(&time::parse(text).unwrap()), text);
        }
    }

    #[test]
    fn sizes_are_read_or_refused_and_written_in_the_same_form() {
        assert_eq!(size::parse("1G"), Ok(1 << 30));
        assert_eq!(size::parse("1g"), Ok(1 << 30));
        for wrong in ["", "G", "1.5G", "-1", "99999999999T", "1é"] {
            assert!(size::parse(wrong).is_err(), "{wrong}");
        }
        for text in ["0", "1000", "1K", "1500M", "3T"] {
            assert_eq!(size::text(size::parse(text).unwrap()), text);
        }
    }

    #[test]
    fn public_urls_are_read_or_refused() {
        assert!(public_url::parse("https://sync.example.com").is_ok());
        for wrong in [
            "sync.example.com",
            "ftp://a",
            "https://a/b",
            "https://a?b",
            "https://a#b",
        ] {
            assert!(public_url::parse(wrong).is_err(), "{wrong}");
        }
    }
}
