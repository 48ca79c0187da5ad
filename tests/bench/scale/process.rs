//! What processes use, as proc(5) tells it.

use std::collections::BTreeMap;
use std::fs;

/// Counters of some processes, each summed over all of their threads.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) processes: usize,
    pub(crate) threads: usize,
    pub(crate) rss_kib: u64,
    pub(crate) pss_kib: u64,
    /// Time on a processor since their start.
    pub(crate) cpu_ns: u64,
    /// Context switches, wanted and not, since their start.
    pub(crate) switches: u64,
}

impl Usage {
    pub(crate) fn of(processes: &[u32]) -> Self {
        let mut usage = Self::default();
        for pid in processes {
            let status = read(&format!("/proc/{pid}/status"));
            usage.processes += 1;
            usage.rss_kib += field(&status, "VmRSS:");
            usage.pss_kib += field(&read(&format!("/proc/{pid}/smaps_rollup")), "Pss:");
            for thread in numbers(&format!("/proc/{pid}/task")) {
                let task = format!("/proc/{pid}/task/{thread}");
                let status = read(&format!("{task}/status"));
                usage.threads += 1;
                usage.switches += field(&status, "voluntary_ctxt_switches:")
                    + field(&status, "nonvoluntary_ctxt_switches:");
                // Exact, where `stat` counts in ticks of 10 ms.
                let schedstat = read(&format!("{task}/schedstat"));
                usage.cpu_ns += first_number(&schedstat);
            }
        }
        usage
    }
}

/// A process and all below it.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for process in numbers("/proc") {
        // The name, in parentheses, may hold anything.
        let stat = read(&format!("/proc/{process}/stat"));
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(process);
        }
    }
    let mut family = vec![pid];
    let mut at = 0;
    while let Some(pid) = family.get(at) {
        family.extend(children.remove(pid).unwrap_or_default());
        at += 1;
    }
    family
}

fn numbers(directory: &str) -> Vec<u32> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, first_number)
}

fn first_number(text: &str) -> u64 {
    let word = text.split_whitespace().next();
    word.and_then(|word| word.parse().ok()).unwrap_or(0)
}
