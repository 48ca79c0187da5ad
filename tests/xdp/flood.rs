//! A client that asks for the VIP thousands of times in a second, each time with
//! a number, and knows of each whether it was answered.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::net::{RecvFlags, recv};
use socket2::{Domain, Protocol, Socket, Type};
use vipd::io::packet_socket::FrameSocket;
use vipd_common::arp::{self, ArpFrame, REPLY};

use crate::kernel::boot_ns;
use crate::netns::{Hosts, THEIR_MAC, THEIRS};

/// What became of the requests.
#[derive(Debug)]
pub(crate) struct Flooded {
    pub(crate) sent: u32,
    pub(crate) unanswered: Vec<u32>,
}

pub(crate) struct Flood {
    vip: Ipv4Addr,
    sender: FrameSocket,
    receiver: Socket,
}

impl Flood {
    /// From the client of `hosts`.
    pub(crate) fn new(hosts: &Hosts, vip: Ipv4Addr) -> Self {
        let ifindex = hosts.theirs.ifindex(THEIRS);
        let protocol = Protocol::from(i32::from(u16::from_ne_bytes(arp::ETHERTYPE)));
        let (sender, receiver) = hosts.theirs.enter(|| {
            let sender = FrameSocket::open(THEIRS, ifindex).unwrap();
            // Not bound to the interface, but no other of the namespace has ARP.
            let receiver = Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).unwrap();
            (sender, receiver)
        });
        Self {
            vip,
            sender,
            receiver,
        }
    }

    /// Whether one request is answered within `patience`.
    pub(crate) fn is_answered_within(&self, patience: Duration) -> bool {
        self.ask(u32::MAX);
        let deadline_ns = boot_ns() + patience.as_nanos() as u64;
        while boot_ns() < deadline_ns {
            if self.answered() == Some(u32::MAX) {
                return true;
            }
        }
        false
    }

    /// Asks until `stop`, and says in `sent` how often.
    pub(crate) fn run(&self, sent: &AtomicU32, stop: &AtomicBool) -> Flooded {
        let mut is_answered = Vec::new();
        let mut answered = 0;
        let mut note_answers = |is_answered: &mut Vec<bool>| {
            while let Some(number) = self.answered() {
                if let Some(is_answered @ false) = is_answered.get_mut(number as usize) {
                    *is_answered = true;
                    answered += 1;
                }
            }
            is_answered.len() - answered
        };
        let mut next_ns = boot_ns();
        while !stop.load(Ordering::Relaxed) {
            let now_ns = boot_ns();
            // What was missed is made up for.
            next_ns = next_ns.max(now_ns - BURST * INTERVAL_NS);
            // What a queue drops on its way would look unanswered.
            while next_ns <= now_ns && note_answers(&mut is_answered) < IN_FLIGHT {
                self.ask(is_answered.len() as u32);
                is_answered.push(false);
                next_ns += INTERVAL_NS;
            }
            sent.store(is_answered.len() as u32, Ordering::Relaxed);
            thread::sleep(Duration::from_nanos(INTERVAL_NS));
        }
        // The last answers may be on their way.
        let deadline_ns = boot_ns() + 2_000_000_000;
        while note_answers(&mut is_answered) > 0 && boot_ns() < deadline_ns {}
        let numbers = 0..is_answered.len() as u32;
        Flooded {
            sent: is_answered.len() as u32,
            unanswered: numbers
                .filter(|&number| !is_answered[number as usize])
                .collect(),
        }
    }

    /// The number is where the sender's address is, and so comes back.
    fn ask(&self, number: u32) {
        let request = ArpFrame::request(THEIR_MAC, number.to_be_bytes(), self.vip.octets());
        self.sender.send(&request.to_bytes()).unwrap();
    }

    fn answered(&self) -> Option<u32> {
        let mut frame = [0; 128];
        let (_, len) = recv(&self.receiver, &mut frame, RecvFlags::DONTWAIT).ok()?;
        let frame = ArpFrame::parse(&frame[..len]).ok()?;
        let is_answer = frame.oper == REPLY && frame.spa == self.vip.octets();
        is_answer.then(|| u32::from_be_bytes(frame.tpa))
    }
}

/// 20,000 requests a second, where the machine keeps up.
const INTERVAL_NS: u64 = 50_000;
/// Requests at once after a pause.
const BURST: u64 = 100;
/// Requests without an answer: the smallest queue on the way is the packet socket's
/// buffer, which holds some 48 frames where veth charges a page for each (Linux 6.1
/// in native mode).
const IN_FLIGHT: usize = 32;
