//! A client that keeps asking who has the VIP, as no client does: it believes
//! nothing and forgets nothing.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, recv};
use socket2::{Domain, Protocol, Socket, Type};
use vipd::io::netlink;
use vipd::io::packet_socket::FrameSocket;

use super::Host;
use super::wait::now;

pub type Mac = [u8; 6];

/// Who claimed to have the VIP, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Since the prober's start.
    pub at: Duration,
    /// The MAC that is claimed to have the VIP: ARP's sender hardware address.
    pub mac: Mac,
    /// The MAC that the frame came from.
    pub ethernet_source: Mac,
}

/// All that a prober saw.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// When it asked.
    pub requests: Vec<Duration>,
    /// Replies to it.
    pub answers: Vec<Answer>,
    /// Gratuitous ARP for the VIP, requests and replies alike.
    pub announcements: Vec<Answer>,
    /// From its start to its end.
    pub lasted: Duration,
}

impl Record {
    /// The longest time without an answer, from the first question on.
    pub fn longest_gap(&self) -> Duration {
        let start = self.requests.first().copied().unwrap_or_default();
        let answers = self.answers.iter().map(|answer| answer.at);
        let mut last = start;
        let mut longest = Duration::ZERO;
        for at in answers.chain([self.lasted]) {
            longest = longest.max(at.saturating_sub(last));
            last = at;
        }
        longest
    }

    /// Each answer whose MAC differs from that of the one before.
    pub fn changes(&self) -> Vec<(Duration, Mac)> {
        let mut changes: Vec<(Duration, Mac)> = Vec::new();
        for answer in &self.answers {
            if changes.last().is_none_or(|(_, mac)| *mac != answer.mac) {
                changes.push((answer.at, answer.mac));
            }
        }
        changes
    }

    /// What `old` still answered after `successor` had answered first.
    pub fn answers_after_successor(&self, old: Mac, successor: Mac) -> Vec<Answer> {
        let from_successor = self
            .answers
            .iter()
            .skip_while(|answer| answer.mac != successor);
        from_successor
            .filter(|answer| answer.mac == old)
            .copied()
            .collect()
    }
}

/// Asks and records on a thread of its own, `LIMIT` at most.
pub struct Prober {
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
    started: Instant,
}

#[derive(Default)]
struct Shared {
    record: Mutex<Record>,
    grown: Condvar,
    stop: AtomicBool,
}

impl Prober {
    /// Asks from `host` for `vip` so many times per second. When this returns
    /// it listens.
    pub fn start(host: &Host, vip: Ipv4Addr, rate_hz: u32) -> Self {
        let shared = Arc::new(Shared::default());
        let (ready, is_ready) = mpsc::channel();
        let thread = {
            let (host, shared) = (host.clone(), Arc::clone(&shared));
            thread::spawn(move || {
                host.enter();
                let client = Client::open(&host, vip, Duration::from_secs(1) / rate_hz.max(1));
                let started = now();
                ready.send(started).expect("the prober's maker waits");
                client.run(&shared, started);
            })
        };
        let started = is_ready.recv().expect("the prober opens its sockets");
        Self {
            shared,
            thread: Some(thread),
            started,
        }
    }

    /// Who answers next.
    pub fn who_answers_within(&self, timeout: Duration) -> Option<Mac> {
        let seen = self.record().answers.len();
        self.wait(timeout, |record| {
            record.answers.get(seen).map(|answer| answer.mac)
        })
    }

    /// Whether `mac` answers from here on.
    pub fn answered_by_within(&self, mac: Mac, timeout: Duration) -> bool {
        let seen = self.record().answers.len();
        self.wait(timeout, |record| {
            record.answers[seen..]
                .iter()
                .any(|answer| answer.mac == mac)
                .then_some(())
        })
        .is_some()
    }

    /// Time since the prober's start, to compare with what it records.
    pub fn elapsed(&self) -> Duration {
        now() - self.started
    }

    /// What it saw so far.
    pub fn so_far(&self) -> Record {
        Record {
            lasted: self.elapsed(),
            ..self.record().clone()
        }
    }

