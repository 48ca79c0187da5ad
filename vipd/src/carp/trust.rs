//! Whom a host believes: which signed messages are news, and which were captured
//! and are played back.
//!
//! **The rule.** Every start of a host in a group draws a *session*, a random
//! number, and each message it signs carries the session and a number that grows.
//! A receiver believes a session only when that one has *introduced* itself: with
//! a signed message that answers the receiver's *challenge*, a number that the
//! receiver has never used before. From there on it believes what has a greater
//! number than all that it has heard of that session. It draws another challenge
//! whenever it may have missed what others said: when it starts, when its link was
//! away, when it slept, and an interval after it has taken over because it heard
//! nothing of its master.
//!
//! **Why nothing replayed is believed.** A message that answers the challenge was
//! written after the challenge was drawn; so its sender was alive then, and what
//! it has sent until that message has smaller numbers. What it sends later is
//! believed once, and a receiver that hears its master hears greater numbers all
//! the time. A session that has ended can answer nobody: who draws a challenge
//! after that will never believe it, and who drew it before has its last number.
//! Nothing of this looks at a clock or at a file: clocks may jump back, and state
//! may be lost.
//!
//! A daemon that is restarted within its lease goes on with the session of the one
//! before it, which it finds with the lease: its peers must believe its very first
//! advert, since it renews the lease by it.
//!
//! **Why no honest host is locked out.** A host answers whoever asks, so the worst
//! that losses do is that it must be asked again; every message of a session that
//! is not introduced makes the receiver ask. A restarted host has a new session
//! and no numbers to catch up with. The table of sessions is bounded: strangers
//! fall out of it, and when it is full of others, which only hosts that were
//! started hundreds of times can bring about, the receiver draws another challenge.
//!
//! **What is left.** A message that one receiver has missed can be handed to it
//! until it has heard a later one or has missed its master for as long as it takes
//! to take over: that is what a slow network does, too. A virtual machine that is
//! set back to a snapshot while its daemon runs repeats its numbers, and is not
//! believed until they have caught up or the daemon is restarted. And a host that can hear
//! but not be heard believes nobody whom it does not know yet.
//!
//! Unsigned adverts are those of legacy peers: CARP has nothing better. They are
//! believed unless the policy is [`Policy::Require`], or their source address is
//! one from which a host has signed before.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::election::Peer;
use super::trailer::{Challenge, Session};
use crate::time::Instant;

/// How a group's adverts are signed and believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// As legacy CARP: nothing is signed, signatures are not looked at.
    Off,
    /// Sign; believe unsigned adverts of hosts that have never signed.
    #[default]
    Send,
    /// Sign; believe nothing that is not signed.
    Require,
}

impl Policy {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Send => "send",
            Self::Require => "require",
        }
    }
}

/// What is thought of a message whose signature is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Believed,
    /// Its session has not introduced itself: ask.
    Stranger,
    /// Its number is not greater than one that was heard before.
    Replayed,
}

/// What follows from an introduction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Introduced {
    /// Of its session, from here on. `Replayed` if it is an old one.
    pub verdict: Verdict,
    /// It asks, and for the first time.
    pub wants_answer: bool,
    /// What an advert of that session said which had overtaken the introduction:
    /// it is believed now.
    pub early: Option<Peer>,
}

/// What is known of another host's session.
#[derive(Clone, Copy, Debug)]
struct Known {
    session: Session,
    address: Ipv4Addr,
    /// The greatest number of an advert that was heard of it, or of the message by
    /// which it was introduced; and of a question. Apart, since they are no news of
    /// each other: one may overtake the other on the wire.
    advert: u64,
    question: u64,
    standing: Standing,
    /// When it was last asked who it is.
    asked_at: Option<Instant>,
    /// An advert that came before the session was introduced.
    early: Option<(u64, Peer)>,
    /// It was introduced before the present challenge.
    is_former: bool,
    heard_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Stranger,
    Introduced,
    /// The host has a later session. It is not forgotten: its introduction could
    /// be played back.
    Ended,
}

