use super::*;
use crate::carp::Reason;
use crate::config::HookArguments;

const START: Instant = Instant::from_nanos(1_000_000_000_000);

fn hook(program: &str, on: &[HookEvent], gate: bool) -> HookConfig {
    HookConfig {
        command: format!("/etc/vipd/hooks/{program}").into(),
        args: Vec::new(),
        on: on.to_vec(),
        arguments: HookArguments::Vipd,
        xparam: None,
        timeout: HookConfig::DEFAULT_TIMEOUT,
        gate,
        privileged: false,
    }
}

fn change(from: Role, to: Role) -> Transition {
    Transition {
        from,
        to,
        reason: Reason::Preempt,
        master: None,
    }
}

/// A group, and what became of it, as one line of words.
struct Story {
    turns: Turns,
    token: u64,
    role: Role,
    now: Instant,
    heard: Vec<String>,
    /// Whether the master it hears is well.
    master_well: bool,
}

impl Story {
    fn new(hooks: Vec<HookConfig>) -> Self {
        let mut turns = Turns::default();
        assert_eq!(turns.configure(hooks), []);
        Self {
            turns,
            token: 0,
            role: Role::Init,
            now: START,
            heard: Vec::new(),
            master_well: true,
        }
    }

    fn become_role(&mut self, to: Role) -> &mut Self {
        self.turns.change(change(self.role, to), self.now);
        self.role = to;
        self.begin()
    }

    fn begin(&mut self) -> &mut Self {
        if let Some(turn) = self.turns.begin(self.token + 1) {
            self.token += 1;
            let role = turn.change.to.as_str();
            self.heard.push(format!("{}:{role}", name(&turn.hook)));
        }
        self
    }

    fn end(&mut self, end: End) -> &mut Self {
        let (_, verdict) = self.turns.end(self.token, end, self.now).expect("one runs");
        self.note(verdict.into_iter().collect());
        self.begin()
    }

    fn pass(&mut self, time: Duration) -> &mut Self {
        self.now = self.now + time;
        let verdicts = self.turns.fire(self.master_well, self.now);
        self.note(verdicts);
        self.begin()
    }

    fn note(&mut self, verdicts: Vec<Verdict>) {
        self.heard
            .extend(verdicts.into_iter().map(|verdict| match verdict {
                Verdict::Closed(name) => format!("-{name}"),
                Verdict::Open(name) => format!("+{name}"),
            }));
    }

    /// What happened since the last question.
    #[track_caller]
    fn tells(&mut self, expected: &str) -> &mut Self {
        assert_eq!(self.heard.join(" "), expected);
        self.heard.clear();
        self
    }
}

use End::{Failure, Success, Timeout};
use Role::{Backup, Init, Master};

fn up_and_down() -> Vec<HookConfig> {
    vec![
        hook("up", &[HookEvent::Master], false),
        hook("down", &[HookEvent::Backup, HookEvent::Init], false),
        hook("log", &[HookEvent::Master, HookEvent::Backup], false),
    ]
}

#[test]
fn the_hooks_of_a_change_run_one_after_the_other_in_their_order() {
    Story::new(up_and_down())
        .become_role(Backup)
        .tells("down:backup")
        .end(Success)
        .tells("log:backup")
        .end(Failure)
        .tells("")
        .become_role(Master)
        .tells("up:master")
        .end(Timeout)
        .tells("log:master")
        .end(Success)
        .become_role(Init)
        .tells("down:init")
        .end(Success)
        .tells("");
}

#[test]
fn while_one_runs_only_the_latest_change_is_remembered() {
    let mut story = Story::new(up_and_down());
    story.become_role(Master).tells("up:master");
    for role in [Backup, Master, Backup, Master, Backup] {
        story.become_role(role).tells("");
    }
    story.end(Success).tells("down:backup");
    story.end(Success).tells("log:backup");
    story.end(Success).tells("");
    assert!(story.turns.is_idle());
    // The log of the first, and two of each of the four between.
    assert_eq!(story.turns.counters().outdated, 9);
    assert_eq!(story.turns.counters().runs, 3);
}

