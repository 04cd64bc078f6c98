//! Passphrases as people give them: read without echo, brought into their one form, judged, or made up.

use std::path::Path;

use unicode_normalization::UnicodeNormalization as _;
use zerok_sync_client::shared::failure::code;
use zerok_sync_client::shared::limits;

use crate::failure::{Failure, INTERRUPTED};

/// The large list of the Electronic Frontier Foundation; see `shared/words/README.md`.
const WORDS: &str = include_str!("../../shared/words/eff-large.txt");
/// Six of 7,776 words are 77 bits.
const GENERATED_WORDS: usize = 6;
/// A file is not read further.
const MAX_FILE: u64 = 16 * 1024;
const ADVICE: &str = "Take five or six words that don't belong together, or --generate.";

/// Unicode NFKC; white space between words is one space, and there is none around; capitals stay.
pub fn one_form(text: &str) -> String {
    let composed: String = text.nfkc().collect();
    let words: Vec<_> = composed.split_whitespace().collect();
    words.join(" ")
}

/// Why a group must not be founded with it; `about` is what would be guessed first.
pub fn judge(passphrase: &str, about: &[&str]) -> Result<(), Failure> {
    let estimate = zxcvbn::zxcvbn(passphrase, about);
    let bits = estimate.guesses_log10() * std::f64::consts::LOG2_10;
    if bits >= limits::MIN_PASSPHRASE_BITS && is_long(passphrase) {
        return Ok(());
    }
    let mut said = vec![format!(
        "this passphrase can be guessed: about {bits:.0} of {} bits.",
        limits::MIN_PASSPHRASE_BITS
    )];
    if let Some(feedback) = estimate.feedback() {
        said.extend(feedback.warning().map(|warning| warning.to_string()));
        said.extend(feedback.suggestions().iter().map(ToString::to_string));
    }
    said.push(ADVICE.to_owned());
    Err(Failure::new(code::WEAK_PASSPHRASE, said.join(" ")))
}

/// Why no group can have been founded with it. Judging it again could only shut out a device whose judge knows more words.
pub fn look_at(passphrase: &str) -> Result<(), Failure> {
    if is_long(passphrase) {
        return Ok(());
    }
    let text = format!(
        "no group has a passphrase of less than {} characters: a part of this one is missing",
        limits::MIN_PASSPHRASE_LEN
    );
    Err(Failure::new(code::WEAK_PASSPHRASE, text))
}

/// As JavaScript counts, so that every client draws the line at the same place.
fn is_long(passphrase: &str) -> bool {
    passphrase.encode_utf16().count() >= limits::MIN_PASSPHRASE_LEN
}

/// Random words.
pub fn generate() -> Result<String, Failure> {
    let words: Vec<_> = WORDS.lines().collect();
    let drawn: Result<Vec<_>, _> = (0..GENERATED_WORDS).map(|_| draw(&words)).collect();
    drawn
        .map(|drawn| drawn.join(" "))
        .map_err(|error| Failure::new("INTERNAL", format!("no randomness: {error}")))
}

/// One of them, each as likely as the others.
fn draw<'a>(words: &[&'a str]) -> Result<&'a str, getrandom::Error> {
    let count = words.len() as u64;
    let fair = u64::from(u32::MAX) + 1;
    let fair = fair - fair % count;
    loop {
        let random = u64::from(getrandom::u32()?);
        if random < fair {
            return Ok(words[(random % count) as usize]);
        }
    }
}

/// From a file, from standard input, or from whoever sits at the terminal, asked twice if it is a new one.
pub async fn read(file: Option<&Path>, new: bool) -> Result<String, Failure> {
    if let Some(file) = file {
        return read_file(file);
    }
    let first = ask("Passphrase: ").await?;
    if new && one_form(&first) != one_form(&ask("The same again: ").await?) {
        return Err(Failure::usage("the two passphrases differ"));
    }
    Ok(first)
}

