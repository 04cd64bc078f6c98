//! What browser tests call: the store's suite, and the cases that only a store with several owners has.

use std::cell::RefCell;
use std::collections::BTreeSet;

use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use zerok_sync_client::store::{Store, StoreError, suite};
use zerok_sync_shared::crypto::keys::Secret;
use zerok_sync_shared::store::Write;

use crate::error::Failure;
use crate::store::IndexedDbStore;

/// Runs the suite of every store, and the cases of this one, on databases whose names begin with `prefix`, and deletes
/// those databases. Gives the names of the cases that passed; one that fails panics, after its name was logged. `key` is what they
/// wrap secrets with.
///
/// # Errors
/// `STORAGE_FAILED` when a database can't be deleted afterwards.
#[wasm_bindgen(js_name = runStoreSuite)]
#[expect(clippy::expect_used, reason = "it is a test")]
pub async fn run_store_suite(prefix: String, key: JsValue) -> Result<Vec<String>, Failure> {
    let names = RefCell::new(BTreeSet::new());
    let open = async |name: &str| {
        let name = format!("{prefix}{name}");
        names.borrow_mut().insert(name.clone());
        IndexedDbStore::open(&name, key.clone())
            .await
            .expect("opens")
    };
    let log = |name: &'static str| web_sys::console::log_1(&name.into());
    let mut passed = suite::run(&open, log).await;

    log("only_the_last_owner_writes");
    only_the_last_owner_writes(&open).await;
    passed.push("only_the_last_owner_writes");

    log("a_dropped_commit_is_made_good");
    a_dropped_commit_is_made_good(&open).await;
    passed.push("a_dropped_commit_is_made_good");

    log("commits_wait_for_each_other");
    commits_wait_for_each_other(&open).await;
    passed.push("commits_wait_for_each_other");

    log("owners_that_race_end_with_one_key");
    let raced = format!("{prefix}race");
    owners_that_race_end_with_one_key(&raced, &key).await;
    names.borrow_mut().insert(raced);
    passed.push("owners_that_race_end_with_one_key");

    let names = names.into_inner();
    for name in &names {
        IndexedDbStore::delete(name).await?;
    }
    Ok(passed.into_iter().map(str::to_owned).collect())
}

/// An owner that was replaced can neither write nor set the key, and what it tried leaves no trace.
#[expect(clippy::expect_used, reason = "it is a test")]
async fn only_the_last_owner_writes(open: &impl AsyncFn(&str) -> IndexedDbStore) {
    let group = suite::group(1);
    let idle = open("fence").await;
    let zombie = open("fence").await;
    zombie
        .commit(&suite::batch([
            suite::state(group),
            suite::append(group, 1, 10),
        ]))
        .await
        .expect("owns it");
    let owner = open("fence").await;
    let late = suite::batch([suite::append(group, 2, 20), suite::state(suite::group(2))]);
    assert_eq!(zombie.commit(&late).await, Err(StoreError::Taken));
    assert_eq!(
        zombie.keep_device_key(&Secret::new([1; 32])).await.err(),
        Some(StoreError::Taken)
    );
    let loaded = owner.load().await.expect("loads");
    assert!(loaded.device_key.is_none());
    assert_eq!(loaded.groups.len(), 1);
    owner
        .commit(&suite::batch([suite::append(group, 2, 21)]))
        .await
        .expect("owns it now");
    assert_eq!(
        owner.read(group, 1, 10, usize::MAX).await,
        Ok(vec![suite::record(2, 21)])
    );
    // One that has never written finds the log longer than it thinks, and must still learn the true reason.
    assert_eq!(
        idle.commit(&suite::batch([suite::append(group, 1, 10)]))
            .await,
        Err(StoreError::Taken)
    );
    for store in [idle, zombie, owner] {
        store.close().await;
    }
}

