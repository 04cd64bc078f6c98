//! The invariants, on what the devices say.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::{Result, bail, ensure};

use crate::protocol::{Body, Entry, Status};

/// What one device has and has promised.
#[derive(Debug)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Blobs whose push resolved there.
    pub promised: Vec<(String, Body)>,
    /// So many blobs it can't have, because a disk changed them.
    pub damaged: usize,
    /// Whether a relay gave it the blobs of a sender in another order.
    pub mixed: bool,
    /// Its log.
    pub log: Vec<Entry>,
    /// How it stands.
    pub status: Status,
}

/// Checks a fleet that has settled.
///
/// # Errors
/// The first invariant that does not hold, and where.
pub fn check(accounts: &[Account]) -> Result<()> {
    let promised: HashMap<&str, &Body> = accounts
        .iter()
        .flat_map(|account| &account.promised)
        .map(|(blob, body)| (blob.as_str(), body))
        .collect();
    for account in accounts {
        no_duplicates(account)?;
        no_loss(account, &promised)?;
    }
    let whole: Vec<_> = accounts
        .iter()
        .filter(|account| account.damaged == 0)
        .collect();
    for account in accounts {
        same_blobs(whole[0], account)?;
    }
    same_vectors(&whole)
}

fn no_duplicates(account: &Account) -> Result<()> {
    let mut seen = HashSet::new();
    for entry in &account.log {
        ensure!(
            seen.insert(&entry.blob),
            "duplicate: {} has {} twice",
            account.name,
            entry.blob
        );
    }
    Ok(())
}

fn no_loss(account: &Account, promised: &HashMap<&str, &Body>) -> Result<()> {
    let log: HashMap<&str, &Body> = account
        .log
        .iter()
        .map(|entry| (entry.blob.as_str(), &entry.body))
        .collect();
    let lost: Vec<_> = promised
        .iter()
        .filter(|(blob, _)| !log.contains_key(*blob))
        .collect();
    if let Some((blob, body)) = lost.first()
        && lost.len() != account.damaged
    {
        bail!(
            "loss: {} of {} promised blobs are missing on {}, such as {blob} ({:?})",
            lost.len(),
            promised.len(),
            account.name,
            body.head
        );
    }
    for (blob, body) in promised {
        ensure!(
            log.get(blob).is_none_or(|received| received == body),
            "corruption: {blob} is not on {} what was pushed",
            account.name
        );
    }
    Ok(())
}

/// Equal contents and, within each sender, equal order.
fn same_blobs(first: &Account, second: &Account) -> Result<()> {
    let (mut one, mut other) = (by_sender(first), by_sender(second));
    if second.mixed {
        for blobs in one.values_mut().chain(other.values_mut()) {
            blobs.sort_by(|one, other| one.blob.cmp(&other.blob));
        }
    }
    if second.damaged > 0 {
        let there: HashSet<_> = second.log.iter().map(|entry| &entry.blob).collect();
        for blobs in one.values_mut() {
            blobs.retain(|entry| there.contains(&entry.blob));
        }
    }
    for (sender, blobs) in &one {
        let theirs = other.get(sender).map_or(&[][..], Vec::as_slice);
        ensure!(
            blobs.len() == theirs.len(),
            "divergence: of {sender}, {} has {} blobs and {} has {}",
            first.name,
            blobs.len(),
            second.name,
            theirs.len()
        );
        let differ = blobs
            .iter()
            .zip(theirs)
            .position(|(one, other)| one != other);
        if let Some(place) = differ {
            bail!(
                "order: the blob number {place} of {sender} is {} on {} and {} on {}",
                blobs[place].blob,
                first.name,
                theirs[place].blob,
                second.name
            );
        }
    }
    ensure!(
        one.len() == other.len(),
        "divergence: {} knows a sender that {} does not",
        second.name,
        first.name
    );
    Ok(())
}

