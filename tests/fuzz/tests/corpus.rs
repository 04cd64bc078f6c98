//! What the fuzzer has found stays found: every input of `corpus/`, every seed, and simple changes of them.
//!
//! `UPDATE_CORPUS=1` writes the seeds into the folders; `cargo xtask fuzz --minimise` adds what reaches more.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::path::{Path, PathBuf};

use zerok_sync_fuzz::{TARGETS, Target};

fn folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target.name)
}

fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let mut inputs = (target.seeds)();
    for entry in std::fs::read_dir(folder(target)).unwrap() {
        inputs.push(std::fs::read(entry.unwrap().path()).unwrap());
    }
    inputs
}

#[test]
fn no_input_that_was_ever_interesting_breaks_a_promise() {
    for target in TARGETS {
        if std::env::var_os("UPDATE_CORPUS").is_some() {
            std::fs::create_dir_all(folder(target)).unwrap();
            for (number, seed) in (target.seeds)().into_iter().enumerate() {
                std::fs::write(folder(target).join(format!("seed-{number}")), seed).unwrap();
            }
        }
        let inputs = corpus(target);
        println!("{}: {} inputs", target.name, inputs.len());
        for input in &inputs {
            (target.run)(input);
            for cut in [
                input.len() / 3,
                input.len() / 2,
                input.len().saturating_sub(1),
            ] {
                (target.run)(&input[..cut]);
            }
            for at in [0, 1, input.len() / 4, input.len() / 2]
                .into_iter()
                .filter(|at| *at < input.len())
            {
                for change in [1, 0x80, 0xFF] {
                    let mut changed = input.clone();
                    changed[at] ^= change;
                    (target.run)(&changed);
                }
            }
        }
    }
}
