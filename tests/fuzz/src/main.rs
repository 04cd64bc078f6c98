//! One target under libFuzzer; ZEROK_FUZZ_TARGET names it.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use zerok_sync_fuzz::{Target, find};

static TARGET: OnceLock<&Target> = OnceLock::new();

fn target() -> &'static Target {
    let name = std::env::var("ZEROK_FUZZ_TARGET").unwrap_or_default();
    match find(&name) {
        Some(target) => target,
        None => {
            eprintln!("ZEROK_FUZZ_TARGET does not name a target");
            std::process::exit(2);
        }
    }
}

fuzz_target!(|data: &[u8]| (TARGET.get_or_init(target).run)(data));
