//! An honest client that asks for several addresses by ARP, so many times a
//! second, and knows of each question whether, when and by whom it was answered,
//! whatever else fills the LAN.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, recv};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use vipd::io::netlink;
use vipd::io::packet_socket::FrameSocket;
use vipd_common::arp::{self, ArpFrame, REPLY};

use super::wait::now;
use super::{Host, Mac};

/// What became of the questions for one address.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub questions: usize,
    /// How long each answer took.
    pub latencies: Vec<Duration>,
    /// Who answered, and how often.
    pub answered_by: BTreeMap<Mac, usize>,
}

impl Asked {
    /// Of the questions, those that were answered.
    pub fn fraction(&self) -> f64 {
        self.latencies.len() as f64 / self.questions.max(1) as f64
    }

    /// So much of the answers took no longer; zero without an answer.
    pub fn quantile(&self, fraction: f64) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let place = (sorted.len() as f64 * fraction) as usize;
        let place = place.min(sorted.len().saturating_sub(1));
        sorted.get(place).copied().unwrap_or_default()
    }
}

/// Asks on a thread of its own, before all others if it may, so that its figures
/// are the network's and not its own.
pub struct Asker {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<Vec<Asked>>>,
}

impl Asker {
    /// Asks for each of the addresses so many times per second.
    pub fn start(host: &Host, addresses: &[Ipv4Addr], rate_hz: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (host, addresses, stop) = (host.clone(), addresses.to_vec(), Arc::clone(&stop));
            thread::spawn(move || {
                host.enter();
                let mut client = Client::open(&host, &addresses);
                run_in_real_time();
                client.run(Duration::from_secs(1) / rate_hz.max(1), &stop);
                client.places.into_iter().map(|place| place.asked).collect()
            })
        };
        Self {
            stop,
            thread: Some(thread),
        }
    }

    /// For each of the addresses, in their order.
    pub fn finish(mut self) -> Vec<Asked> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is finished once");
        thread.join().expect("the client does not panic")
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Client {
    mac: Mac,
    own: Ipv4Addr,
    places: Vec<Place>,
    sender: FrameSocket,
    receiver: Socket,
}

struct Place {
    address: Ipv4Addr,
    /// When the questions were sent that are not answered yet, by their number.
    open: [Option<Instant>; NUMBERS],
    asked: Asked,
}

impl Client {
    fn open(host: &Host, addresses: &[Ipv4Addr]) -> Self {
        let eth0 = netlink::lookup("eth0").expect("a host has eth0");
        let protocol = Protocol::from(i32::from(u16::from_ne_bytes(arp::ETHERTYPE)));
        let kind = Type::RAW.nonblocking().cloexec();
        let receiver = Socket::new(Domain::PACKET, kind, Some(protocol)).expect("a socket opens");
        receiver
            .attach_filter(&only_to(host.mac()))
            .expect("a filter is attached");
        let place = |address: &Ipv4Addr| Place {
            address: *address,
            open: [None; NUMBERS],
            asked: Asked::default(),
        };
        Self {
            mac: host.mac(),
            own: host.address(),
            places: addresses.iter().map(place).collect(),
            sender: FrameSocket::open("eth0", eth0.ifindex).expect("a socket opens"),
            receiver,
        }
    }

    fn run(&mut self, interval: Duration, stop: &AtomicBool) {
        let mut next = now();
        // One question at a time: none waits behind another one's.
        let count = self.places.len().max(1);
        let interval = interval / count as u32;
        let mut turn = 0;
        while !stop.load(Ordering::Relaxed) {
            if now() >= next {
                self.ask(turn % count, turn / count % NUMBERS);
                turn += 1;
                // What was missed is not made up for.
                next = (next + interval).max(now());
            }
            self.read_until(next);
        }
        self.read_until(now() + LAST_ANSWERS);
    }

    /// The number is the last byte of the sender's address, and so comes back.
    fn ask(&mut self, place: usize, number: usize) {
        let [a, b, c, _] = self.own.octets();
        let Some(place) = self.places.get_mut(place) else {
            return;
        };
        let sender = [a, b, c, FIRST_NUMBER + number as u8];
        let request = ArpFrame::request(self.mac, sender, place.address.octets());
        let at = now();
        if self.sender.send(&request.to_bytes()).is_ok() {
            place.asked.questions += 1;
            place.open[number] = Some(at);
        }
    }

    fn read_until(&mut self, deadline: Instant) {
        loop {
            let left = deadline.saturating_duration_since(now());
            let timeout = Timespec::try_from(left).expect("a short time");
            let mut sources = [PollFd::new(&self.receiver, PollFlags::IN)];
            // An interruption only comes round earlier.
            let _ = poll(&mut sources, Some(&timeout));
            let mut frame = [0; 128];
            while let Ok((_, length)) = recv(&self.receiver, &mut frame, RecvFlags::DONTWAIT) {
                self.read(&frame[..length], now());
            }
            if left.is_zero() {
                return;
            }
        }
    }

    fn read(&mut self, frame: &[u8], at: Instant) {
        let Ok(frame) = ArpFrame::parse(frame) else {
            return;
        };
        let number = usize::from(frame.tpa[3].wrapping_sub(FIRST_NUMBER));
        let mut places = self.places.iter_mut();
        let place = places.find(|place| place.address.octets() == frame.spa);
        if frame.oper == REPLY
            && let Some(place) = place
            && let Some(open) = place.open.get_mut(number)
        {
            // Whoever answers second is told of, too.
            *place.asked.answered_by.entry(frame.sha).or_default() += 1;
            if let Some(asked_at) = open.take() {
                place.asked.latencies.push(at - asked_at);
            }
        }
    }
}

/// Ahead of everything that is measured, where it is allowed.
fn run_in_real_time() {
    let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
    let _ = Command::new("chrt")
        .args(["--fifo", "--pid", "50", &thread])
        .output();
}

/// ```text
///       ld  [0]
///       jeq #MAC[0..4], next, drop
/// next: ldh [4]
///       jeq #MAC[4..6], accept, drop
/// ```
fn only_to([a, b, c, d, e, f]: Mac) -> [SockFilter; 6] {
    [
        SockFilter::new(BPF_LOAD_WORD, 0, 0, 0),
        SockFilter::new(BPF_JUMP_EQUAL, 0, 3, u32::from_be_bytes([a, b, c, d])),
        SockFilter::new(BPF_LOAD_HALF, 0, 0, 4),
        SockFilter::new(BPF_JUMP_EQUAL, 0, 1, u32::from(u16::from_be_bytes([e, f]))),
        SockFilter::new(BPF_RETURN, 0, 0, u32::MAX),
        SockFilter::new(BPF_RETURN, 0, 0, 0),
    ]
}

/// Questions for one address that can be told apart: they are asked from as many
/// addresses of the client's /24, which no host of a lab has.
const NUMBERS: usize = 64;
const FIRST_NUMBER: u8 = 128;

/// How long an answer to one of the last questions is waited for.
const LAST_ANSWERS: Duration = Duration::from_millis(50);

/// Classic BPF (`linux/bpf_common.h`): `BPF_LD | BPF_W | BPF_ABS`, and so on.
const BPF_LOAD_WORD: u16 = 0x20;
const BPF_LOAD_HALF: u16 = 0x28;
const BPF_JUMP_EQUAL: u16 = 0x15;
const BPF_RETURN: u16 = 0x06;
