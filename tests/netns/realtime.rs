//! `--realtime`: the election's thread before all ordinary ones, and its memory
//! never paged out.

use std::fs;

use vipd_tests::lab::{Daemon, Lab, Vipd, VipdOptions};

use crate::scene::{SOON, assert_untouched, pair, vipd};

/// `sched(7)`.
const SCHED_OTHER: u32 = 0;
const SCHED_FIFO: u32 = 1;

/// Policy and priority of every thread, by its id.
fn threads(daemon: &Daemon) -> Vec<(u32, u32, u32)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).expect("the daemon runs");
    let thread = |id: u32| {
        let path = format!("/proc/{}/task/{id}/stat", daemon.pid());
        let stat = fs::read_to_string(path).expect("the thread runs");
        // The name may hold anything, and ends with the last parenthesis; the
        // fields after it count from 3 (proc_pid_stat(5)).
        let (_, fields) = stat.rsplit_once(") ").expect("it has a name");
        let fields: Vec<&str> = fields.split(' ').collect();
        let number = |field: usize| fields[field - 3].parse().expect("a number");
        (id, number(41), number(40))
    };
    let ids = tasks
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.map(thread).collect()
}

fn locked_kilobytes(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid()));
    let status = status.expect("the daemon runs");
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:"));
    let locked = locked.and_then(|line| line.trim().strip_suffix(" kB"));
    locked.expect("the kernel tells").parse().expect("a number")
}

fn realtime() -> VipdOptions {
    VipdOptions {
        realtime: true,
        ..vipd(0)
    }
}

#[test]
fn the_elections_thread_alone_is_real_time_and_memory_is_locked() {
    let lab = Lab::new();
    let (n1, n2, _client) = pair(&lab);
    let mut first = Vipd::start(&n1, &realtime());
    first.wait_for_lease(SOON);
    assert_eq!(first.status().expect("it answers")["realtime"], true);
    let threads_of = |daemon: &Vipd| {
        let threads = threads(daemon);
        let main = threads.iter().find(|(id, ..)| *id == daemon.pid());
        let main = *main.expect("it has a main thread");
        (
            main,
            threads
                .into_iter()
                .filter(|thread| *thread != main)
                .collect::<Vec<_>>(),
        )
    };
    let ((_, policy, priority), others) = threads_of(&first);
    assert_eq!(policy, SCHED_FIFO);
    assert!(priority > 0);
    assert!(!others.is_empty());
    for (id, policy, priority) in others {
        assert_eq!((policy, priority), (SCHED_OTHER, 0), "thread {id}");
    }
    // More than a mebibyte: the program itself is.
    assert!(locked_kilobytes(&first) > 1024);

    let second = Vipd::start(&n2, &vipd(50));
    assert_eq!(second.status().expect("it answers")["realtime"], false);
    let ((_, policy, _), _) = threads_of(&second);
    assert_eq!(policy, SCHED_OTHER);
    assert_eq!(locked_kilobytes(&second), 0);
    assert!(first.terminate(SOON).success());
    assert_untouched(&n1);
}

#[test]
fn a_missing_capability_is_named_and_nothing_is_touched() {
    let base = ["net_admin", "net_raw", "bpf"];
    for (extra, missing) in [
        (None, "CAP_IPC_LOCK"),
        (Some("ipc_lock"), "CAP_SYS_NICE"),
        (Some("sys_nice"), "CAP_IPC_LOCK"),
    ] {
        let lab = Lab::new();
        let n1 = lab.host("n1", "10.99.0.1/24");
        let arguments = realtime().arguments(&n1);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let capabilities: Vec<&str> = base.into_iter().chain(extra).collect();
        // Nothing is pinned before; and a socket can be made.
        crate::unprivileged::open_to_nobody(&n1);
        let command = Vipd::command_on(&n1, &arguments);
        let mut command = Vipd::as_nobody(&n1, &capabilities, &command);
        crate::unprivileged::let_write(&n1);
        let output = command.output().expect("vipd can be started");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(missing), "{extra:?}: {said:?}");
        // The configuration is right; the machine refuses.
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_untouched(&n1);
    }
}
