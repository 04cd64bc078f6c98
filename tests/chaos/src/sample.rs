//! What a process uses, as `/proc` knows it.

use std::fs;
use std::path::Path;

use crate::net::owner::tree;

/// What a process and its children use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    /// Resident memory, in KiB.
    pub rss_kib: u64,
    /// Open file descriptors.
    pub descriptors: u64,
}

/// Of a process and all that descend from it.
#[must_use]
pub fn usage(root: u32) -> Usage {
    tree(root)
        .into_iter()
        .fold(Usage::default(), |sum, pid| Usage {
            rss_kib: sum.rss_kib + rss(pid).unwrap_or(0),
            descriptors: sum.descriptors
                + fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |folder| folder.count() as u64),
        })
}

fn rss(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// KiB of all files of a folder, without folders in it.
#[must_use]
pub fn folder_kib(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files
        .filter_map(|entry| entry.metadata().ok())
        .filter(fs::Metadata::is_file)
        .map(|file| file.len())
        .sum::<u64>()
        / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let usage = usage(std::process::id());
        assert!(usage.rss_kib > 100 && usage.descriptors > 2, "{usage:?}");
    }
}
