//! Settings read, set and restored, in a directory that plays /proc/sys.

use super::*;

#[test]
fn a_setting_is_written_and_its_old_value_returned() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("eth0.5")).unwrap();
    let file = directory.path().join("eth0.5/arp_ignore");
    fs::write(&file, "0\n").unwrap();

    assert_eq!(
        set_in(directory.path(), "eth0.5", "arp_ignore", "1").unwrap(),
        "0"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "1");
    assert_eq!(
        set_in(directory.path(), "eth0.5", "arp_ignore", "0").unwrap(),
        "1"
    );
}

#[test]
fn a_missing_interface_is_named_with_its_path_and_needs_no_restoring() {
    let error = set("no-such-if", "arp_ignore", "1").unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read /proc/sys/net/ipv4/conf/no-such-if/arp_ignore; does the interface exist"
    );
    restore("no-such-if", "arp_ignore", "0").unwrap();
}
