//! vipd without root: three capabilities are enough.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};

use vipd_tests::lab::{Host, Lab, Prober, Vipd, VipdOptions, wait_until};

use crate::scene::{SOON, VIP, assert_untouched, pair, vipd, wait_for_service};

const NOBODY: u32 = 65534;

/// Gives him the directories for state and pins.
pub(crate) fn open_to_nobody(host: &Host) {
    let (state, bpffs) = (host.directory().join("state"), host.bpffs());
    fs::create_dir_all(&state).expect("cannot make a directory");
    for directory in [state, bpffs] {
        chown(&directory, Some(NOBODY), Some(NOBODY)).expect("root may give it away");
    }
}

/// Lets him make the socket, which is right in the host's directory.
pub(crate) fn let_write(host: &Host) {
    fs::set_permissions(host.directory(), Permissions::from_mode(0o777)).expect("it is ours");
}

/// As systemd does for a service: directories of its own, and capabilities.
fn start(host: &Host, options: &VipdOptions) -> Vipd {
    let arguments = options.arguments(host);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    open_to_nobody(host);
    let command = Vipd::command_on(host, &arguments);
    let capabilities = ["net_admin", "net_raw", "bpf"];
    let mut command = Vipd::as_nobody(host, &capabilities, &command);
    let_write(host);
    let vipd = Vipd::from_command(host, &mut command);
    vipd.wait_for_log("ready", SOON);
    vipd
}

#[test]
fn without_root_it_elects_answers_and_stops_cleanly() {
    for addresses in ["interface", "loopback"] {
        let lab = Lab::new();
        let (n1, n2, client) = pair(&lab);
        let options = |advskew| VipdOptions {
            addresses,
            ..vipd(advskew)
        };
        let mut first = start(&n1, &options(0));
        let status =
            fs::read_to_string(format!("/proc/{}/status", first.pid())).expect("the daemon runs");
        assert!(status.contains("Uid:\t65534\t65534"), "{status}");
        first.wait_for_role("master", SOON);
        let mut second = start(&n2, &options(50));
        wait_until("the first is followed", SOON, || {
            (second.group()["master"]["address"] == "10.99.0.1").then_some(())
        });
        wait_for_service(&client, &n1);
        let prober = Prober::start(&client, VIP, 50);
        assert_eq!(prober.who_answers_within(SOON), Some(n1.mac()));
        assert_eq!(first.terminate(SOON).code(), Some(0));
        assert_untouched(&n1);
        assert!(prober.answered_by_within(n2.mac(), SOON));
        wait_for_service(&client, &n2);
        assert_eq!(second.terminate(SOON).code(), Some(0));
        assert_untouched(&n2);
        for daemon in [&first, &second] {
            assert!(!daemon.log().contains("ERROR"), "{}", daemon.log());
        }
    }
}