/// What one host thinks of the others in a group.
#[derive(Debug)]
pub struct Trust {
    policy: Policy,
    session: Session,
    sent: u64,
    challenge: Challenge,
    known: Vec<Known>,
    /// Addresses from which a host has signed, at any time.
    signers: BTreeSet<Ipv4Addr>,
    /// When to ask again, and how often still.
    ask_at: Option<(Instant, u8)>,
    /// When to draw another challenge.
    renew_at: Option<Instant>,
    /// From when on to do so as soon as others hear this host.
    renew_if_sent_at: Option<Instant>,
    /// Before which takeover it was considered to ask once more who lives, and
    /// until when an answer is waited for.
    considered: Option<(Instant, Instant)>,
    /// Least time between two questions.
    gap: Duration,
}

/// Sessions that are remembered: many times the hosts of a LAN's group.
const KNOWN: usize = 256;

/// Questions at the start, as packets get lost.
const QUESTIONS: u8 = 3;

/// How long until an introduction is tried again that could not be sent.
const OWED_AFTER: Duration = Duration::from_secs(1);

impl Trust {
    /// `seed` is random, and different at each start. `signers` are the addresses
    /// that have signed before this start. `period` is the time between adverts.
    pub fn new(
        policy: Policy,
        seed: u64,
        signers: impl IntoIterator<Item = Ipv4Addr>,
        period: Duration,
    ) -> Self {
        Self {
            policy,
            session: Session(seed.max(1)),
            sent: 0,
            // Unique is enough: nobody signs an answer to it but who is asked.
            challenge: Challenge(seed.rotate_left(32).max(1)),
            known: Vec::new(),
            signers: signers.into_iter().collect(),
            ask_at: None,
            renew_at: None,
            renew_if_sent_at: None,
            considered: None,
            gap: gap(period),
        }
    }

    pub fn policy(&self) -> Policy {
        self.policy
    }

    pub fn session(&self) -> Session {
        self.session
    }

    pub fn challenge(&self) -> Challenge {
        self.challenge
    }

    /// This host goes on as the one that it was before its daemon was restarted,
    /// since when it was not booted. Its numbers go on with the nanoseconds since
    /// the boot, as nobody sends so many messages.
    pub fn resume(&mut self, session: Session, now: Instant) {
        self.session = session;
        self.sent = self.sent.max(now.as_nanos());
    }

    /// How it signs and believes, and how often it advertises, from now on.
    pub fn reconfigure(&mut self, policy: Policy, period: Duration) {
        self.policy = policy;
        self.gap = gap(period);
        if policy == Policy::Off {
            self.stop();
        }
    }

    /// Addresses from which a host has signed, at any time.
    pub fn signers(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.signers.iter().copied()
    }

    /// The number of the next message.
    pub fn next_number(&mut self) -> u64 {
        self.sent += 1;
        self.sent
    }

    /// Addresses and sessions of hosts that are introduced now.
    pub fn introduced(&self) -> impl Iterator<Item = (Ipv4Addr, Session)> {
        let is_introduced = |known: &&Known| known.standing == Standing::Introduced;
        let introduced = self.known.iter().filter(is_introduced);
        introduced.map(|known| (known.address, known.session))
    }

    /// Whether an advert from there may be believed that is signed, or is not. Of
    /// one that is signed this says nothing more.
    pub fn believes(&self, from: Ipv4Addr, is_signed: bool) -> bool {
        match self.policy {
            Policy::Off => true,
            Policy::Send => is_signed || !self.signers.contains(&from),
            Policy::Require => is_signed,
        }
    }

    /// Whether this is the first time that this address signs.
    pub fn note_signer(&mut self, from: Ipv4Addr) -> bool {
        self.signers.insert(from)
    }

    /// An advert whose signature is right, and what it says.
    pub fn hear_advert(
        &mut self,
        session: Session,
        number: u64,
        peer: Peer,
        now: Instant,
    ) -> Verdict {
        let known = self.know(peer.address, session, now);
        if number <= known.advert || known.standing == Standing::Ended {
            return Verdict::Replayed;
        }
        if known.standing == Standing::Stranger {
            if known.early.is_none_or(|(earlier, _)| earlier < number) {
                known.early = Some((number, peer));
                known.heard_at = now;
            }
            return Verdict::Stranger;
        }
        known.advert = number;
        known.heard_at = now;
        Verdict::Believed
    }

