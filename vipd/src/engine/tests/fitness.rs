//! What is said and done when a host is more or less fit.

use super::*;

fn fit(demotion: u8, withheld: bool) -> Input<'static> {
    Input::Fitness {
        group: G0,
        fitness: Fitness { demotion, withheld },
    }
}

fn parsed(steps: &[Step]) -> Vec<Advertisement> {
    let is_advert = |step: &&Step| step.words.starts_with("advert");
    let parse = |step: &Step| Advertisement::parse(&step.frame[14..]).unwrap().1;
    steps.iter().filter(is_advert).map(parse).collect()
}

fn with_skew(advskew: u8, policy: Policy) -> GroupConfig {
    GroupConfig {
        timing: timing(1, advskew, 3),
        auth: Auth::new(Key::from_passphrase(b"secret").unwrap(), policy),
        ..group()
    }
}

#[test]
fn a_demotion_is_in_byte_four_and_in_the_advskew_and_what_it_hides_goes_with_it() {
    for policy in [Policy::Off, Policy::Send, Policy::Require] {
        let mut daemon = Daemon::listening(vec![with_skew(50, policy)]);
        daemon.advance(ms(4000));
        for (demotion, shown, hidden) in
            [(100, 150, 50), (240, 240, 50), (255, 240, 50), (0, 50, 0)]
        {
            daemon.handle(fit(demotion, false));
            let adverts = parsed(&daemon.advance(ms(3000)));

            assert!(adverts.len() >= 2);
            for advert in adverts {
                let said = (advert.demote, advert.interval, advert.hidden_advskew);
                assert_eq!(said, (demotion, Interval::new(1, shown), hidden));
                assert_eq!(advert.configured(), Interval::new(1, 50));
            }
            assert_eq!(daemon.view(G0).fitness.demotion, demotion);
        }
        let last_words = daemon.handle(Input::StepDown { group: None });
        assert_eq!(count(&last_words, "bow-out 255/255"), 2);
    }
}

#[test]
fn a_master_that_gets_worse_says_so_at_once_and_not_without_end() {
    let mut daemon = Daemon::master();
    daemon.advance(ms(500));

    let worse = daemon.handle(fit(1, false));
    assert_eq!(words(&worse), ["advert 1/1", "lease"]);
    let mut said = 0;
    for n in 0..2000 {
        said += count(&daemon.handle(fit((n % 2) as u8 * 200, false)), "advert");
        said += count(&daemon.advance(ms(1)), "advert");
    }
    assert!((15..=23).contains(&said), "{said} in two seconds");
    let better = daemon.handle(fit(0, false));
    assert!(better.is_empty(), "{better:?}");
}

#[test]
fn a_backup_says_nothing_of_its_fitness() {
    let mut daemon = Daemon::listening(vec![group()]);

    for (demotion, withheld) in [(100, false), (0, true), (0, false)] {
        let steps = daemon.handle(fit(demotion, withheld));
        assert!(steps.is_empty(), "{steps:?}");
    }
}

#[test]
fn a_withheld_host_gives_the_role_up_and_has_it_again_after_listening() {
    let mut daemon = Daemon::master();

    let steps = daemon.handle(fit(0, true));
    assert_eq!(
        words(&steps),
        [
            "silence",
            "bow-out 255/255",
            "bow-out 255/255",
            "log master to backup: unfit"
        ]
    );
    let alone = daemon.advance(ms(600_000));
    assert_eq!(words(&alone), ["remove"], "it is withheld for all that");
    assert!(daemon.view(G0).would_be_master);

    let now = daemon.now;
    daemon.handle(fit(0, false));
    let steps = daemon.advance(ms(10_000));
    let changed = steps.iter().find(|step| step.words.starts_with("log"));
    assert_eq!(changed.map(|step| step.at), Some(now + ms(3000)));
    assert!(!daemon.view(G0).would_be_master);
}

#[test]
fn a_daemon_that_is_started_anew_and_withheld_gives_the_lease_up() {
    let mut daemon = Daemon::new(vec![group()]);
    daemon.handle(fit(0, true));
    daemon.handle(Input::Adopt {
        group: G0,
        until: T0 + ms(2000),
        session: Session(7),
    });

    let steps = daemon.link(ETH0, up(ETH0));

    let words = words(&steps);
    let silence = words.iter().position(|word| *word == "silence").unwrap();
    assert_eq!(words[silence + 1..=silence + 2], ["bow-out 255/255"; 2]);
    assert!(!words.iter().any(|word| word.starts_with("request")));
    assert_eq!(daemon.role(G0), Role::Backup);
}

