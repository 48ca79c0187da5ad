use super::*;

const START: Instant = Instant::from_nanos(1_000_000_000_000);

/// Asked once, and then in an hour.
fn check(name: &str) -> CheckConfig {
    CheckConfig {
        name: name.to_owned(),
        probe: Probe::Command {
            argv: vec!["/nonexistent/check".to_owned()],
        },
        interval: Duration::from_secs(3600),
        timeout: Duration::from_secs(1),
        rise: 2,
        fall: 3,
        effect: FailEffect::Demote(100),
    }
}

fn track(interface: &str, effect: FailEffect) -> TrackConfig {
    TrackConfig {
        interface: interface.to_owned(),
        effect,
    }
}

/// As a log line would tell them.
fn words(changes: impl IntoIterator<Item = Change>) -> String {
    let words = changes.into_iter().map(|change| match change {
        Change::Set {
            effect: FailEffect::GiveUp,
            text,
            ..
        } => format!("! {text}"),
        Change::Set {
            effect: FailEffect::Demote(demotion),
            text,
            ..
        } => format!("-{demotion} {text}"),
        Change::Clear { cause } => format!("+ {cause}"),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// The checks and links of `web`, and what follows.
fn configure(health: &mut Health, checks: &[CheckConfig], new: Verdict) -> String {
    words(health.configure("web", checks.to_vec(), Vec::new(), new, START))
}

/// An answer of a check of `web`; what follows.
fn answer(health: &mut Health, name: &str, result: Result<(), &str>) -> String {
    let checks = &health.groups["web"].checks;
    let check = checks.iter().find(|check| check.config.name == name);
    let id = check.expect("it is configured").id;
    let result = result.map_err(str::to_owned);
    let changes = health.hear(Answer { id, result }, START);
    words(changes.map(|(group, change)| {
        assert_eq!(group, "web");
        change
    }))
}

#[test]
fn a_check_of_a_fresh_group_holds_it_back_until_its_first_answer() {
    let mut health = Health::new();
    let said = configure(&mut health, &[check("a"), check("b")], Verdict::Unknown);
    assert_eq!(
        said,
        "-100 check a has not been answered yet, -100 check b has not been answered yet"
    );
    assert_eq!(answer(&mut health, "a", Ok(())), "+ check a");
    assert_eq!(answer(&mut health, "a", Ok(())), "");
    assert_eq!(
        answer(&mut health, "b", Err("refused")),
        "-100 check b fails: refused"
    );
}

#[test]
fn a_check_of_a_group_that_goes_on_must_fail_as_often_as_any() {
    let mut health = Health::new();
    assert_eq!(configure(&mut health, &[check("a")], Verdict::Passing), "");
    for _ in 0..2 {
        assert_eq!(answer(&mut health, "a", Err("refused")), "");
    }
    // The status tells of the first failure.
    let status = &health.status("web")[0];
    assert_eq!((&*status.state, &*status.text), ("passing", "refused"));
    let failing = "-100 check a fails: refused";
    assert_eq!(answer(&mut health, "a", Err("refused")), failing);
    // Other words are told, too.
    let late = "-100 check a fails: no answer";
    assert_eq!(answer(&mut health, "a", Err("no answer")), late);
    assert_eq!(answer(&mut health, "a", Ok(())), "");
    assert_eq!(answer(&mut health, "a", Ok(())), "+ check a");
}

#[test]
fn what_did_not_change_goes_on_as_it_is() {
    let mut health = Health::new();
    configure(&mut health, &[check("a"), check("b")], Verdict::Unknown);
    answer(&mut health, "a", Err("refused"));
    answer(&mut health, "b", Err("refused"));
    let before = health.groups["web"].checks[0].id;
    let other = CheckConfig {
        fall: 1,
        ..check("b")
    };
    let said = configure(&mut health, &[other, check("a")], Verdict::Passing);
    assert_eq!(said, "+ check b");
    let checks = &health.groups["web"].checks;
    assert_eq!(checks[1].id, before);
    assert_eq!(checks[1].judge.verdict(), Verdict::Failing);
    assert_eq!(checks[0].judge.verdict(), Verdict::Passing);
    assert_eq!(
        configure(&mut health, &[], Verdict::Passing),
        "+ check b, + check a"
    );
    // What was under way comes too late.
    let id = before;
    assert_eq!(health.hear(Answer { id, result: Ok(()) }, START), None);
}

#[test]
fn a_link_that_is_down_or_gone_is_a_cause_for_all_who_depend_on_it() {
    let mut health = Health::new();
    let (demote, give_up) = (FailEffect::Demote(240), FailEffect::GiveUp);
    let set = |health: &mut Health, group, tracks| {
        words(health.configure(group, Vec::new(), tracks, Verdict::Unknown, START))
    };
    assert_eq!(set(&mut health, "web", vec![track("eth1", demote)]), "");
    assert_eq!(set(&mut health, "mail", vec![track("eth1", give_up)]), "");
    assert_eq!(health.status("web")[0].state, "unknown");
    let hear = |health: &mut Health, name: &str, state| {
        let changes = health.hear_link(name, state, START);
        words(changes.into_iter().map(|(_, change)| change))
    };
    assert_eq!(
        hear(&mut health, "eth1", LinkState::Down),
        "! link eth1 is down, -240 link eth1 is down"
    );
    assert_eq!(hear(&mut health, "eth1", LinkState::Down), "");
    assert_eq!(hear(&mut health, "eth2", LinkState::Gone), "");
    assert_eq!(
        hear(&mut health, "eth1", LinkState::Gone),
        "! link eth1 is gone, -240 link eth1 is gone"
    );
    // Who comes to depend on it is told at once.
    assert_eq!(
        set(&mut health, "web", vec![track("eth2", demote)]),
        "+ link eth1, -240 link eth2 is gone"
    );
    assert_eq!(hear(&mut health, "eth1", LinkState::Up), "+ link eth1");
    assert_eq!(health.status("mail")[0].state, "passing");
}