fn read_file(file: &Path) -> Result<String, Failure> {
    use std::io::Read as _;
    let reading = || {
        let mut text = String::new();
        if file == Path::new("-") {
            std::io::stdin().take(MAX_FILE).read_to_string(&mut text)?;
        } else {
            std::fs::File::open(file)?
                .take(MAX_FILE)
                .read_to_string(&mut text)?;
        }
        Ok::<_, std::io::Error>(text)
    };
    reading().map_err(|error| Failure::usage(format!("the passphrase can't be read: {error}")))
}

/// Asks at the terminal, even if input and output are elsewhere.
async fn ask(prompt: &'static str) -> Result<String, Failure> {
    #[cfg(unix)]
    let _quiet = quiet::Quiet::begin();
    let asked = tokio::task::spawn_blocking(move || rpassword::prompt_password(prompt)).await;
    match asked {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::Interrupted => {
            Err(Failure::new(INTERRUPTED, "nothing was changed"))
        }
        _ => Err(Failure::usage(
            "there is no terminal to ask for the passphrase: give it with --passphrase-file FILE, or - for standard input",
        )),
    }
}

#[cfg(unix)]
mod quiet {
    use std::fs::File;

    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

    /// The terminal shows nothing of what is typed, from before the question on: whoever pastes is quick. As before when
    /// this is dropped, also by a signal.
    pub(super) struct Quiet {
        terminal: File,
        before: Termios,
    }

    impl Quiet {
        pub(super) fn begin() -> Option<Self> {
            let mut options = File::options();
            let terminal = options.read(true).write(true).open("/dev/tty").ok()?;
            let before = tcgetattr(&terminal).ok()?;
            let mut quiet = before.clone();
            quiet.local_modes.remove(LocalModes::ECHO);
            tcsetattr(&terminal, OptionalActions::Now, &quiet).ok()?;
            Some(Self { terminal, before })
        }
    }

    impl Drop for Quiet {
        fn drop(&mut self) {
            // There is nothing to do about a terminal that went away.
            let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Vector {
        typed: String,
        form: String,
    }

    #[test]
    fn what_people_type_has_one_form() {
        let vectors = include_str!("../../shared/vectors/passphrase-forms.json");
        let vectors: Vec<Vector> = serde_json::from_str(vectors).unwrap();
        assert!(vectors.len() > 5);
        for Vector { typed, form } in vectors {
            assert_eq!(one_form(&typed), form, "{typed:?}");
        }
    }

    #[test]
    fn generated_passphrases_are_taken() {
        assert_eq!(WORDS.lines().count(), 7776);
        for _ in 0..50 {
            let passphrase = generate().unwrap();
            let words: Vec<_> = passphrase.split(' ').collect();
            assert_eq!(words.len(), 6);
            assert!(words.iter().all(|word| WORDS.lines().any(|w| w == *word)));
            assert_eq!(judge(&passphrase, &["family", "0k-sync"]), Ok(()));
        }
        assert_ne!(generate().unwrap(), generate().unwrap());
    }

    #[test]
    fn weak_ones_are_refused_with_the_reason() {
        let weak = [
            "hunter2",
            "correcthorsebatterystaple",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "qwertyuiopasdfghjklzxcvbnm",
        ];
        for passphrase in weak {
            let failure = judge(passphrase, &[]).unwrap_err();
            assert_eq!(failure.code, "WEAK_PASSPHRASE", "{passphrase}");
            assert!(
                failure.message.contains("--generate"),
                "{}",
                failure.message
            );
        }
        let name = "the knights of the round table";
        assert!(judge(name, &[name]).is_err());
        let repeated = judge("abcabcabcabcabcabcabcabc", &[]).unwrap_err();
        assert!(repeated.message.contains("Repeats"), "{}", repeated.message);
    }

    #[test]
    fn what_is_too_short_to_be_taken_is_below_the_bound_by_the_estimate_itself() {
        for passphrase in ["xK9#mQ2$vL7pR4!tWz", "xK9#mQ2$vL7"] {
            assert!(look_at(passphrase).is_err());
            let bits = zxcvbn::zxcvbn(passphrase, &[]).guesses_log10() * std::f64::consts::LOG2_10;
            assert!(bits < limits::MIN_PASSPHRASE_BITS);
        }
        assert!(look_at("xK9#mQ2$vL7pR4!tWz8").is_ok());
    }
}