#[test]
fn each_end_is_counted_as_what_it_is() {
    let mut story = Story::new(vec![hook("up", &[HookEvent::Master], false)]);
    for end in [Success, Failure, Timeout, Timeout] {
        story.become_role(Master).end(end);
    }
    let counters = story.turns.counters();
    let expected = Counters {
        runs: 4,
        failures: 1,
        timeouts: 2,
        outdated: 0,
    };
    assert_eq!(counters, expected);
    assert_eq!(story.turns.end(99, Success, START), None, "none runs");
}

fn gate() -> Vec<HookConfig> {
    vec![hook("gate", &[HookEvent::Master], true)]
}

#[test]
fn a_gate_that_fails_demotes_until_it_has_succeeded() {
    for failure in [Failure, Timeout] {
        Story::new(gate())
            .become_role(Master)
            .tells("gate:master")
            .end(failure)
            .tells("-gate")
            .pass(HOLD - Duration::from_nanos(1))
            .tells("")
            .pass(Duration::from_nanos(1))
            .tells("gate:master")
            .end(failure)
            .tells("-gate")
            .pass(HOLD)
            .tells("")
            .pass(HOLD)
            .tells("gate:master")
            .end(Success)
            .tells("+gate")
            .pass(LONGEST_HOLD)
            .tells("");
    }
}

#[test]
fn a_backup_whose_gate_failed_counts_as_well_again_after_a_hold() {
    Story::new(gate())
        .become_role(Master)
        .end(Failure)
        .tells("gate:master -gate")
        .become_role(Backup)
        .pass(HOLD - Duration::from_nanos(1))
        .tells("")
        .pass(Duration::from_nanos(1))
        .tells("+gate")
        .pass(LONGEST_HOLD)
        .tells("")
        // The next hold is longer.
        .become_role(Master)
        .end(Failure)
        .tells("gate:master -gate")
        .become_role(Backup)
        .pass(HOLD)
        .tells("")
        .pass(HOLD)
        .tells("+gate");
}

#[test]
fn a_backup_stays_demoted_for_as_long_as_its_master_is() {
    let mut story = Story::new(gate());
    story.become_role(Master).end(Failure).become_role(Backup);
    story.tells("gate:master -gate");
    story.master_well = false;
    for _ in 0..100 {
        story.pass(HOLD).tells("");
    }
    story.master_well = true;
    story.pass(HOLD).tells("+gate");
}

#[test]
fn a_gate_that_a_backup_left_closed_is_tried_by_the_next_master() {
    Story::new(gate())
        .become_role(Master)
        .end(Failure)
        .become_role(Backup)
        .become_role(Master)
        .tells("gate:master -gate gate:master")
        .end(Success)
        .tells("+gate");
}

#[test]
fn without_a_link_no_hold_runs() {
    Story::new(gate())
        .become_role(Master)
        .end(Failure)
        .become_role(Init)
        .tells("gate:master -gate")
        .pass(LONGEST_HOLD)
        .tells("")
        .become_role(Backup)
        .pass(HOLD)
        .tells("+gate");
}

#[test]
fn a_gate_that_fails_after_the_role_is_gone_says_nothing() {
    Story::new(gate())
        .become_role(Master)
        .become_role(Backup)
        .end(Failure)
        .tells("gate:master");
}

#[test]
fn the_hold_grows_to_its_bound_and_no_further() {
    let mut story = Story::new(gate());
    story.become_role(Master);
    for _ in 0..100 {
        story.end(Failure).pass(LONGEST_HOLD);
    }
    assert_eq!(story.turns.counters().runs, 100);
}

#[test]
fn another_configuration_opens_gates_that_are_gone_and_forgets_what_is_due() {
    let mut story = Story::new([gate(), up_and_down()].concat());
    story
        .become_role(Master)
        .end(Failure)
        .tells("gate:master -gate up:master");
    assert_eq!(
        story.turns.configure(up_and_down()),
        [Verdict::Open("gate".to_owned())]
    );
    assert_eq!(story.turns.configure(gate()), []);
    story.end(Success).tells("");
    assert!(story.turns.is_idle());
    // It is asked at the next change, not at once.
    story.become_role(Master).tells("gate:master");
}

#[test]
fn a_hook_is_named_after_its_program_and_its_own_arguments() {
    let plain = hook("up", &[HookEvent::Master], false);
    assert_eq!(name(&plain), "up");
    let with = HookConfig {
        args: vec!["web".to_owned(), "fast".to_owned()],
        ..plain
    };
    assert_eq!(name(&with), "up web fast");
}
