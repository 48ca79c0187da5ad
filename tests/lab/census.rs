//! Every ARP request counted: numbered, as many as the machine can take, and
//! each answer credited to its request.

use std::net::Ipv4Addr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::net::{RecvFlags, recv, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use vipd::io::netlink;
use vipd::io::packet_socket::FrameSocket;
use vipd_common::arp::ArpFrame;

use super::wait::{now, wait_until};
use super::{Host, Mac};

/// What became of each request.
#[derive(Clone, Debug, Default)]
pub struct Count {
    pub asked: u32,
    /// Numbers of the requests without an answer, as ranges.
    pub unanswered: Vec<Range<u32>>,
    /// Answers that named another MAC than the first one did.
    pub by_another: u32,
    /// Numbers of the requests that were answered more than once.
    pub twice: Vec<u32>,
    /// From the first request to the last.
    pub lasted: Duration,
}

impl Count {
    pub fn rate_hz(&self) -> f64 {
        f64::from(self.asked) / self.lasted.as_secs_f64()
    }
}

/// Asks on a thread of its own.
pub struct Census {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU32>,
    thread: thread::JoinHandle<Count>,
}

impl Census {
    /// Asks from `host` for `vip`, at most so many times per second.
    pub fn start(host: &Host, vip: Ipv4Addr, rate_hz: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(AtomicU32::new(0));
        let thread = {
            let (host, stop, asked) = (host.clone(), Arc::clone(&stop), Arc::clone(&asked));
            thread::spawn(move || {
                host.enter();
                Counter::open(vip).run(rate_hz, &stop, &asked)
            })
        };
        Self {
            stop,
            asked,
            thread,
        }
    }

    /// Waits until so many more requests went out.
    pub fn wait_for_requests(&self, more: u32, timeout: Duration) {
        let before = self.asked.load(Ordering::Relaxed);
        wait_until("requests", timeout, || {
            (self.asked.load(Ordering::Relaxed) - before >= more).then_some(())
        });
    }

    pub fn finish(self) -> Count {
        self.stop.store(true, Ordering::Relaxed);
        let count = self.thread.join().expect("the census does not panic");
        assert!(count.asked > 0, "the client lost its link");
        count
    }
}

struct Counter {
    sender: FrameSocket,
    receiver: Socket,
    request: ArpFrame,
    answered: Vec<bool>,
    owner: Option<Mac>,
    by_another: u32,
    twice: Vec<u32>,
}

impl Counter {
    fn open(vip: Ipv4Addr) -> Self {
        let eth0 = netlink::lookup("eth0").expect("a host has eth0");
        let mac = eth0.mac.expect("eth0 has a MAC");
        let protocol = Protocol::from(i32::from(ETH_P_ARP.to_be()));
        let kind = Type::RAW.nonblocking().cloexec();
        let receiver = Socket::new(Domain::PACKET, kind, Some(protocol)).expect("a socket opens");
        sockopt::set_socket_recv_buffer_size_force(&receiver, 1 << 26).expect("root may");
        let request = ArpFrame::request(mac, FIRST.to_be_bytes(), vip.octets());
        Self {
            sender: FrameSocket::open("eth0", eth0.ifindex).expect("a packet socket opens"),
            receiver,
            request,
            answered: Vec::new(),
            owner: None,
            by_another: 0,
            twice: Vec::new(),
        }
    }

    fn run(mut self, rate_hz: u32, stop: &AtomicBool, asked: &AtomicU32) -> Count {
        let started = now();
        while !stop.load(Ordering::Relaxed) {
            let due = (now() - started).as_secs_f64() * f64::from(rate_hz);
            // What was missed is made up for, but not all of it at once.
            for _ in 0..BURST {
                if self.answered.len() as f64 >= due {
                    break;
                }
                if !self.ask() {
                    // The host is gone, and its lab: a test has failed.
                    return Count::default();
                }
            }
            asked.store(self.answered.len() as u32, Ordering::Relaxed);
            self.read_all();
            thread::sleep(Duration::from_micros(200));
        }
        let lasted = now() - started;
        let deadline = now() + STRAGGLERS;
        while now() < deadline && self.answered.contains(&false) {
            thread::sleep(Duration::from_millis(10));
            self.read_all();
        }
        Count {
            asked: self.answered.len() as u32,
            unanswered: unanswered(&self.answered),
            by_another: self.by_another,
            twice: self.twice,
            lasted,
        }
    }

    /// Whether the host has a link to ask on.
    fn ask(&mut self) -> bool {
        let number = self.answered.len() as u32;
        self.request.spa = (FIRST + number).to_be_bytes();
        let is_sent = self.sender.send(&self.request.to_bytes()).is_ok();
        self.answered.extend(is_sent.then_some(false));
        is_sent
    }

    fn read_all(&mut self) {
        let mut frame = [0; 128];
        while let Ok((length, _)) = recv(&self.receiver, &mut frame[..], RecvFlags::DONTWAIT) {
            let Ok(arp) = ArpFrame::parse(&frame[..length]) else {
                continue;
            };
            let number = u32::from_be_bytes(arp.tpa).wrapping_sub(FIRST);
            let answered = self.answered.get_mut(number as usize);
            let Some(answered) = answered.filter(|_| arp.spa == self.request.tpa) else {
                continue;
            };
            if std::mem::replace(answered, true) {
                self.twice.push(number);
            }
            self.by_another += u32::from(*self.owner.get_or_insert(arp.sha) != arp.sha);
        }
    }
}

fn unanswered(answered: &[bool]) -> Vec<Range<u32>> {
    let mut ranges: Vec<Range<u32>> = Vec::new();
    for (number, _) in (0..).zip(answered).filter(|(_, answered)| !**answered) {
        match ranges.last_mut() {
            Some(range) if range.end == number => range.end += 1,
            _ => ranges.push(number..number + 1),
        }
    }
    ranges
}

/// The sender's address of the first request, 11.0.0.0: nobody's in a lab.
const FIRST: u32 = 0x0b00_0000;

/// Requests in a row.
const BURST: u32 = 64;

/// How long the last answers may take.
const STRAGGLERS: Duration = Duration::from_secs(3);

const ETH_P_ARP: u16 = 0x0806;