    /// An introduction whose signature is right.
    pub fn hear_introduction(
        &mut self,
        from: Ipv4Addr,
        session: Session,
        number: u64,
        asks: Option<Challenge>,
        answers: Option<Challenge>,
        now: Instant,
    ) -> Introduced {
        let answers_us = answers == Some(self.challenge);
        let known = self.know(from, session, now);
        if known.standing == Standing::Ended {
            return Introduced {
                verdict: Verdict::Replayed,
                wants_answer: false,
                early: None,
            };
        }
        // Questions are counted of strangers too: each is answered once. Answers
        // are not: each is true for as long as the challenge is.
        let is_replayed = asks.is_some() && number <= known.question;
        if asks.is_some() {
            known.question = known.question.max(number);
        }
        let mut early = None;
        if known.standing == Standing::Stranger && answers_us {
            known.standing = Standing::Introduced;
            known.is_former = false;
            known.heard_at = now;
            known.advert = known.advert.max(number);
            let is_newer = |(early, _): &(u64, Peer)| *early > number;
            if let Some((number, peer)) = known.early.take().filter(is_newer) {
                known.advert = number;
                early = Some(peer);
            }
            // Whoever starts anew has ended before.
            for other in &mut self.known {
                if other.address == from && other.session != session {
                    other.standing = Standing::Ended;
                }
            }
        } else if is_replayed {
            return Introduced {
                verdict: Verdict::Replayed,
                wants_answer: false,
                early: None,
            };
        }
        let is_introduced =
            |known: &Known| known.session == session && known.standing == Standing::Introduced;
        Introduced {
            verdict: match self.known.iter().any(is_introduced) {
                true => Verdict::Believed,
                false => Verdict::Stranger,
            },
            wants_answer: asks.is_some() && !is_replayed,
            early,
        }
    }

    /// This host may have missed what others said: whoever is to be believed from
    /// here on must introduce itself. It asks at once, and some times more.
    pub fn renew(&mut self, now: Instant) {
        self.renew_at = None;
        self.renew_if_sent_at = None;
        self.challenge = Challenge(self.challenge.0.wrapping_add(1).max(1));
        for known in &mut self.known {
            if known.standing == Standing::Introduced {
                known.standing = Standing::Stranger;
                known.asked_at = None;
                known.early = None;
                known.is_former = true;
            }
        }
        if self.policy != Policy::Off {
            self.ask_at = Some((now, QUESTIONS));
        }
    }

    /// As [`Self::renew`], but later: until then those are believed that are
    /// introduced.
    pub fn renew_at(&mut self, at: Instant) {
        self.renew_at = Some(at);
    }

    /// The same for a host that takes over, at the first advert from then on that
    /// is sent: hosts that take over at the same moment hear each other until then,
    /// and a host that cannot send could not ask.
    pub fn renew_if_sent_at(&mut self, at: Instant) {
        self.renew_if_sent_at = Some(at);
    }

    /// An advert of this host was sent.
    pub fn sent(&mut self, now: Instant) {
        if self.renew_if_sent_at.is_some_and(|at| at <= now) {
            self.renew(now);
        }
    }

    /// Shortly before this host takes over at `takes_over_at`, if nothing comes in
    /// between: whether to ask now, because adverts were heard within `recently`
    /// that are signed but not believed, as their sender has not been asked, or in
    /// vain. If it lives, it answers at once.
    pub fn asks_before(
        &mut self,
        takes_over_at: Instant,
        recently: Duration,
        now: Instant,
    ) -> bool {
        if now < self.wakes_before(takes_over_at) || self.has_considered(takes_over_at).is_some() {
            return false;
        }
        let asks = self.has_stranger(now, recently);
        // Where there was no time to ask before, the answer is waited for.
        let until = match asks {
            true => takes_over_at.max(now + self.gap),
            false => takes_over_at,
        };
        self.considered = Some((takes_over_at, until));
        asks
    }

