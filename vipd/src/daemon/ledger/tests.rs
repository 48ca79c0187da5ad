//! What is written down for the next daemon, and what that one believes of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::*;
use crate::carp::timers::Timing;
use crate::carp::{Interval, Key, Policy, Session, Vhid};
use crate::engine::{Auth, GroupConfig};

const PROGRAM: u32 = 77;

fn ledger(state_dir: &Path, placement: Placement, groups: &[(u8, &str)]) -> Ledger {
    let group = |&(vhid, password): &(u8, &str)| GroupConfig {
        name: format!("eth0-{vhid}"),
        interface: InterfaceId(0),
        vhid: Vhid::new(vhid).unwrap(),
        vips: vec![Ipv4Addr::new(10, 99, 0, vhid)],
        source: None,
        auth: Auth::new(
            Key::from_passphrase(password.as_bytes()).unwrap(),
            Policy::Send,
        ),
        timing: Timing {
            interval: Interval::new(1, 0),
            dead_ratio: 3,
        },
        preempt: false,
        preempt_delay: Duration::ZERO,
        startup_delay: Duration::ZERO,
        tie: None,
        placement,
    };
    let config = engine::Config {
        interfaces: vec!["eth0".to_owned()],
        groups: groups.iter().map(group).collect(),
    };
    Ledger::new(&config, state_dir)
}

fn vouched(ledger: &Ledger, program: u32) -> Vec<u8> {
    let vouched = ledger.vouched_for("eth0", Some(program));
    vouched.into_keys().collect()
}

/// Of three groups; different for each number.
fn sessions(number: u64) -> BTreeMap<u8, Session> {
    let session = |vhid: u8| (vhid, Session(number << 8 | u64::from(vhid)));
    (1..=3).map(session).collect()
}

#[test]
fn leases_are_vouched_for_with_the_same_password_and_by_who_left_them() {
    for placement in [Placement::Interface, Placement::None] {
        let directory = tempfile::tempdir().unwrap();
        let ledger = |groups: &[_]| ledger(directory.path(), placement, groups);
        let first = ledger(&[(1, "secret"), (2, "other")]);
        assert_eq!(vouched(&first, PROGRAM), [0; 0], "nothing is written yet");
        first
            .set_up_on("eth0", Some(PROGRAM), &sessions(1))
            .unwrap();

        assert_eq!(vouched(&first, PROGRAM), [1, 2]);
        let found = first.vouched_for("eth0", Some(PROGRAM));
        assert_eq!(found[&2], sessions(1)[&2], "it goes on as the same");
        assert_eq!(
            vouched(&ledger(&[(1, "Secret"), (2, "other")]), PROGRAM),
            [2]
        );
        assert_eq!(
            vouched(&ledger(&[(2, "secret"), (1, "other")]), PROGRAM),
            [0; 0]
        );
        assert_eq!(vouched(&ledger(&[(3, "secret")]), PROGRAM), [0; 0]);
        assert_eq!(vouched(&first, PROGRAM + 1), [0; 0], "another daemon's");
        assert_eq!(first.vouched_for("eth0", None), [].into());
        assert_eq!(first.vouched_for("eth1", Some(PROGRAM)), [].into());

        // Whoever comes next writes down its own, and nothing else is left.
        let second = ledger(&[(1, "Secret")]);
        second
            .set_up_on("eth0", Some(PROGRAM + 1), &sessions(2))
            .unwrap();
        assert_eq!(vouched(&first, PROGRAM), [0; 0]);
        assert_eq!(vouched(&first, PROGRAM + 1), [0; 0]);
        assert_eq!(vouched(&second, PROGRAM + 1), [1]);
        assert_eq!(second.restore(), [""; 0]);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}

#[test]
fn what_is_lost_or_damaged_vouches_for_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = ledger(directory.path(), Placement::Interface, &[(1, "secret")]);
    ledger
        .set_up_on("eth0", Some(PROGRAM), &sessions(1))
        .unwrap();
    let path = directory.path().join("changes-eth0");
    let whole = fs::read(&path).unwrap();
    let line = whole.len() - 1 - "key 1 0123456789abcdef-".len() - 40;
    assert!(whole[line..].starts_with(b"key 1 "), "{whole:?}");
    for place in line..whole.len() - 1 {
        for damage in [b'x', b'\n', 0xff, whole[place] ^ 1] {
            let mut damaged = whole.clone();
            damaged[place] = damage;
            fs::write(&path, &damaged).unwrap();
            assert_eq!(vouched(&ledger, PROGRAM), [0; 0], "{place}: {damage}");
        }
        fs::write(&path, &whole[..place]).unwrap();
        assert_eq!(vouched(&ledger, PROGRAM), [0; 0], "cut at {place}");
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(vouched(&ledger, PROGRAM), [1]);
    fs::remove_file(&path).unwrap();
    assert_eq!(vouched(&ledger, PROGRAM), [0; 0]);
}

#[test]
fn what_is_written_down_is_for_its_owner_and_another_each_time() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = ledger(
        directory.path(),
        Placement::Interface,
        &[(1, "secret"), (2, "secret")],
    );
    let path = directory.path().join("changes-eth0");
    // What a killed daemon was about to write, as anybody might have made it.
    fs::write(directory.path().join("new-changes-eth0"), "").unwrap();
    let write = |number| {
        ledger
            .set_up_on("eth0", Some(PROGRAM), &sessions(number))
            .unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        fs::read_to_string(&path).unwrap()
    };
    let (first, second) = (write(1), write(2));
    assert!(!first.contains("secret"), "{first}");
    let digests = |text: &str| -> BTreeSet<String> {
        let keys = text.lines().filter(|line| line.starts_with("key "));
        keys.map(|line| line.rsplit('-').next().unwrap().to_owned())
            .collect()
    };
    let all = &digests(&first) | &digests(&second);
    assert_eq!(all.len(), 4, "{first}{second}");
}