    pub fn finish(mut self) -> Record {
        self.end();
        self.record().clone()
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the prober panicked");
        }
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.shared.record()
    }

    fn wait<T>(&self, timeout: Duration, mut ask: impl FnMut(&Record) -> Option<T>) -> Option<T> {
        let deadline = now() + timeout;
        let mut record = self.record();
        loop {
            if let Some(answer) = ask(&record) {
                return Some(answer);
            }
            let left = deadline.saturating_duration_since(now());
            if left.is_zero() {
                return None;
            }
            (record, _) = self
                .shared
                .grown
                .wait_timeout(record, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Client {
    vip: Ipv4Addr,
    own: Ipv4Addr,
    request: [u8; ARP_FRAME],
    interval: Duration,
    sender: FrameSocket,
    receiver: Socket,
}

impl Client {
    fn open(host: &Host, vip: Ipv4Addr, interval: Duration) -> Self {
        let eth0 = netlink::lookup("eth0").expect("a host has eth0");
        let mac = eth0.mac.expect("eth0 has a MAC");
        let sender = FrameSocket::open("eth0", eth0.ifindex).expect("a packet socket opens");
        // Not bound: it hears all interfaces of the namespace, but only eth0
        // knows ARP.
        let protocol = Protocol::from(i32::from(ETHERTYPE_ARP.to_be()));
        let receiver = Socket::new(
            Domain::PACKET,
            Type::RAW.nonblocking().cloexec(),
            Some(protocol),
        )
        .expect("a packet socket opens");

        let mut request = [0; ARP_FRAME];
        request[0..6].fill(0xff);
        request[6..12].copy_from_slice(&mac);
        request[12..14].copy_from_slice(&ETHERTYPE_ARP.to_be_bytes());
        request[14..20].copy_from_slice(&[0, 1, 8, 0, 6, 4]);
        request[20..22].copy_from_slice(&OPER_REQUEST.to_be_bytes());
        request[22..28].copy_from_slice(&mac);
        request[28..32].copy_from_slice(&host.address().octets());
        request[38..42].copy_from_slice(&vip.octets());
        Self {
            vip,
            own: host.address(),
            request,
            interval,
            sender,
            receiver,
        }
    }

    fn run(&self, shared: &Shared, started: Instant) {
        let mut next = started;
        while !shared.stop.load(Ordering::Relaxed) {
            let at = now() - started;
            if at >= LIMIT {
                break;
            }
            if started + at >= next {
                // Its own link may be down for a while.
                if self.sender.send(&self.request).is_ok() {
                    shared.record().requests.push(at);
                }
                // What was missed is not made up for.
                next = (next + self.interval).max(started + at);
            }
            self.wait_until(next);
            self.read_all(shared, started);
        }
        shared.record().lasted = now() - started;
    }

    fn wait_until(&self, deadline: Instant) {
        let timeout = deadline.saturating_duration_since(now()).min(RESPONSE);
        let timeout = Timespec::try_from(timeout).expect("a short time");
        let mut sources = [PollFd::new(&self.receiver, PollFlags::IN)];
        // An interruption only comes round earlier.
        let _ = poll(&mut sources, Some(&timeout));
    }

    fn read_all(&self, shared: &Shared, started: Instant) {
        let mut frame = [0; 128];
        while let Ok((length, _)) = recv(&self.receiver, &mut frame[..], RecvFlags::DONTWAIT) {
            let at = now() - started;
            let Some(arp) = Arp::parse(&frame[..length]) else {
                continue;
            };
            if arp.spa != self.vip {
                continue;
            }
            let answer = Answer {
                at,
                mac: arp.sha,
                ethernet_source: arp.ethernet_source,
            };
            let mut record = shared.record();
            if arp.tpa == self.vip {
                record.announcements.push(answer);
            } else if arp.oper == OPER_REPLY && arp.tpa == self.own {
                record.answers.push(answer);
            }
            drop(record);
            shared.grown.notify_all();
        }
    }
}

struct Arp {
    ethernet_source: Mac,
    oper: u16,
    sha: Mac,
    spa: Ipv4Addr,
    tpa: Ipv4Addr,
}

impl Arp {
    fn parse(frame: &[u8]) -> Option<Self> {
        let frame: &[u8; ARP_FRAME] = frame.first_chunk()?;
        let field = |from: usize| {
            [
                frame[from],
                frame[from + 1],
                frame[from + 2],
                frame[from + 3],
            ]
        };
        let mac = |from: usize| {
            let mut mac = [0; 6];
            mac.copy_from_slice(&frame[from..from + 6]);
            mac
        };
        Some(Self {
            ethernet_source: mac(6),
            oper: u16::from_be_bytes([frame[20], frame[21]]),
            sha: mac(22),
            spa: field(28).into(),
            tpa: field(38).into(),
        })
    }
}

/// The longest a prober runs.
const LIMIT: Duration = Duration::from_secs(120);

/// How soon it hears that it is to end.
const RESPONSE: Duration = Duration::from_millis(100);

/// Bytes of an Ethernet frame with ARP for IPv4, unpadded (RFC 826).
const ARP_FRAME: usize = 42;

const ETHERTYPE_ARP: u16 = 0x0806;
const OPER_REQUEST: u16 = 1;
const OPER_REPLY: u16 = 2;
