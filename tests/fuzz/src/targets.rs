//! The targets, one file each.

mod config;
mod directory;
mod engine;
mod frames;
mod http;
mod invite;
mod notices;
mod sealed;
mod session;
mod tokens;

/// Something that takes bytes from outside.
#[derive(Debug)]
pub struct Target {
    /// Its name, and that of its folder in `corpus/`.
    pub name: &'static str,
    /// Panics when a promise is broken.
    pub run: fn(&[u8]),
    /// Inputs to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "frames",
        run: frames::run,
        seeds: frames::seeds,
    },
    Target {
        name: "session",
        run: session::run,
        seeds: session::seeds,
    },
    Target {
        name: "engine",
        run: engine::run,
        seeds: engine::seeds,
    },
    Target {
        name: "sealed",
        run: sealed::run,
        seeds: sealed::seeds,
    },
    Target {
        name: "invite",
        run: invite::run,
        seeds: invite::seeds,
    },
    Target {
        name: "http",
        run: http::run,
        seeds: http::seeds,
    },
    Target {
        name: "directory",
        run: directory::run,
        seeds: directory::seeds,
    },
    Target {
        name: "config",
        run: config::run,
        seeds: config::seeds,
    },
    Target {
        name: "notices",
        run: notices::run,
        seeds: notices::seeds,
    },
    Target {
        name: "tokens",
        run: tokens::run,
        seeds: tokens::seeds,
    },
];

/// The target with this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
