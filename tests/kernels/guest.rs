//! A machine in qemu that boots one kernel, and what it says.
//!
//! Emulated, without KVM: it runs wherever qemu does, at some tenth of the speed.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use vipd_tests::lab::{Daemon, now};

use crate::image;

/// Boots the kernel of a series, which `cargo xtask setup --test` has fetched,
/// and fails if that does not end well.
pub(crate) fn boot(series: &str) {
    let kernel = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/kernels")
        .join(series);
    let linux = image::find(&kernel, &|name| name.starts_with("vmlinuz-"));
    let linux = linux.unwrap_or_else(|| {
        panic!("there is no Linux {series} here; `cargo xtask setup --test` fetches it")
    });
    let scratch = tempfile::tempdir().expect("a directory for the guest");
    let initramfs = scratch.path().join("initramfs");
    fs::write(&initramfs, image::build(&kernel)).expect("the guest's files can be written");
    let console = scratch.path().join("console");

    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-accel", "tcg", "-cpu", "max", "-m", MEMORY]);
    qemu.args(["-nodefaults", "-display", "none", "-no-reboot"]);
    qemu.arg("-kernel").arg(linux);
    qemu.arg("-initrd").arg(&initramfs);
    // A panic reboots at once, which ends qemu.
    qemu.args(["-append", "console=ttyS0 loglevel=5 panic=-1"]);
    qemu.arg("-serial")
        .arg(format!("file:{}", console.display()));
    let said = || {
        let bytes = fs::read(&console).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\r', "")
    };
    let mut guest = Daemon::spawn(&format!("the guest with Linux {series}"), &mut qemu);
    // Until it has said it all, is no more, or has had its time.
    let deadline = now() + PATIENCE;
    while now() < deadline && guest.exited().is_none() && !said().contains(END) {
        thread::sleep(PAUSE);
    }
    drop(guest);

    let said = said();
    match judge(&said, series) {
        Ok(summary) => println!("{summary}"),
        Err(fault) => {
            let lines: Vec<&str> = said.lines().collect();
            let tail = &lines[lines.len().saturating_sub(TAIL)..];
            panic!(
                "Linux {series}: {fault}; the console's last lines:\n{}",
                tail.join("\n")
            );
        }
    }
}

/// What the console tells, or what is wrong with it. All must be there that
/// `init.sh` prints when all is well.
fn judge(said: &str, series: &str) -> Result<String, String> {
    let facts: Vec<&str> = said
        .lines()
        .filter_map(|line| line.strip_prefix("guest: "))
        .collect();
    let fact = |beginning: &str| {
        let mut rests = facts.iter().filter_map(|fact| fact.strip_prefix(beginning));
        rests.next()
    };
    let version = fact("Linux version ").ok_or("it did not boot")?;
    let version = version.split(' ').next().unwrap_or_default();
    if !version.starts_with(&format!("{series}.")) {
        return Err(format!("it is Linux {version}"));
    }
    let mut summary = format!("Linux {version}");
    let mut passed = said
        .lines()
        .filter_map(|line| line.strip_prefix("test result: ok. "))
        .filter_map(|rest| rest.split_once(" passed"));
    for tier in ["xdp", "netns"] {
        match fact(&format!("{tier} ended with ")) {
            Some("0") => {}
            Some(status) => return Err(format!("{tier} ended with {status}")),
            None => return Err(format!("{tier} did not end")),
        }
        match passed.next() {
            None | Some(("0", _)) => return Err(format!("no test of {tier} ran")),
            Some((count, _)) => summary += &format!(", {count} tests of {tier} passed"),
        }
    }
    // What this tier is for; a filter that fits nothing else would not show.
    if let Some(missing) = PROMISED
        .into_iter()
        .find(|name| !said.contains(&format!("test {name} ... ok\n")))
    {
        return Err(format!("{missing} did not run"));
    }
    // The kernel marks itself when it warns of a fault of its own.
    match fact("taints ") {
        Some("0") => Ok(summary),
        Some(taints) => Err(format!("the kernel is tainted ({taints}), see its warning")),
        None => Err("it did not come to its end".into()),
    }
}

/// The tests that show what is said of these kernels: that the program does what
/// it must, loads and is attached with two capabilities, is replaced in place, and
/// that daemons elect, answer and tell, as root and as nobody.
const PROMISED: [&str; 7] = [
    "frames::a_request_for_a_leased_vip_becomes_the_reply",
    "attach::two_capabilities_are_enough",
    "adoption::maps_of_another_abi_are_replaced_behind_the_same_link",
    "adoption::not_one_request_goes_unanswered_over_ten_restarts_in_native_mode",
    "responder::every_form_of_request_is_answered_by_the_master_alone",
    "status::every_field_of_the_contract_is_there_on_master_and_backup",
    "unprivileged::without_root_it_elects_answers_and_stops_cleanly",
];

/// MiB. The file system takes a quarter.
const MEMORY: &str = "512";

/// The last line of `init.sh`.
const END: &str = "guest: end";

/// How long a guest may take: several times what it takes on two busy cores.
const PATIENCE: Duration = Duration::from_secs(400);

/// Between two looks at the console.
const PAUSE: Duration = Duration::from_millis(100);

/// Lines of the console that are shown of a guest that failed.
const TAIL: usize = 60;

#[test]
fn a_guest_is_judged_by_all_that_it_must_say() {
    let promised = PROMISED.map(|name| format!("test {name} ... ok\n"));
    let well = format!(
        "guest: Linux version 6.1.0-56-cloud-amd64 (gcc)\n{}\
        test result: ok. 28 passed; 0 failed; 0 ignored\nguest: xdp ended with 0\n{}\
        test result: ok. 3 passed; 0 failed; 0 ignored\nguest: netns ended with 0\n\
        guest: taints 0\nguest: end\n",
        promised[..4].concat(),
        promised[4..].concat(),
    );
    let summary = judge(&well, "6.1").expect("all is well");
    assert!(summary.starts_with("Linux 6.1.0-56-cloud-amd64, 28 tests"));
    assert!(judge(&well, "6.12").is_err(), "another kernel");
    for (what, from, to) in [
        ("a test failed", "xdp ended with 0", "xdp ended with 101"),
        ("a crash", "netns ended with 0", "netns ended with 139"),
        ("filters that fit no test", "ok. 3 passed", "ok. 0 passed"),
        ("another filter", "two_capabilities", "many_capabilities"),
        ("a kernel that warned", "taints 0", "taints 512"),
    ] {
        let said = well.replace(from, to);
        assert_ne!(said, well, "{what}");
        assert!(judge(&said, "6.1").is_err(), "{what}");
    }
    // A panic, or a guest that hangs: what follows is missing.
    for (at, _) in well.match_indices('\n') {
        let said = &well[..at];
        if !said.contains("guest: taints") {
            assert!(judge(said, "6.1").is_err(), "{said}");
        }
    }
}