/// Of several that make a new database at once, one is left, and its device key is the one that whoever comes next finds.
#[expect(clippy::expect_used, reason = "it is a test")]
async fn owners_that_race_end_with_one_key(name: &str, wrap_key: &JsValue) {
    let open = || IndexedDbStore::open(name, wrap_key.clone());
    let opened = futures_util::future::join_all((0..4).map(|_| open())).await;
    let mut kept = Vec::new();
    for (number, store) in (1..).zip(opened) {
        let key = match &store {
            Ok(store) => store.keep_device_key(&Secret::new([number; 32])).await,
            Err(error) => Err(error.clone()),
        };
        match key {
            Ok(key) => kept.push(key),
            Err(error) => assert_eq!(error, StoreError::Taken),
        }
    }
    let next = open().await.expect("opens");
    let found = next.load().await.expect("loads").device_key;
    assert_eq!(kept, found.into_iter().collect::<Vec<_>>());
    assert_eq!(kept.len(), 1, "one of them owned it");
    next.close().await;
}

/// Whoever stops waiting for a commit can go on with the store, whether or not it happened.
#[expect(clippy::expect_used, reason = "it is a test")]
async fn a_dropped_commit_is_made_good(open: &impl AsyncFn(&str) -> IndexedDbStore) {
    let group = suite::group(1);
    let store = open("dropped").await;
    store
        .commit(&suite::batch([suite::state(group)]))
        .await
        .expect("commits");
    let batch = suite::batch([suite::append(group, 1, 10)]);
    let mut commit = Box::pin(store.commit(&batch));
    core::future::poll_fn(|context| {
        assert!(
            commit.as_mut().poll(context).is_pending(),
            "no commit is done at once"
        );
        core::task::Poll::Ready(())
    })
    .await;
    drop(commit);
    let next = store
        .read(group, 0, 10, usize::MAX)
        .await
        .expect("reads")
        .len() as u64
        + 1;
    store
        .commit(&suite::batch([suite::append(group, next, 11)]))
        .await
        .expect("goes on");
    store.close().await;
}

/// Commits that are begun at once happen in their order.
#[expect(clippy::expect_used, reason = "it is a test")]
async fn commits_wait_for_each_other(open: &impl AsyncFn(&str) -> IndexedDbStore) {
    let group = suite::group(1);
    let store = open("queue").await;
    store
        .commit(&suite::batch([suite::state(group)]))
        .await
        .expect("commits");
    let batches: Vec<_> = (1..=20)
        .map(|position| suite::batch([suite::append(group, position, 10)]))
        .collect();
    for result in
        futures_util::future::join_all(batches.iter().map(|batch| store.commit(batch))).await
    {
        result.expect("commits");
    }
    assert_eq!(
        store
            .read(group, 0, 100, usize::MAX)
            .await
            .expect("reads")
            .len(),
        20
    );
    store.close().await;
}

/// Writes blobs of a mebibyte until the store refuses, at most `most`; then checks that the refused one left no trace
/// and that removing the group makes room again. Gives the code of the refusal, or `undefined`. For a page whose quota the
/// test has lowered, and before this origin first used IndexedDB: Chromium remembers for a while how much room it had.
///
/// # Errors
/// Whatever fails that has to work when the store is full.
#[wasm_bindgen(js_name = fillStore)]
pub async fn fill_store(name: String, most: u32, key: JsValue) -> Result<Option<String>, Failure> {
    let group = suite::group(1);
    let store = IndexedDbStore::open(&name, key).await?;
    store.commit(&suite::batch([suite::state(group)])).await?;
    let mut refusal = None;
    for position in 1..=u64::from(most) {
        let Err(error) = store
            .commit(&suite::batch([suite::append(group, position, 1024 * 1024)]))
            .await
        else {
            continue;
        };
        refusal = Some(zerok_sync_client::SyncError::from(error).code.to_owned());
        let after = position.saturating_sub(2);
        let last = store.read(group, after, 10, usize::MAX).await?;
        assert!(
            last.last().is_none_or(|record| record.position < position),
            "the refused blob is there"
        );
        store
            .commit(&suite::batch([Write::Remove { group }]))
            .await?;
        store
            .commit(&suite::batch([
                suite::state(group),
                suite::append(group, 1, 1),
            ]))
            .await?;
        break;
    }
    store.close().await;
    IndexedDbStore::delete(&name).await?;
    Ok(refusal)
}
