//! A client that uses the VIP: it pings, and its kernel finds out where. What
//! is not answered is lost traffic.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, recv};
use socket2::{Domain, Protocol, Socket, Type};

use super::Host;
use super::wait::{now, wait_until};

/// All that was asked and answered, by number.
#[derive(Clone, Debug, Default)]
pub struct Echoes {
    /// When each request was sent, since the start.
    pub sent: BTreeMap<u64, Duration>,
    /// When its first answer came.
    pub answered: BTreeMap<u64, Duration>,
    /// Requests that the client's kernel refused to send.
    pub refused: Vec<Duration>,
}

impl Echoes {
    /// What was not answered, and when it was sent.
    pub fn lost(&self) -> Vec<(u64, Duration)> {
        let is_lost = |(number, _): &(&u64, &Duration)| !self.answered.contains_key(number);
        let lost = self.sent.iter().filter(is_lost);
        lost.map(|(number, at)| (*number, *at)).collect()
    }

    /// The longest that an answer took.
    pub fn slowest(&self) -> Duration {
        let took = |(number, at): (&u64, &Duration)| at.saturating_sub(self.sent[number]);
        self.answered.iter().map(took).max().unwrap_or_default()
    }
}

#[derive(Default)]
struct Orders {
    ask_no_more: AtomicBool,
    end: AtomicBool,
}

/// Pings on a thread of its own.
pub struct Echo {
    echoes: Arc<Mutex<Echoes>>,
    orders: Arc<Orders>,
    thread: Option<thread::JoinHandle<()>>,
    started: Instant,
}

impl Echo {
    /// Pings from `host` so many times per second.
    pub fn start(host: &Host, to: Ipv4Addr, rate_hz: u32) -> Self {
        let echoes = Arc::new(Mutex::new(Echoes::default()));
        let orders = Arc::new(Orders::default());
        let (ready, is_ready) = mpsc::channel();
        let thread = {
            let (host, echoes, orders) = (host.clone(), Arc::clone(&echoes), Arc::clone(&orders));
            thread::spawn(move || {
                host.enter();
                let socket = open();
                let started = now();
                ready.send(started).expect("the maker waits");
                run(
                    &socket,
                    to,
                    Duration::from_secs(1) / rate_hz.max(1),
                    &echoes,
                    &orders,
                    started,
                );
            })
        };
        let started = is_ready.recv().expect("the socket opens");
        Self {
            echoes,
            orders,
            thread: Some(thread),
            started,
        }
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        now() - self.started
    }

    /// Waits until a request is answered that is sent from now on.
    pub fn wait_for_answer(&self, timeout: Duration) {
        let from = self.elapsed();
        wait_until("an echo", timeout, || {
            let echoes = self.echoes();
            let (last, _) = echoes.answered.last_key_value()?;
            (echoes.sent[last] >= from).then_some(())
        });
    }

    /// Asks no more, waits until everything is answered but no longer than
    /// `patience`, and tells what there was.
    pub fn finish(mut self, patience: Duration) -> Echoes {
        self.orders.ask_no_more.store(true, Ordering::Relaxed);
        let deadline = now() + patience;
        while now() < deadline && !self.echoes().lost().is_empty() {
            thread::sleep(RESPONSE / 10);
        }
        self.end();
        self.echoes().clone()
    }

    fn echoes(&self) -> MutexGuard<'_, Echoes> {
        self.echoes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&mut self) {
        self.orders.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the echo panicked");
        }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.end();
    }
}

fn open() -> Socket {
    let kind = Type::RAW.nonblocking().cloexec();
    let socket = Socket::new(Domain::IPV4, kind, Some(Protocol::ICMPV4)).expect("a socket opens");
    socket
        .set_recv_buffer_size(1 << 22)
        .expect("a size can be asked for");
    socket
}

fn run(
    socket: &Socket,
    to: Ipv4Addr,
    interval: Duration,
    echoes: &Mutex<Echoes>,
    orders: &Orders,
    started: Instant,
) {
    let to = SocketAddrV4::new(to, 0).into();
    let (mut number, mut next) = (0_u64, started);
    while !orders.end.load(Ordering::Relaxed) {
        let is_stopped = orders.ask_no_more.load(Ordering::Relaxed);
        let at = now();
        if !is_stopped && at >= next {
            // Before it is sent, or the answer may be there first.
            lock(echoes).sent.insert(number, at - started);
            if socket.send_to(&request(number), &to).is_err() {
                let mut echoes = lock(echoes);
                echoes.sent.remove(&number);
                echoes.refused.push(at - started);
            }
            number += 1;
            // What was missed is not made up for.
            next = (next + interval).max(at);
        }
        let wait = next.saturating_duration_since(now()).min(RESPONSE / 10);
        let wait = Timespec::try_from(if is_stopped { RESPONSE / 10 } else { wait });
        let mut sources = [PollFd::new(socket, PollFlags::IN)];
        // An interruption only comes round earlier.
        let _ = poll(&mut sources, Some(&wait.expect("a short time")));
        let mut datagram = [0; 128];
        while let Ok((length, _)) = recv(socket, &mut datagram[..], RecvFlags::DONTWAIT) {
            let at = now() - started;
            if let Some(number) = answered(&datagram[..length]) {
                lock(echoes).answered.entry(number).or_insert(at);
            }
        }
    }
}

fn lock(echoes: &Mutex<Echoes>) -> MutexGuard<'_, Echoes> {
    echoes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An echo request (RFC 792), with our mark and the number as its data.
fn request(number: u64) -> [u8; 24] {
    let mut message = [0; 24];
    message[0] = ECHO_REQUEST;
    message[4..8].copy_from_slice(&[0x76, 0x69, 0, 0]);
    message[8..16].copy_from_slice(&MARK);
    message[16..24].copy_from_slice(&number.to_be_bytes());
    let words = message
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !(((folded & 0xffff) + (folded >> 16)) as u16);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}

/// The number of the request that an IPv4 datagram answers.
fn answered(datagram: &[u8]) -> Option<u64> {
    let header = usize::from(datagram.first()? & 0x0f) * 4;
    let message: &[u8; 24] = datagram.get(header..)?.first_chunk()?;
    let number: [u8; 8] = *message.last_chunk()?;
    let is_ours = message[0] == ECHO_REPLY && message[8..16] == MARK;
    is_ours.then_some(u64::from_be_bytes(number))
}

/// How soon it hears that it is to end.
const RESPONSE: Duration = Duration::from_millis(100);

/// Tells our echoes from those of `ping`.
const MARK: [u8; 8] = *b"vipdecho";

const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;
