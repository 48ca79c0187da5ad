//! Signatures are brought to a living pair, and its password is changed, host by
//! host: the master goes on, no request is lost, and what was captured on the way
//! is of no use to anybody.

use vipd_tests::lab::{Census, Forger, Host, Lab, Vipd, VipdOptions, wait_until};

use super::{
    RATE, assert_served, signing, stand, storms, wait_for_adverts, wait_for_storms,
    wait_for_verdicts,
};
use crate::scene::{SOON, VIP, pair, wait_for_master};

/// Half a minute of lease: no machine is too slow to restart within it.
fn patient(options: VipdOptions) -> VipdOptions {
    VipdOptions {
        deadratio: 30,
        keep_on_exit: true,
        ..options
    }
}

/// A master and its backup, each of which can be replaced within its lease.
struct Living<'a> {
    hosts: [&'a Host; 2],
    first: Vipd,
    second: Vipd,
}

impl<'a> Living<'a> {
    fn start(hosts: [&'a Host; 2], options: impl Fn(u8) -> VipdOptions) -> Self {
        // The first election would take as long as the lease.
        let brisk = VipdOptions {
            deadratio: 3,
            ..patient(options(0))
        };
        let mut living = Self {
            hosts,
            first: Vipd::start(hosts[0], &brisk),
            second: Vipd::start(hosts[1], &patient(options(50))),
        };
        living.first.wait_for_lease(SOON);
        wait_for_master(&living.second, hosts[0].address());
        living.replace_master(&patient(options(0)));
        living
    }

    /// Restarts both with other options, the backup before the master.
    fn replace(&mut self, what: &str, options: impl Fn(u8) -> VipdOptions) {
        let before = stand(&self.first);
        assert!(self.second.terminate(SOON).success());
        self.second = Vipd::start(self.hosts[1], &patient(options(50)));
        wait_for_master(&self.second, self.hosts[0].address());
        // What the master has said since then is believed.
        wait_for_adverts(&self.second, 1);
        assert_eq!(stand(&self.first), before, "{what}");

        let before = stand(&self.second);
        self.replace_master(&patient(options(0)));
        assert_eq!(stand(&self.second), before, "{what}");
        assert_eq!(before[3], 1, "{what}: its start");
        assert_eq!(self.second.counter("adverts_sent"), 0, "{what}");
    }

    fn replace_master(&mut self, options: &VipdOptions) {
        assert!(self.first.terminate(SOON).success());
        self.first = Vipd::start(self.hosts[0], options);
        wait_for_adverts(&self.second, 2);
        let [role, reason, _, transitions] = stand(&self.first);
        assert_eq!((role, reason), ("master".into(), "resumed".into()));
        assert_eq!(transitions, 1);
    }
}

#[test]
fn the_password_is_changed_in_three_steps_and_nobody_notices() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let forger = Forger::start(&lab.host("forger", "10.99.0.66/24"));
    let mut living = Living::start([&n1, &n2], |advskew| signing("require", advskew));
    let census = Census::start(&client, VIP, RATE);
    census.wait_for_requests(100, SOON);
    let storms = storms(&forger, "require", &[&n1, &n2]);

    let (old, new) = ("secret", "another");
    for (step, (password, next, sign_with)) in [
        (old, Some(new), None),
        (old, Some(new), Some(1)),
        (new, None, None),
    ]
    .into_iter()
    .enumerate()
    {
        living.replace(&format!("step {step}"), |advskew| VipdOptions {
            password: password.to_owned(),
            keys: next.map(|next| (1, next.to_owned())).into_iter().collect(),
            sign_with,
            ..signing("require", advskew)
        });
        for vipd in [&living.first, &living.second] {
            assert_eq!(vipd.group()["key"], sign_with.unwrap_or(0));
        }
        wait_for_storms(&storms, 300);
    }
    // What the old password signed is worth nothing to anybody now.
    for vipd in [&living.first, &living.second] {
        wait_until("what is signed with the old password", SOON, || {
            (vipd.counter("bad_digest") > 0).then_some(())
        });
        wait_for_verdicts(vipd);
    }
    let unmoved = [stand(&living.first), stand(&living.second)];
    wait_for_storms(&storms, 2000);
    assert_eq!([stand(&living.first), stand(&living.second)], unmoved);
    assert_served(&census.finish());
}

#[test]
fn signatures_are_brought_to_a_living_pair_and_nobody_notices() {
    let lab = Lab::new();
    let (n1, n2, client) = pair(&lab);
    let forger = Forger::start(&lab.host("forger", "10.99.0.66/24"));
    let mut living = Living::start([&n1, &n2], |advskew| signing("off", advskew));
    let census = Census::start(&client, VIP, RATE);
    census.wait_for_requests(100, SOON);
    assert_eq!(living.first.counter("introductions"), 0);

    living.replace("send", |advskew| signing("send", advskew));
    // From here on hosts are believed by their signatures, and what they have sent
    // without is not.
    let storms = storms(&forger, "send", &[&n1, &n2]);
    wait_for_storms(&storms, 300);
    living.replace("require", |advskew| signing("require", advskew));
    wait_for_storms(&storms, 300);
    for vipd in [&living.first, &living.second] {
        assert_eq!(vipd.group()["auth"], "require");
        wait_for_verdicts(vipd);
    }
    let unmoved = [stand(&living.first), stand(&living.second)];
    wait_for_storms(&storms, 2000);
    assert_eq!([stand(&living.first), stand(&living.second)], unmoved);
    assert_served(&census.finish());
}
