//! Every input in every state, as a table.

use super::*;

/// A host with 1 s + 128/256 s, ratio 3 and preempt: it waits 3.5 s by itself,
/// 0.5 s to order it among backups, and advertises every 1.5 s. The states were
/// entered 100 ms before the input:
///
/// - `listening`: has heard nobody
/// - `following`: has heard H (loses ties) with 1 + 64/256
/// - `preempting`: has heard H with 1 + 192/256
/// - `resigned`: has heard H bow out
/// - `master`
///
/// Of the inputs, `H` is an advert from that host and `L` one from another that
/// wins ties; `slow` is 4 + 0, more than this host waits; `due` is the deadline
/// when it was asked for and `late` 1 ns more than an interval after.
///
/// What follows is the role, the outcome (`-` for nothing, a reason for a
/// change) and the next timeout in milliseconds from the input.
const TABLE: &str = "
init       start     backup start           3500
init       halt      init   -               -
init       step_down init   -               -
init       lapse     init   -               -
init       early     init   -               -
init       due       init   -               -
init       late      init   -               -
init       H_better  init   -               -
init       H_equal   init   -               -
init       H_worse   init   -               -
init       H_slow    init   -               -
init       H_bow_out init   -               -
init       L_better  init   -               -
init       L_equal   init   -               -
init       L_worse   init   -               -
init       L_slow    init   -               -
init       L_bow_out init   -               -
listening  start     backup -               3400
listening  halt      init   link_down       -
listening  step_down backup -               3400
listening  lapse     backup -               3400
listening  early     backup -               3400
listening  due       master master_timeout  1500
listening  late      backup -               3500
listening  H_better  backup -               4250
listening  H_equal   backup -               5000
listening  H_worse   backup -               500
listening  H_slow    backup -               500
listening  H_bow_out backup -               3400
listening  L_better  backup -               4250
listening  L_equal   backup -               5000
listening  L_worse   backup -               500
listening  L_slow    backup -               500
listening  L_bow_out backup -               3400
following  start     backup -               4150
following  halt      init   link_down       -
following  step_down backup -               4150
following  lapse     backup -               4150
following  early     backup -               4150
following  due       master master_timeout  1500
following  late      backup -               1500
following  H_better  backup -               4250
following  H_equal   backup -               5000
following  H_worse   backup -               500
following  H_slow    backup -               500
following  H_bow_out backup -               500
following  L_better  backup -               4250
following  L_equal   backup -               5000
following  L_worse   backup -               5750
following  L_slow    backup -               3500
following  L_bow_out backup -               4150
preempting start     backup -               400
preempting halt      init   link_down       -
preempting step_down backup -               400
preempting lapse     backup -               400
preempting early     backup -               400
preempting due       master preempt         1500
preempting late      backup -               1750
preempting H_better  backup -               4250
preempting H_equal   backup -               5000
preempting H_worse   backup -               400
preempting H_slow    backup -               400
preempting H_bow_out backup -               400
preempting L_better  backup -               4250
preempting L_equal   backup -               5000
preempting L_worse   backup -               5750
preempting L_slow    backup -               3500
preempting L_bow_out backup -               400
resigned   start     backup -               400
resigned   halt      init   link_down       -
resigned   step_down backup -               400
resigned   lapse     backup -               400
resigned   early     backup -               400
resigned   due       master master_resigned 1500
resigned   late      backup -               1500
resigned   H_better  backup -               4250
resigned   H_equal   backup -               5000
resigned   H_worse   backup -               400
resigned   H_slow    backup -               400
resigned   H_bow_out backup -               400
resigned   L_better  backup -               4250
resigned   L_equal   backup -               5000
resigned   L_worse   backup -               5750
resigned   L_slow    backup -               3500
resigned   L_bow_out backup -               400
master     start     master -               1400
master     halt      init   link_down       -
master     step_down backup step_down       6500
master     lapse     backup lease_expired   3500
master     early     master -               1400
master     due       master advertise       1500
master     late      master advertise       1500
master     H_better  backup better_master   4250
master     H_equal   master challenged      1400
master     H_worse   master challenged      1400
master     H_slow    master challenged      1400
master     H_bow_out master yielded         1400
master     L_better  backup better_master   4250
master     L_equal   backup tie_lost        5000
master     L_worse   master challenged      1400
master     L_slow    master challenged      1400
master     L_bow_out master yielded         1400
";

