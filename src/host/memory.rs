//! How much memory this process took at most.

/// Peak resident memory in bytes, as the kernel counts it; none where it does not tell.
pub fn peak_resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_has_a_peak() {
        assert!(super::peak_resident().is_some_and(|bytes| bytes > 1 << 16));
    }
}