fn by_sender(account: &Account) -> BTreeMap<&str, Vec<&Entry>> {
    let mut senders: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in &account.log {
        senders.entry(&entry.sender).or_default().push(entry);
    }
    senders
}

fn same_vectors(accounts: &[&Account]) -> Result<()> {
    let vectors: Vec<_> = accounts
        .iter()
        .filter_map(|account| Some((&account.name, account.status.vector.as_ref()?)))
        .collect();
    for pair in vectors.windows(2) {
        ensure!(
            pair[0].1 == pair[1].1,
            "divergence: version vectors differ: {} {:?}, {} {:?}",
            pair[0].0,
            pair[0].1,
            pair[1].0,
            pair[1].1
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> Body {
        Body {
            head: text.to_owned(),
            pad: 0,
        }
    }

    fn account(name: &str, promised: &[&str], log: &[(&str, &str)]) -> Account {
        Account {
            name: name.to_owned(),
            promised: promised
                .iter()
                .map(|blob| ((*blob).to_owned(), body(blob)))
                .collect(),
            damaged: 0,
            mixed: false,
            log: log
                .iter()
                .map(|(sender, blob)| Entry {
                    blob: (*blob).to_owned(),
                    sender: (*sender).to_owned(),
                    body: body(blob),
                })
                .collect(),
            status: Status::default(),
        }
    }

    fn problem(accounts: &[Account]) -> String {
        check(accounts).map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn what_holds_passes_and_what_does_not_is_named() {
        let a = || account("a", &["1", "2"], &[("a", "1"), ("b", "3"), ("a", "2")]);
        let b = |log: &[(&str, &str)]| account("b", &["3"], log);
        assert_eq!(
            problem(&[a(), b(&[("b", "3"), ("a", "1"), ("a", "2")])]),
            ""
        );
        assert!(problem(&[a(), b(&[("b", "3"), ("a", "1")])]).starts_with("loss"));
        assert!(problem(&[a(), b(&[("b", "3"), ("a", "2"), ("a", "1")])]).starts_with("order"));
        assert!(
            problem(&[a(), b(&[("b", "3"), ("a", "1"), ("a", "1"), ("a", "2")])])
                .starts_with("duplicate")
        );
        assert!(
            problem(&[a(), b(&[("b", "3"), ("a", "1"), ("a", "2"), ("c", "4")])])
                .starts_with("divergence")
        );
    }

    #[test]
    fn a_damaged_device_may_lack_exactly_what_was_damaged() {
        let a = || account("a", &["1", "2"], &[("a", "1"), ("a", "2")]);
        let mut b = account("b", &[], &[("a", "2")]);
        b.damaged = 1;
        assert_eq!(problem(&[a(), b]), "");
        let mut b = account("b", &[], &[]);
        b.damaged = 1;
        assert!(problem(&[a(), b]).starts_with("loss"));
    }

    #[test]
    fn a_mixed_log_may_differ_in_its_order_only() {
        let a = || account("a", &["1", "2"], &[("a", "1"), ("a", "2")]);
        let mut b = account("b", &[], &[("a", "2"), ("a", "1")]);
        b.mixed = true;
        assert_eq!(problem(&[a(), b]), "");
        let mut b = account("b", &[], &[("a", "2")]);
        b.mixed = true;
        assert!(problem(&[a(), b]).starts_with("loss"));
    }

    #[test]
    fn a_changed_byte_and_an_unequal_vector_are_noticed() {
        let a = account("a", &["1"], &[("a", "1")]);
        let mut b = account("b", &[], &[("a", "1")]);
        b.log[0].body.pad = 1;
        assert!(problem(&[a, b]).starts_with("corruption"));
        let mut a = account("a", &[], &[("a", "1")]);
        let mut b = account("b", &[], &[("a", "1")]);
        a.status.vector = Some(BTreeMap::from([("a".to_owned(), 1)]));
        b.status.vector = Some(BTreeMap::new());
        assert!(problem(&[a, b]).starts_with("divergence: version vectors"));
    }
}
