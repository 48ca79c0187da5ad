use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use super::*;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// A shell that does this. It runs with no time limit worth the name.
fn shell(script: &str) -> Command {
    Command {
        program: "/bin/sh".into(),
        arguments: vec!["-c".to_owned(), script.to_owned()],
        environment: Vec::new(),
        timeout: LONG,
        grace: Duration::ZERO,
        ends_group: true,
    }
}

/// As `shell`, but it may not take any time.
fn hurried(script: &str, grace: Duration) -> Command {
    Command {
        timeout: Duration::from_millis(300),
        grace,
        ..shell(script)
    }
}

/// Runs it as a thread of checks does: without rights.
fn end(command: &Command) -> Ended {
    let thread = || {
        give_up_rights().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (ended, mut remains) = run(command).await;
            remains.vanish().await;
            ended
        })
    };
    thread::scope(|scope| scope.spawn(thread).join().expect("it does not panic"))
}

fn said(script: &str) -> String {
    let ended = end(&shell(script));
    assert!(ended.is_success(), "{ended}");
    ended.said
}

/// Whether a process is there that is more than a zombie.
fn is_alive(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn wait_for_end(pid: &str) {
    for _ in 0..6000 {
        if !is_alive(pid) {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("{pid} still runs");
}

#[test]
fn how_it_ended_is_told_with_its_last_words() {
    let cases = [
        ("exit 0", "exit status 0"),
        ("echo one; echo two; exit 3", "exit status 3: two"),
        ("echo broken >&2; exit 1", "exit status 1: broken"),
        ("kill -USR1 $$", "killed by signal 10"),
    ];
    for (script, expected) in cases {
        assert_eq!(end(&shell(script)).to_string(), expected, "{script}");
    }
    let nothing = Command {
        program: "/nonexistent/check".into(),
        ..shell("")
    };
    assert!(end(&nothing).to_string().contains("/nonexistent/check"));
}

#[test]
fn what_is_no_program_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("script");
    fs::write(&script, "#!/nonexistent/interpreter\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let said = end(&Command {
        program: script,
        ..shell("")
    });
    assert!(matches!(said.how, How::NotStarted(_)), "{said}");
    assert!(said.to_string().contains("No such file"), "{said}");
}

/// capabilities(7): also a root's program gets none back.
#[test]
fn it_has_no_capabilities_and_can_get_none() {
    let rights = said("grep -E '^(Cap|NoNewPrivs)' /proc/self/status | tr -d '\\t\\n'");
    let none = "0000000000000000";
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert!(rights.contains(&format!("{set}:{none}")), "{rights}");
    }
    assert!(rights.ends_with("NoNewPrivs:1"), "{rights}");
}

#[test]
fn it_has_no_descriptor_beside_its_three() {
    // Kept open in what is started, as by a careless parent of the daemon's.
    let leak = fs::File::open("/").unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    // `ls` itself opens the directory it lists.
    assert_eq!(said("echo $(ls /proc/self/fd)"), "0 1 2 3");
    assert_eq!(said("readlink /proc/self/fd/0"), "/dev/null");
}

#[test]
fn its_environment_is_its_own() {
    let command = Command {
        environment: vec![("VIPD_ROLE".to_owned(), "master".to_owned())],
        ..shell("echo $(env | sort)")
    };
    let ended = end(&command);
    // `PWD` is the shell's own.
    assert_eq!(ended.said, format!("PATH={PATH} PWD=/ VIPD_ROLE=master"));
}

#[test]
fn what_takes_too_long_is_killed_with_its_whole_group() {
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    let script = format!(
        "trap '' TERM; sleep 1000 & echo $! > {0}; echo $$ >> {0}; echo working; wait; sleep 1000",
        pids.display()
    );
    let ended = end(&hurried(&script, Duration::from_millis(200)));
    assert_eq!(ended.to_string(), "not done within 300ms: working");
    let pids = fs::read_to_string(pids).unwrap();
    assert_eq!(pids.lines().count(), 2, "{pids}");
    for pid in pids.lines() {
        wait_for_end(pid);
    }
}

#[test]
fn who_is_asked_to_end_may_clean_up_first() {
    let directory = tempfile::tempdir().unwrap();
    let mark = directory.path().join("mark");
    let script = format!(
        "trap 'touch {}; exit' TERM; while :; do sleep 0.01; done",
        mark.display()
    );
    end(&hurried(&script, LONG));
    assert!(mark.exists());
}

/// Forked, and the first process gone at once: a check leaves nothing behind, and
/// what a hook started may stay.
#[test]
fn what_a_check_leaves_running_is_killed_and_what_a_hook_leaves_is_not() {
    for ends_group in [true, false] {
        let command = Command {
            ends_group,
            ..shell("sleep 1000 & echo $!")
        };
        let ended = end(&command);
        assert!(ended.is_success(), "{ended}");
        let pid = ended.said;
        if ends_group {
            wait_for_end(&pid);
        } else {
            assert!(is_alive(&pid));
            let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
            rustix::process::kill_process(pid, Signal::KILL).unwrap();
        }
    }
}

/// The pipe's other end stays open in it for ever.
#[test]
fn nobody_waits_for_the_output_of_what_was_left_behind() {
    let command = Command {
        ends_group: false,
        ..shell("setsid sleep 1000 & echo $!")
    };
    let ended = end(&command);
    assert!(ended.is_success(), "{ended}");
    let left = Path::new("/proc").join(&ended.said);
    // `setsid` forks only where it leads a group; the shell's child does not.
    assert!(left.exists());
    let pid = Pid::from_raw(ended.said.parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}

#[test]
fn what_prints_without_end_is_held_back_and_ended_in_time() {
    let ended = end(&hurried("while :; do echo flood; done", Duration::ZERO));
    assert_eq!(ended.to_string(), "not done within 300ms: flood");
    let ended = end(&hurried("exec cat /dev/zero", Duration::ZERO));
    assert!(matches!(ended.how, How::TimedOut(_)), "{ended}");
}

#[test]
fn what_prints_much_comes_to_its_end() {
    let line = said(
        "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789 $i; i=$((i+1)); done; echo done",
    );
    assert_eq!(line, "done");
}

#[test]
fn a_runner_that_is_dropped_kills_what_it_runs() {
    let (told, mut tells) = mpsc::channel(8);
    let runner = Runner::spawn(Rights::None, told).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    let script = format!(
        "echo $$ > {0}.new; mv {0}.new {0}; sleep 1000",
        file.display()
    );
    runner.run(1, shell(&script));
    runner.run(2, shell("echo beside it"));
    let (token, ended) = tells.blocking_recv().expect("the second ends");
    assert_eq!((token, ended.said.as_str()), (2, "beside it"));
    let pid = loop {
        match fs::read_to_string(&file) {
            Ok(pid) => break pid.trim().to_owned(),
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    };
    assert!(is_alive(&pid));
    drop(runner);
    wait_for_end(&pid);
    assert!(tells.blocking_recv().is_none(), "nothing else is told");
}
