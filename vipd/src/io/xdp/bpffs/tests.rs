//! Names of pins, and locks as /proc/locks tells of them.

use super::*;

#[test]
fn dots_in_an_interface_name_are_escaped() {
    let base = Path::new("/sys/fs/bpf/vipd");
    assert_eq!(directory(base, "eth0.10").unwrap(), base.join("eth0%2e10"));
    assert_eq!(directory(base, "..").unwrap(), base.join("%2e%2e"));
}

#[test]
fn a_name_with_a_slash_is_no_directory_of_ours() {
    for name in ["", "../etc", "/", "a\0b"] {
        let error = directory(Path::new("/sys/fs/bpf/vipd"), name).unwrap_err();
        assert!(matches!(error, Error::BadName { .. }), "{name:?}: {error}");
    }
}

#[test]
fn a_directory_on_another_file_system_is_told_with_the_command_that_helps() {
    let error = check(Path::new("/proc/vipd/nowhere"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`mount -t bpf bpf /proc/vipd/nowhere`"),
        "{error}"
    );
}

#[test]
fn the_holder_of_a_lock_is_the_one_that_locked_the_very_file_by_flock() {
    let file = "fe:00:18926";
    for (line, pid) in [
        (
            "1: FLOCK  ADVISORY  WRITE 6782 fe:00:18926 0 EOF",
            Some(6782),
        ),
        ("1: FLOCK  ADVISORY  WRITE 6782 fe:00:189260 0 EOF", None),
        ("1: -> FLOCK  ADVISORY  WRITE 6782 fe:00:18926 0 EOF", None),
        ("1: POSIX  ADVISORY  WRITE 6782 fe:00:18926 0 EOF", None),
        ("", None),
    ] {
        assert_eq!(holder_in(line, file), pid, "{line:?}");
    }
}