#[test]
fn a_startup_delay_does_not_end_a_lease_that_is_gone_on_with() {
    let config = GroupConfig {
        startup_delay: ms(60_000),
        ..group()
    };
    let mut daemon = Daemon::new(vec![config]);
    daemon.handle(Input::Adopt {
        group: G0,
        until: T0 + ms(2000),
        session: Session(7),
    });
    daemon.link(ETH0, up(ETH0));

    daemon.advance(ms(10_000));

    assert_eq!(daemon.role(G0), Role::Master);
    assert!(daemon.lease() > Some(daemon.now));
}

#[test]
fn the_startup_delay_counts_from_the_daemons_start_and_not_from_the_link() {
    let config = GroupConfig {
        startup_delay: ms(20_000),
        ..group()
    };
    let mut daemon = Daemon::new(vec![config]);
    let down = Link {
        up: false,
        ..up(ETH0)
    };
    daemon.link(ETH0, down);
    daemon.advance(ms(18_000));
    daemon.link(ETH0, up(ETH0));

    daemon.advance(ms(2999));
    assert_eq!(daemon.role(G0), Role::Backup);
    daemon.advance(ms(1));
    assert_eq!(
        daemon.role(G0),
        Role::Master,
        "three seconds after the link"
    );
}

#[test]
fn a_fitter_host_takes_over_from_a_vipd_host_and_answers_when_that_one_is_silent() {
    let mut daemon = Daemon::listening(vec![with_skew(50, Policy::Off)]);
    let mut master = Neighbour {
        is_vipd: true,
        ..Neighbour::new(HIGHER)
    };
    daemon.hear(&master.advert(1, 0));
    daemon.advance(ms(1000));

    daemon.hear(&master.demoted(1, 0, 100));
    let claim = daemon.advance(ms(500));
    assert_eq!(words(&claim), ["advert 1/50", "place"]);
    assert_eq!(daemon.lease(), None, "the other may still answer");

    let farewell = daemon.hear(&master.advert(1, 255));
    let log = "log backup to master: master_demoted";
    assert_eq!(
        words(&farewell),
        ["lease", "request 10.0.0.100", "reply 10.0.0.100", log]
    );
}

#[test]
fn what_a_legacy_host_has_in_byte_four_is_nobodys_business() {
    let mut daemon = Daemon::listening(vec![group()]);
    let mut master = Neighbour::new(HIGHER);

    for _ in 0..5 {
        daemon.hear(&master.demoted(1, 0, 255));
        daemon.advance(ms(1000));
    }

    assert_eq!(daemon.role(G0), Role::Backup);
}

#[test]
fn an_operators_announcement_is_for_who_answers_and_is_limited_as_others_are() {
    let announce = Input::Announce { group: G0 };
    let mut daemon = Daemon::listening(vec![group()]);
    assert!(daemon.handle(announce).is_empty(), "a backup");

    daemon.advance(ms(20_000));
    let before = daemon.view(G0).counters.announcements;
    let mut steps = Vec::new();
    for _ in 0..1000 {
        steps.extend(daemon.handle(announce));
    }

    assert_eq!(
        words(&steps),
        ["request 10.0.0.100", "reply 10.0.0.100"].repeat(3)
    );
    assert_eq!(daemon.view(G0).counters.announcements, before + 6);
}

#[test]
fn a_promoted_host_preempts_and_a_master_or_a_better_ones_backup_does_not() {
    let mut daemon = Daemon::listening(vec![group()]);
    let mut master = Neighbour::new(HIGHER);
    daemon.hear(&master.advert(1, 100));
    daemon.advance(ms(1000));

    assert!(daemon.handle(Input::Promote { group: G0 }).is_empty());
    daemon.hear(&master.advert(1, 100));
    let steps = daemon.advance(ms(0));
    assert_eq!(count(&steps, "log backup to master: preempt"), 1);
    assert!(daemon.handle(Input::Promote { group: G0 }).is_empty());
}

#[test]
fn nothing_of_this_happens_to_a_group_that_there_is_not() {
    let mut daemon = Daemon::master();
    let group = GroupId(7);
    let fitness = Fitness {
        demotion: 9,
        withheld: true,
    };
    for input in [
        Input::Fitness { group, fitness },
        Input::Promote { group },
        Input::Announce { group },
    ] {
        assert!(daemon.handle(input).is_empty());
    }
    assert_eq!(daemon.view(G0).fitness, Fitness::WELL);
}

