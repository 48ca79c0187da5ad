//! Signed adverts between hosts, and what somebody can do who captures them.

use super::*;
use crate::carp::Keyring;

/// Two hosts of one group that hear each other.
struct Pair {
    hosts: [Daemon; 2],
    /// Every frame that crossed the wire, and who sent it.
    captured: Vec<(usize, Vec<u8>)>,
}

fn signing(policy: Policy, advskew: u8, preempt: bool) -> GroupConfig {
    GroupConfig {
        auth: Auth::new(Key::from_passphrase(b"secret").unwrap(), policy),
        timing: timing(1, advskew, 3),
        preempt,
        ..group()
    }
}

/// 10.0.0.5 and 10.0.0.6.
fn link_of(host: usize) -> Link {
    Link {
        up: true,
        mac: MacAddr([2, 0, 0, 0, 0, 5 + host as u8]),
        address: Some(Ipv4Addr::new(10, 0, 0, 5 + host as u8)),
    }
}

impl Pair {
    /// Both start at the same moment; the first is preferred.
    fn start(policies: [Policy; 2]) -> Self {
        Self::start_with(policies, |_| {
            Keyring::single(Key::from_passphrase(b"secret").unwrap())
        })
    }

    fn start_with(policies: [Policy; 2], keys: impl Fn(usize) -> Keyring) -> Self {
        let host = |h: usize| {
            let mut config = signing(policies[h], 50 * h as u8, true);
            config.auth.keys = keys(h);
            Daemon::seeded(vec![config], 1000 + h as u64)
        };
        let mut pair = Self {
            hosts: [host(0), host(1)],
            captured: Vec::new(),
        };
        for h in 0..2 {
            let steps = pair.hosts[h].link(ETH0, link_of(h));
            pair.carry(h, &steps);
        }
        pair
    }

    /// Brings what a host has sent to the other, and the answers back.
    fn carry(&mut self, from: usize, steps: &[Step]) {
        let mut on_the_way: VecDeque<(usize, Vec<u8>)> = VecDeque::new();
        let put = |way: &mut VecDeque<_>, from: usize, steps: &[Step]| {
            let frames = steps.iter().filter(|step| step.frame.len() > 60);
            way.extend(frames.map(|step| (from, step.frame.clone())));
        };
        put(&mut on_the_way, from, steps);
        for _ in 0..1000 {
            let Some((from, frame)) = on_the_way.pop_front() else {
                return;
            };
            self.captured.push((from, frame.clone()));
            let to = 1 - from;
            let steps = self.hosts[to].hear(&frame[14..]);
            put(&mut on_the_way, to, &steps);
        }
        panic!("they talk for ever");
    }

    /// Lets time pass in small steps, for both.
    fn advance(&mut self, duration: Duration) {
        let end = self.hosts[0].now + duration;
        while self.hosts[0].now < end {
            for h in 0..2 {
                let steps = self.hosts[h].advance(ms(1));
                self.carry(h, &steps);
            }
        }
    }

    fn roles(&self) -> [Role; 2] {
        [self.hosts[0].role(G0), self.hosts[1].role(G0)]
    }

    fn counters(&self, host: usize) -> GroupCounters {
        *self.hosts[host].view(G0).counters
    }
}

const MASTER_AND_BACKUP: [Role; 2] = [Role::Master, Role::Backup];

#[test]
fn hosts_that_sign_introduce_themselves_and_elect_one_master() {
    for policies in [
        [Policy::Send, Policy::Send],
        [Policy::Require, Policy::Require],
        [Policy::Send, Policy::Require],
        [Policy::Off, Policy::Send],
        [Policy::Send, Policy::Off],
    ] {
        let mut pair = Pair::start(policies);
        pair.advance(ms(10_000));
        assert_eq!(pair.roles(), MASTER_AND_BACKUP, "{policies:?}");
        assert_eq!(pair.counters(1).transitions, 1, "{policies:?}");
    }
}