const STATES: [&str; 6] = [
    "init",
    "listening",
    "following",
    "preempting",
    "resigned",
    "master",
];

const INPUTS: [&str; 17] = [
    "start",
    "halt",
    "step_down",
    "lapse",
    "early",
    "due",
    "late",
    "H_better",
    "H_equal",
    "H_worse",
    "H_slow",
    "H_bow_out",
    "L_better",
    "L_equal",
    "L_worse",
    "L_slow",
    "L_bow_out",
];

fn given(state: &str) -> Election {
    let config = config(1, 128, true);
    match state {
        "init" => Election::new(config),
        "listening" => listening(config, T0),
        "following" => following(config, peer(HIGHER, 1, 64), T0),
        "preempting" => following(config, peer(HIGHER, 1, 192), T0),
        "resigned" => resigned(config, T0),
        "master" => master(config, T0),
        other => panic!("no state {other}"),
    }
}

/// Hands in one input; returns its moment and what came of it.
fn apply(election: &mut Election, input: &str) -> (Instant, Outcome) {
    let now = T0 + ms(100);
    let due = election.poll_timeout().unwrap_or(now);
    let late = due + ms(1500) + NANOSECOND;
    let outcome = match input {
        "start" => election.start(Reason::Start, now),
        "halt" => election.halt(Reason::LinkDown),
        "step_down" => election.step_down(now),
        "lapse" => election.lapse(Reason::LeaseExpired, now),
        "early" => election.deadline(now),
        "due" => return (due, election.deadline(due)),
        "late" => return (late, election.deadline(late)),
        advert => {
            let (from, rank) = advert.split_once('_').unwrap();
            let address = if from == "H" { HIGHER } else { LOWER };
            let heard = match rank {
                "better" => peer(address, 1, 64),
                "equal" => peer(address, 1, 128),
                "worse" => peer(address, 1, 192),
                "slow" => peer(address, 4, 0),
                "bow_out" => bow_out(address),
                other => panic!("no input {other}"),
            };
            election.advert(heard, now)
        }
    };
    (now, outcome)
}

#[test]
fn every_input_in_every_state_has_its_row() {
    let rows: Vec<Vec<&str>> = TABLE
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| line.split_whitespace().collect())
        .collect();
    let covered: Vec<_> = rows.iter().map(|row| (row[0], row[1])).collect();
    let pairs: Vec<_> = STATES
        .iter()
        .flat_map(|state| INPUTS.iter().map(move |input| (*state, *input)))
        .collect();
    assert_eq!(covered, pairs, "the table is complete");

    for row in rows {
        let mut election = given(row[0]);
        let before = election.role();

        let (now, outcome) = apply(&mut election, row[1]);

        let named = match outcome {
            Outcome::Nothing => "-",
            Outcome::Advertise => "advertise",
            Outcome::Challenged => "challenged",
            Outcome::Yielded => "yielded",
            Outcome::Worsened => "worsened",
            Outcome::Changed(transition) => {
                assert_eq!(transition.from, before, "{row:?}");
                assert_eq!(transition.to, election.role(), "{row:?}");
                transition.reason.as_str()
            }
        };
        let timeout = match election.poll_timeout() {
            Some(at) => {
                assert!(at >= now, "{row:?}: asked for a moment that is over");
                at.since(now).as_millis().to_string()
            }
            None => "-".to_string(),
        };
        let result = [election.role().as_str(), named, timeout.as_str()];
        assert_eq!(result, row[2..], "{row:?}");
    }
}