/// Two groups on two interfaces, tied, and master of both.
fn tied(preempt: bool) -> Daemon {
    let with = |group: GroupConfig| GroupConfig {
        tie: Some("router".to_owned()),
        preempt,
        ..group
    };
    let other = GroupConfig {
        name: "eth1-8".to_owned(),
        interface: ETH1,
        vhid: vhid(8),
        ..group()
    };
    let mut daemon = Daemon::listening(vec![with(group()), with(other)]);
    daemon.advance(ms(10_500));
    assert_eq!([G0, G1].map(|id| daemon.role(id)), [Role::Master; 2]);
    daemon
}

fn demotions(daemon: &Daemon) -> [u8; 2] {
    [G0, G1].map(|id| daemon.view(id).fitness.demotion)
}

#[test]
fn a_group_whose_link_is_down_demotes_its_tie_at_once() {
    let mut daemon = tied(false);
    let down = Link {
        up: false,
        ..up(ETH1)
    };

    let steps = daemon.link(ETH1, down);

    let of_other: Vec<&str> = steps
        .iter()
        .filter(|step| step.group == G0)
        .map(|step| step.words.as_str())
        .collect();
    assert_eq!(of_other, ["advert 1/240", "lease"]);
    assert_eq!(demotions(&daemon), [240, 0]);
    daemon.link(ETH1, up(ETH1));
    assert_eq!(demotions(&daemon), [0, 0]);
}

#[test]
fn tied_groups_share_the_worst_demotion_and_not_what_withholds_one() {
    let mut daemon = tied(false);
    let fit = |daemon: &mut Daemon, group, demotion, withheld| {
        let fitness = Fitness { demotion, withheld };
        daemon.handle(Input::Fitness { group, fitness });
        demotions(daemon)
    };
    assert_eq!(fit(&mut daemon, G0, 30, false), [30, 30]);
    assert_eq!(fit(&mut daemon, G1, 100, false), [100, 100]);
    assert_eq!(fit(&mut daemon, G1, 0, true), [240, 30]);
    assert_eq!(daemon.role(G0), Role::Master);
    assert_eq!(daemon.role(G1), Role::Backup);
    assert!(!daemon.view(G0).fitness.withheld);
    assert_eq!(fit(&mut daemon, G1, 0, false), [30, 30]);
    assert_eq!(fit(&mut daemon, G0, 0, false), [0, 0]);
}

#[test]
fn a_link_that_nobody_has_told_of_yet_demotes_no_group_of_its_tie() {
    // A daemon that goes on with two leases is told of its links one by one.
    let until = T0 + ms(2000);
    let mut anew = Daemon::new(vec![
        GroupConfig {
            tie: Some("router".to_owned()),
            ..group()
        },
        GroupConfig {
            tie: Some("router".to_owned()),
            interface: ETH1,
            ..group()
        },
    ]);
    for group in [G0, G1] {
        let session = Session(7);
        anew.handle(Input::Adopt {
            group,
            until,
            session,
        });
    }

    let first = anew.link(ETH0, up(ETH0));
    assert_eq!(parsed(&first).first().map(|advert| advert.demote), Some(0));
    anew.link(ETH1, up(ETH1));
    assert_eq!([G0, G1].map(|id| anew.role(id)), [Role::Master; 2]);
}

#[test]
fn the_operator_moves_a_tie_as_one() {
    let mut daemon = tied(false);

    daemon.handle(Input::StepDown { group: Some(G1) });

    assert_eq!([G0, G1].map(|id| daemon.role(id)), [Role::Backup; 2]);
    let worse = Neighbour::new(HIGHER).advert(1, 100);
    daemon.hear(&worse);
    daemon.handle(Input::Promote { group: G1 });
    daemon.hear(&Neighbour::new(HIGHER).advert(1, 100));
    let steps = daemon.advance(ms(0));
    assert_eq!(count(&steps, "log backup to master: preempt"), 1);
}

#[test]
fn the_end_of_the_daemon_is_no_reason_to_tell_others_of_a_broken_tie() {
    let mut daemon = tied(false);

    let steps = daemon.handle(Input::Shutdown);

    assert_eq!(count(&steps, "advert"), 0);
    assert_eq!(count(&steps, "bow-out"), 4);
}