/// What somebody can make of a captured frame who does not know the password; from
/// the IP header on, checksums mended.
fn forgeries(frame: &[u8]) -> Vec<Vec<u8>> {
    const IP: usize = 20;
    const CARP: usize = 56;
    let sum = |bytes: &[u8]| {
        let pairs = bytes.chunks(2);
        let sum: u32 = pairs
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        !((folded & 0xffff) + (folded >> 16)) as u16
    };
    let mended = |mut bytes: Vec<u8>| {
        bytes[10..12].fill(0);
        let ip = sum(&bytes[..IP]);
        bytes[10..12].copy_from_slice(&ip.to_be_bytes());
        bytes[IP + 6..IP + 8].fill(0);
        let carp = sum(&bytes[IP..CARP]);
        bytes[IP + 6..IP + 8].copy_from_slice(&carp.to_be_bytes());
        bytes
    };
    let whole = frame[14..].to_vec();
    let mut forged = vec![whole.clone()];
    // advskew, demotion, advbase, vhid; source; key, session, number.
    for (offset, value) in [
        (IP + 2, 0),
        (IP + 2, 255),
        (IP + 4, 1),
        (IP + 5, 0),
        (IP + 5, 255),
        (15, 77),
        (CARP + 8, 1),
        (CARP + 12, 1),
        (CARP + 20, 1),
    ] {
        let mut other = whole.clone();
        other[offset] = value;
        forged.push(mended(other));
    }
    let mut bow_out = whole.clone();
    (bow_out[IP + 2], bow_out[IP + 5]) = (255, 255);
    forged.push(mended(bow_out));
    let mut unsigned = whole;
    unsigned.truncate(CARP);
    unsigned[2..4].copy_from_slice(&(CARP as u16).to_be_bytes());
    forged.push(mended(unsigned.clone()));
    (unsigned[IP + 2], unsigned[IP + 5]) = (0, 0);
    forged.push(mended(unsigned));
    forged
}

#[test]
fn nothing_that_is_made_of_captured_frames_moves_a_role() {
    for policy in [Policy::Send, Policy::Require] {
        let mut pair = Pair::start([policy; 2]);
        pair.advance(ms(6_000));
        assert_eq!(pair.roles(), MASTER_AND_BACKUP);
        let captured = pair.captured.clone();
        let before = [0, 1].map(|h| pair.counters(h).transitions);
        for (_, frame) in &captured {
            for forged in forgeries(frame) {
                for h in 0..2 {
                    let steps = pair.hosts[h].hear(&forged);
                    pair.carry(h, &steps);
                }
            }
            pair.advance(ms(20));
            assert_eq!(pair.roles(), MASTER_AND_BACKUP, "{policy:?}");
        }
        assert_eq!([0, 1].map(|h| pair.counters(h).transitions), before);
        let counters = pair.counters(1);
        for (count, what) in [
            (counters.replayed, "replayed"),
            (counters.bad_signature, "bad signature"),
            (counters.unsigned_refused, "unsigned"),
        ] {
            assert!(count > 0, "{policy:?}: {what}");
        }
    }
}

#[test]
fn a_dead_master_is_not_kept_alive_by_what_it_once_sent() {
    let mut pair = Pair::start([Policy::Require; 2]);
    pair.advance(ms(6_000));
    let of_master = pair.captured.iter().filter(|(from, _)| *from == 0);
    let frames: Vec<Vec<u8>> = of_master.map(|(_, frame)| frame.clone()).collect();
    let mut waited = Duration::ZERO;
    while pair.hosts[1].role(G0) != Role::Master {
        for frame in &frames {
            for forged in forgeries(frame) {
                pair.hosts[1].hear(&forged);
            }
        }
        pair.hosts[1].advance(ms(100));
        waited += ms(100);
        // Three seconds and its skew, and the one hesitation.
        assert!(waited <= ms(3_500), "{:?}", pair.counters(1));
    }
}

#[test]
fn a_restarted_host_believes_nothing_that_was_sent_before() {
    let mut pair = Pair::start([Policy::Require; 2]);
    pair.advance(ms(6_000));
    let captured = pair.captured.clone();
    let mut host = Daemon::seeded(vec![signing(Policy::Require, 50, true)], 99);
    host.link(ETH0, link_of(1));
    for _ in 0..40 {
        for (_, frame) in &captured {
            for forged in forgeries(frame) {
                host.hear(&forged);
            }
        }
        host.advance(ms(100));
    }
    assert_eq!(host.role(G0), Role::Master, "nobody lives");
    assert_eq!(host.view(G0).counters.adverts_received, 0);
}

#[test]
fn a_host_that_has_signed_is_not_believed_unsigned_even_after_a_restart() {
    let mut pair = Pair::start([Policy::Send; 2]);
    pair.advance(ms(6_000));
    let mut config = signing(Policy::Send, 50, true);
    config.auth.signers = vec![Ipv4Addr::new(10, 0, 0, 5)];
    let mut host = Daemon::seeded(vec![config], 99);
    host.link(ETH0, link_of(1));
    let last = pair.captured.iter().rev().find(|(from, _)| *from == 0);
    let unsigned = forgeries(&last.unwrap().1).pop().unwrap();
    host.hear(&unsigned);
    let counters = host.view(G0).counters;
    assert_eq!(
        (counters.unsigned_refused, counters.adverts_received),
        (1, 0)
    );
}

