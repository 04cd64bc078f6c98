//! How much memory this machine has.

/// In MiB, where that is easily said.
pub fn of_this_machine() -> Option<u32> {
    #[cfg(target_os = "linux")]
    return total(&std::fs::read_to_string("/proc/meminfo").ok()?);
    #[cfg(not(target_os = "linux"))]
    return None;
}

#[cfg(target_os = "linux")]
fn total(meminfo: &str) -> Option<u32> {
    let total = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix(" kB")?.parse().ok()?;
    u32::try_from(kib / 1024).ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells() {
        let told = "Buffers: 3 kB\nMemTotal:        8023088 kB\nMemFree: 5 kB\n";
        assert_eq!(total(told), Some(7835));
        assert_eq!(total("MemFree: 5 kB"), None);
        assert!(of_this_machine().unwrap() > 16);
    }
}
