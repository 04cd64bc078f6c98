//! Looks for what a relay must not know, in every form in which it could turn up.

use std::path::Path;

use aho_corasick::AhoCorasick;
use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};

use crate::raw;

/// Shorter ones turn up by chance.
const SHORTEST: usize = 12;

/// Something that must not be found, in every form in which it could turn up.
#[derive(Debug, Clone)]
pub struct Needle {
    /// What it is, for people.
    pub name: String,
    forms: Vec<Vec<u8>>,
}

impl Needle {
    /// Bytes, such as a key.
    #[must_use]
    pub fn new(name: &str, bytes: &[u8]) -> Self {
        let decimals = bytes.iter().map(u8::to_string).collect::<Vec<_>>();
        let mut forms = vec![
            bytes.to_vec(),
            HEXLOWER.encode(bytes).into_bytes(),
            HEXUPPER.encode(bytes).into_bytes(),
            // As `Debug` prints bytes and arrays.
            bytes.escape_ascii().to_string().into_bytes(),
            decimals.join(", ").into_bytes(),
            decimals.join(",").into_bytes(),
        ];
        // Inside something longer, base64 looks different depending on where it starts; the ends belong to the neighbours.
        for skipped in 0..3 {
            let Some(aligned) = bytes.get(skipped..) else {
                continue;
            };
            let aligned = &aligned[..aligned.len() / 3 * 3];
            forms.push(BASE64_NOPAD.encode(aligned).into_bytes());
            forms.push(BASE64URL_NOPAD.encode(aligned).into_bytes());
        }
        Self {
            name: name.into(),
            forms,
        }
    }

    /// A text.
    #[must_use]
    pub fn text(name: &str, text: &str) -> Self {
        let mut needle = Self::new(name, text.as_bytes());
        let wide: Vec<u16> = text.encode_utf16().collect();
        needle
            .forms
            .push(wide.iter().flat_map(|unit| unit.to_le_bytes()).collect());
        needle
            .forms
            .push(wide.iter().flat_map(|unit| unit.to_be_bytes()).collect());
        // As JSON and `Debug` escape it, and as URLs do.
        needle
            .forms
            .push(serde_json::to_vec(text).unwrap().trim_ascii().to_vec());
        needle
            .forms
            .push(text.escape_default().to_string().into_bytes());
        needle
    }

    /// Whether it is in there.
    #[must_use]
    pub fn is_in(&self, haystack: &[u8]) -> bool {
        self.forms.iter().any(|form| contains(haystack, form))
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    assert!(needle.len() >= SHORTEST, "too short to mean anything");
    memchr::memmem::find(haystack, needle).is_some()
}

/// Looks for many needles at once.
#[derive(Debug)]
pub struct Search {
    forms: AhoCorasick,
    /// Of each form, whose it is.
    names: Vec<String>,
}

impl Search {
    /// For these needles.
    ///
    /// # Panics
    /// When there are too many.
    #[must_use]
    pub fn new(needles: &[Needle]) -> Self {
        let forms = || {
            needles
                .iter()
                .flat_map(|needle| needle.forms.iter().map(|form| (&needle.name, form)))
        };
        assert!(
            forms().all(|(_, form)| form.len() >= SHORTEST),
            "too short to mean anything"
        );
        Self {
            forms: AhoCorasick::new(forms().map(|(_, form)| form)).unwrap(),
            names: forms().map(|(name, _)| name.clone()).collect(),
        }
    }

    /// The first needle that is in there, and where.
    #[must_use]
    pub fn find(&self, haystack: &[u8]) -> Option<(&str, usize)> {
        let found = self.forms.find(haystack)?;
        let name = self.names.get(found.pattern().as_usize())?;
        Some((name, found.start()))
    }
}

/// Every file of a folder, whatever it is called.
#[must_use]
pub fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    found
}

/// Everything that the relay shows to anybody who asks.
///
/// # Panics
/// When it does not answer.
pub async fn answers(url: &str) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for path in [
        "/metrics",
        "/health",
        "/.well-known/iroh",
        "/",
        "/v1/invites",
        "/nothing",
    ] {
        let answer = raw::http()
            .unwrap()
            .get(format!("{url}{path}"))
            .send()
            .await
            .unwrap();
        let headers = format!("{:?}", answer.headers()).into_bytes();
        found.push((
            path.to_owned(),
            [headers, answer.bytes().await.unwrap().to_vec()].concat(),
        ));
    }
    found
}