/// Nobody else signs in this group, so that no list says of its address that it does.
#[test]
fn a_host_does_not_believe_its_own_address_unsigned() {
    for policy in [Policy::Send, Policy::Require] {
        let mut pair = Pair::start([policy; 2]);
        pair.advance(ms(6_000));
        let last = pair.captured.iter().rev().find(|(from, _)| *from == 0);
        // Better than the one that it was, from before a restart.
        let unsigned = forgeries(&last.unwrap().1).pop().unwrap();
        let mut host = Daemon::seeded(vec![signing(policy, 50, true)], 99);
        host.link(ETH0, link_of(0));
        host.advance(ms(4_000));
        assert_eq!(host.role(G0), Role::Master);
        host.hear(&unsigned);
        assert_eq!(host.role(G0), Role::Master, "{policy:?}");
        let counters = host.view(G0).counters;
        assert_eq!(
            (counters.unsigned_refused, counters.adverts_received),
            (1, 0)
        );
    }
}

#[test]
fn who_signs_for_the_first_time_is_to_be_remembered() {
    let mut daemon = Daemon::seeded(vec![signing(Policy::Send, 50, true)], 99);
    let mut other = Daemon::seeded(vec![signing(Policy::Send, 0, true)], 98);
    daemon.link(ETH0, link_of(1));
    let hello = other.link(ETH0, link_of(0));
    let question = hello.iter().find(|step| step.words == "introduce").unwrap();
    let steps = daemon.hear(&question.frame[14..]);
    assert_eq!(count(&steps, "remember 10.0.0.5"), 1);
    let steps = daemon.hear(&question.frame[14..]);
    assert_eq!(count(&steps, "remember"), 0);
}

#[test]
fn keys_are_changed_on_a_living_pair_without_a_change_of_role() {
    use crate::carp::KeyId;
    let ring = |ids: &[u8], signs: u8| {
        let key = |id: &u8| {
            let password = format!("password {id}");
            (
                KeyId(*id),
                Key::from_passphrase(password.as_bytes()).unwrap(),
            )
        };
        Keyring::new(ids.iter().map(key).collect(), KeyId(signs)).unwrap()
    };
    // The same password by another number.
    let key = Key::from_passphrase(b"password 2").unwrap();
    let renumbered = Keyring::new(vec![(KeyId(1), key)], KeyId(1)).unwrap();
    let steps = [
        ring(&[1], 1),
        ring(&[1, 2], 1),
        ring(&[1, 2], 2),
        ring(&[2], 2),
        renumbered,
    ];
    // The hosts are at the same step, or one step apart.
    for (one, other) in [
        (0, 0),
        (1, 0),
        (1, 1),
        (2, 1),
        (1, 2),
        (2, 2),
        (3, 2),
        (3, 3),
        (4, 2),
        (2, 4),
        (4, 3),
    ] {
        let mut pair = Pair::start_with([Policy::Require; 2], |h| {
            steps[if h == 0 { one } else { other }].clone()
        });
        pair.advance(ms(6_000));
        assert_eq!(pair.roles(), MASTER_AND_BACKUP, "{one} and {other}");
    }
}

#[test]
fn a_preferred_master_that_slept_is_back_as_soon_as_the_other_says_farewell() {
    let mut pair = Pair::start([Policy::Send; 2]);
    pair.advance(ms(6_000));
    assert_eq!(pair.roles(), MASTER_AND_BACKUP);
    // What is sent to it waits in its socket.
    let mut waiting = Vec::new();
    for _ in 0..5_000 {
        for step in pair.hosts[1].advance(ms(1)) {
            if step.frame.len() > 60 {
                waiting.push(step.frame);
            }
        }
    }
    assert_eq!(pair.hosts[1].role(G0), Role::Master);
    pair.hosts[0].stall(ms(5_000));
    for frame in waiting {
        let steps = pair.hosts[0].hear(&frame[14..]);
        pair.carry(0, &steps);
    }
    pair.advance(ms(100));
    assert_eq!(pair.roles(), MASTER_AND_BACKUP);
    let answers = |h: usize| pair.hosts[h].view(G0).lease.is_some();
    assert!(answers(0) && !answers(1));
}

#[test]
fn an_introduction_that_could_not_be_sent_is_owed() {
    let mut pair = Pair::start([Policy::Send; 2]);
    let daemon = &mut pair.hosts[0];
    daemon.advance(ms(20_000));
    let role = daemon.role(G0);
    assert_ne!(role, Role::Init);
    let introductions = |steps: &[Step]| count(steps, "introduce");
    assert_eq!(introductions(&daemon.advance(ms(5000))), 0);

    daemon.failing.insert(Effect::Introduce);
    daemon.handle(Input::Failed {
        group: G0,
        effect: Effect::Introduce,
    });
    let tries = introductions(&daemon.advance(ms(5100)));
    assert_eq!(tries, 5, "once a second");
    daemon.failing.clear();
    assert_eq!(introductions(&daemon.advance(ms(5000))), 1);
}