    /// Somebody has introduced itself. If it was the last one that
    /// [`Self::asks_before`] asked, there is nothing more to wait for than the advert
    /// that a master among them adds.
    pub fn has_answered(&mut self, takes_over_at: Instant, recently: Duration, now: Instant) {
        if let Some(until) = self.has_considered(takes_over_at)
            && !self.has_stranger(now, recently)
        {
            let until = until.min(takes_over_at.max(now + self.gap / 4));
            self.considered = Some((takes_over_at, until));
        }
    }

    fn has_stranger(&self, now: Instant, recently: Duration) -> bool {
        self.known.iter().any(|known| {
            known.standing == Standing::Stranger
                && (known.early.is_some() || known.is_former)
                && now.since(known.heard_at) <= recently
        })
    }

    /// When a host that would take over at `takes_over_at` has something to do
    /// about it: [`Self::asks_before`], or to take over.
    pub fn wakes_before(&self, takes_over_at: Instant) -> Instant {
        match self.has_considered(takes_over_at) {
            Some(until) => until,
            None if self.policy == Policy::Off => takes_over_at,
            None => takes_over_at - self.gap,
        }
    }

    fn has_considered(&self, takes_over_at: Instant) -> Option<Instant> {
        let (of, until) = self.considered?;
        (of == takes_over_at).then_some(until)
    }

    /// It has not taken over after all.
    pub fn has_yielded(&mut self) {
        self.renew_if_sent_at = None;
    }

    /// The host takes part no more.
    pub fn stop(&mut self) {
        self.ask_at = None;
        self.renew_at = None;
        self.renew_if_sent_at = None;
    }

    /// When [`Self::asks_if_due`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let ask_at = self.ask_at.map(|(at, _)| at);
        ask_at.into_iter().chain(self.renew_at).min()
    }

    /// An introduction could not be sent. Whoever asked does not know this host, and
    /// would not believe it as a master: it is owed, and tried again after a while.
    pub fn introduction_failed(&mut self, now: Instant) {
        if self.policy != Policy::Off && self.ask_at.is_none() {
            self.ask_at = Some((now + OWED_AFTER, 1));
        }
    }

    /// Whether it is time for one of the questions that nobody provoked.
    pub fn asks_if_due(&mut self, now: Instant) -> bool {
        if self.renew_at.take_if(|at| *at <= now).is_some() {
            self.renew(now);
        }
        let Some((at, left)) = self.ask_at else {
            return false;
        };
        if now < at {
            return false;
        }
        self.ask_at = (left > 1).then(|| (now + self.gap, left - 1));
        true
    }

    /// Whether to ask a stranger now that was just heard: at once, and then
    /// not too often.
    pub fn asks_stranger(&mut self, session: Session, now: Instant) -> bool {
        let gap = self.gap;
        let known = self.known.iter_mut().find(|known| known.session == session);
        let Some(known) = known else { return false };
        if known.asked_at.is_some_and(|at| now.since(at) < gap) {
            return false;
        }
        known.asked_at = Some(now);
        true
    }

    fn know(&mut self, from: Ipv4Addr, session: Session, now: Instant) -> &mut Known {
        let place = self.known.iter().position(|known| known.session == session);
        let place = place.unwrap_or_else(|| {
            if self.known.len() == KNOWN {
                self.make_room(now);
            }
            self.known.push(Known {
                session,
                address: from,
                advert: 0,
                question: 0,
                standing: Standing::Stranger,
                asked_at: None,
                early: None,
                is_former: false,
                heard_at: now,
            });
            self.known.len() - 1
        });
        &mut self.known[place]
    }

    fn make_room(&mut self, now: Instant) {
        let strangers = self.known.iter().enumerate();
        let strangers = strangers.filter(|(_, known)| known.standing == Standing::Stranger);
        match strangers.min_by_key(|(_, known)| known.heard_at) {
            Some((oldest, _)) => {
                self.known.swap_remove(oldest);
            }
            None => {
                self.known.clear();
                self.renew(now);
            }
        }
    }
}

/// Least time between two questions, for a host that advertises so often.
fn gap(period: Duration) -> Duration {
    (period / 4).clamp(Duration::from_millis(1), Duration::from_millis(250))
}

#[cfg(test)]
mod tests;
