//! The kernel, the BPF file system, memory, and what daemon and doctor may do.

use std::fs;
use std::path::Path;

use super::{Finding, chain, preflight, xdp};

/// `pid` is the daemon's, if one runs.
pub(super) fn examine(pid: Option<i32>, bpffs: &Path, findings: &mut Vec<Finding>) {
    let read = |path: String| fs::read_to_string(path).unwrap_or_default();
    findings.push(kernel(&read("/proc/sys/kernel/osrelease".to_owned())));
    findings.push(btf(Path::new("/sys/kernel/btf/vmlinux").exists()));
    findings.push(match xdp::check_bpffs(bpffs) {
        Ok(()) => Finding::ok(
            "bpffs",
            "",
            format!("{} can hold the pins", bpffs.display()),
        ),
        Err(error) => Finding::fail("bpffs", "", chain(&error)),
    });
    match pid {
        Some(pid) => {
            let status = read(format!("/proc/{pid}/status"));
            findings.push(capabilities("the daemon", &status));
            let group = read(format!("/proc/{pid}/cgroup"));
            if let Some(path) = group.lines().find_map(|line| line.strip_prefix("0::")) {
                let limit = read(format!("/sys/fs/cgroup{path}/memory.max"));
                findings.push(memory(limit.trim()));
            }
        }
        None => findings.push(capabilities(
            "this command",
            &read("/proc/self/status".to_owned()),
        )),
    }
}

fn kernel(release: &str) -> Finding {
    let release = release.trim();
    let mut numbers = release.split(['.', '-']).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) < OLDEST => Finding::fail(
            "kernel",
            "",
            format!("Linux {release} is older than {}.{}", OLDEST.0, OLDEST.1),
        )
        .advice("vipd is neither made for it nor tested on it: install a newer one"),
        _ => Finding::ok("kernel", "", format!("Linux {release}")),
    }
}

fn btf(is_there: bool) -> Finding {
    if is_there {
        Finding::ok(
            "btf",
            "",
            "the kernel has BTF: bpftool shows the maps' fields",
        )
    } else {
        Finding::warn("btf", "", "the kernel has no BTF (CONFIG_DEBUG_INFO_BTF)")
            .advice("vipd works, but bpftool shows bytes instead of fields")
    }
}

/// `limit` is what `memory.max` says: bytes, or `max`. BPF maps are charged to the
/// daemon's group.
fn memory(limit: &str) -> Finding {
    match limit.parse::<u64>() {
        Ok(bytes) if bytes < NEEDED => Finding::warn(
            "memory",
            "",
            format!("the daemon's control group may have {} MiB", bytes >> 20),
        )
        .advice("the BPF maps count as its memory too: give it 64 MiB or more (MemoryMax=)"),
        Ok(bytes) => Finding::ok("memory", "", format!("at most {} MiB", bytes >> 20)),
        Err(_) => Finding::ok("memory", "", "no limit for the daemon and its maps"),
    }
}

/// `status` as proc(5) has it.
fn capabilities(whose: &str, status: &str) -> Finding {
    let missing = preflight::missing_capabilities(status);
    if missing.is_empty() {
        let text = format!("{whose} has CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF");
        Finding::ok("capabilities", "", text)
    } else {
        let text = format!("{whose} lacks {}", missing.join(", "));
        Finding::warn("capabilities", "", text)
            .advice("run it as root, or grant them (AmbientCapabilities= in a unit)")
    }
}

/// The oldest kernel that vipd is tested on.
const OLDEST: (u32, u32) = (6, 1);

/// Bytes that the maps and the daemon take with room to spare: the maps of one
/// interface are some 10 MiB when full.
const NEEDED: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn an_old_kernel_fails_and_others_do_not() {
        for (release, level) in [
            ("5.10.0-28-amd64\n", Level::Fail),
            ("6.0.19", Level::Fail),
            ("6.1.0-9-cloud-amd64", Level::Ok),
            ("6.18.44-something", Level::Ok),
            ("10.0-rc1", Level::Ok),
        ] {
            assert_eq!(kernel(release).level, level, "{release}");
        }
    }

    #[test]
    fn little_memory_and_missing_capabilities_are_told() {
        assert_eq!(memory("max").level, Level::Ok);
        assert_eq!(memory("").level, Level::Ok);
        assert_eq!(memory("1073741824").level, Level::Ok);
        assert_eq!(memory("16777216").level, Level::Warn);
        let lacking = capabilities("the daemon", "CapEff:\t0000000000003000\n");
        assert_eq!(lacking.level, Level::Warn);
        assert!(lacking.text.contains("lacks CAP_BPF"), "{}", lacking.text);
        assert_eq!(
            capabilities("it", "CapEff:\t000001ffffffffff\n").level,
            Level::Ok
        );
        assert_eq!(btf(false).level, Level::Warn);
    }
}
