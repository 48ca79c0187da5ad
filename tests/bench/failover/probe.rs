//! A client that asks a thousand times a second, twice over.
//!
//! *ARP*: who has the VIP? Asked from a host of its own, whose frames touch no
//! cache that counts: the protocol's view.
//!
//! *ICMP echo*: from another host through its kernel, neighbour cache and all:
//! the view of those who use a service. A tap on that host's interface tells
//! whom each request went to and who answered.

use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};
use vipd::io::netlink;
use vipd::io::packet_socket::FrameSocket;
use vipd_tests::lab::{Host, Mac, now};

/// Something seen on the wire, and whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Since the probe's start.
    pub(crate) at: Duration,
    pub(crate) mac: Mac,
}

/// All that was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    /// When it asked by ARP.
    pub(crate) asked: Vec<Duration>,
    /// Replies, by the MAC they tell.
    pub(crate) answers: Vec<Seen>,
    /// Gratuitous ARP for the VIP, by the MAC it tells.
    pub(crate) announcements: Vec<Seen>,
    /// Echo requests that left, by the MAC they were sent to.
    pub(crate) echo_requests: Vec<Seen>,
    /// Echo replies, by the MAC they came from.
    pub(crate) echo_replies: Vec<Seen>,
    /// When it asked later than it meant to, and by how much.
    pub(crate) late: Vec<(Duration, Duration)>,
}

/// What the last moments were like, to be read while it runs.
#[derive(Default)]
struct Live {
    /// Nanoseconds since the start, for each of the two nodes; 0 is never.
    answered: [AtomicU64; 2],
    echoed: [AtomicU64; 2],
    stop: AtomicBool,
}

/// The hosts that a probe asks from.
#[derive(Clone)]
pub(crate) struct Vantage {
    pub(crate) asker: Host,
    pub(crate) client: Host,
    pub(crate) vip: Ipv4Addr,
    /// The nodes that may answer.
    pub(crate) nodes: [Mac; 2],
}

/// Asks on a thread of its own, until it is finished.
pub(crate) struct Probe {
    live: Arc<Live>,
    started: Instant,
    thread: Option<thread::JoinHandle<Record>>,
}

impl Probe {
    pub(crate) fn start(vantage: &Vantage) -> Self {
        let live = Arc::new(Live::default());
        let sockets = Sockets::open(vantage);
        let (ready, is_ready) = mpsc::channel();
        let thread = {
            let (live, nodes) = (Arc::clone(&live), vantage.nodes);
            thread::spawn(move || {
                run_in_real_time();
                let started = now();
                ready.send(started).expect("the probe's maker waits");
                let mut asking = Asking {
                    sockets,
                    started,
                    nodes,
                    live,
                    sequence: 0,
                    record: Record::default(),
                };
                asking.run();
                asking.record
            })
        };
        let started = is_ready.recv().expect("the probe begins");
        Self {
            live,
            started,
            thread: Some(thread),
        }
    }

    /// Time since its start, as in its record.
    pub(crate) fn elapsed(&self) -> Duration {
        now() - self.started
    }

    /// How long ago a node answered ARP.
    pub(crate) fn since_answer(&self, node: usize) -> Option<Duration> {
        self.since(&self.live.answered[node])
    }

    /// How long ago a node answered an echo request.
    pub(crate) fn since_echo(&self, node: usize) -> Option<Duration> {
        self.since(&self.live.echoed[node])
    }

    pub(crate) fn finish(mut self) -> Record {
        self.live.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is finished once");
        thread.join().expect("the probe does not panic")
    }

    fn since(&self, last: &AtomicU64) -> Option<Duration> {
        match last.load(Ordering::Relaxed) {
            0 => None,
            at => Some(self.elapsed().saturating_sub(Duration::from_nanos(at))),
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.live.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Ahead of everything that is measured. Without the right to it the probe is
/// late more often, and says when.
pub(crate) fn run_in_real_time() {
    let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
    let _ = Command::new("chrt")
        .args(["--fifo", "--pid", "50", &thread])
        .output();
}

struct Sockets {
    vip: Ipv4Addr,
    asker: Ipv4Addr,
    question: [u8; ARP_FRAME],
    arp_out: FrameSocket,
    arp_in: Socket,
    echo_out: Socket,
    tap: Socket,
}

impl Sockets {
    fn open(vantage: &Vantage) -> Self {
        let Vantage {
            asker, client, vip, ..
        } = vantage;
        let (arp_out, arp_in, question) = asker.run_in(|| {
            let eth0 = netlink::lookup("eth0").expect("a host has eth0");
            let mac = eth0.mac.expect("eth0 has a MAC");
            (
                FrameSocket::open("eth0", eth0.ifindex).expect("a packet socket opens"),
                packet_socket(ETHERTYPE_ARP),
                question(mac, asker.address(), *vip),
            )
        });
        let (echo_out, tap) = client.run_in(|| {
            let echo_out = Socket::new(
                Domain::IPV4,
                Type::RAW.nonblocking().cloexec(),
                Some(Protocol::ICMPV4),
            )
            .expect("a raw socket opens");
            // The tap hears the replies.
            echo_out
                .attach_filter(&[SockFilter::new(BPF_RETURN, 0, 0, 0)])
                .expect("a filter is attached");
            echo_out
                .connect(&SockAddr::from(std::net::SocketAddrV4::new(*vip, 0)))
                .expect("the VIP is on the link");
            let tap = packet_socket(ETHERTYPE_ALL);
            tap.attach_filter(&only_icmp())
                .expect("a filter is attached");
            (echo_out, tap)
        });
        Self {
            vip: *vip,
            asker: asker.address(),
            question,
            arp_out,
            arp_in,
            echo_out,
            tap,
        }
    }
}

struct Asking {
    sockets: Sockets,
    started: Instant,
    nodes: [Mac; 2],
    live: Arc<Live>,
    sequence: u16,
    record: Record,
}

impl Asking {
    fn run(&mut self) {
        let mut next = self.elapsed();
        while !self.live.stop.load(Ordering::Relaxed) && next < LIMIT {
            let at = self.elapsed();
            if at >= next {
                self.ask(at);
                let late = at - next;
                if late > NOT_YET_LATE {
                    self.record.late.push((at, late));
                }
                // What was missed is not made up for.
                next = (next + INTERVAL).max(at);
            }
            self.wait(next.saturating_sub(self.elapsed()));
            self.read_arp();
            self.read_tap();
        }
    }

    fn ask(&mut self, at: Duration) {
        if self.sockets.arp_out.send(&self.sockets.question).is_ok() {
            self.record.asked.push(at);
        }
        self.sequence = self.sequence.wrapping_add(1);
        // It fails while the kernel knows no way; the outage is then measured
        // by the answers.
        let _ = send(
            &self.sockets.echo_out,
            &echo_request(self.sequence),
            SendFlags::DONTWAIT,
        );
    }

    fn wait(&self, timeout: Duration) {
        let timeout = Timespec::try_from(timeout).expect("a short time");
        let mut sources = [
            PollFd::new(&self.sockets.arp_in, PollFlags::IN),
            PollFd::new(&self.sockets.tap, PollFlags::IN),
        ];
        // An interruption only comes round earlier.
        let _ = poll(&mut sources, Some(&timeout));
    }

    fn read_arp(&mut self) {
        let mut frame = [0; 128];
        while let Ok((length, _)) = recv(
            self.sockets.arp_in.as_fd(),
            &mut frame[..],
            RecvFlags::DONTWAIT,
        ) {
            let at = self.elapsed();
            let Some(frame) = frame[..length].first_chunk::<ARP_FRAME>() else {
                continue;
            };
            let mac = mac_at(frame, 22);
            let (sender, target) = (address_at(frame, 28), address_at(frame, 38));
            if sender != self.sockets.vip {
                continue;
            }
            if target == self.sockets.vip {
                self.record.announcements.push(Seen { at, mac });
            } else if frame[20..22] == OPER_REPLY && target == self.sockets.asker {
                self.record.answers.push(Seen { at, mac });
                note(&self.live.answered, self.nodes, mac, at);
            }
        }
    }

    fn read_tap(&mut self) {
        let mut frame = [0; 128];
        while let Ok((length, _)) = recv(
            self.sockets.tap.as_fd(),
            &mut frame[..],
            RecvFlags::DONTWAIT,
        ) {
            let at = self.elapsed();
            if length < ECHO_FRAME || frame[38..40] != IDENTIFIER {
                continue;
            }
            match frame[34] {
                ECHO_REQUEST if address_at(&frame, 30) == self.sockets.vip => {
                    let mac = mac_at(&frame, 0);
                    self.record.echo_requests.push(Seen { at, mac });
                }
                ECHO_REPLY if address_at(&frame, 26) == self.sockets.vip => {
                    let mac = mac_at(&frame, 6);
                    self.record.echo_replies.push(Seen { at, mac });
                    note(&self.live.echoed, self.nodes, mac, at);
                }
                _ => {}
            }
        }
    }

    fn elapsed(&self) -> Duration {
        now() - self.started
    }
}

fn note(last: &[AtomicU64; 2], nodes: [Mac; 2], mac: Mac, at: Duration) {
    if let Some(node) = nodes.iter().position(|node| *node == mac) {
        let at = u64::try_from(at.as_nanos()).expect("a probe runs for minutes");
        last[node].store(at, Ordering::Relaxed);
    }
}

/// Not bound: it hears all interfaces, but only one of them knows these frames.
fn packet_socket(ethertype: u16) -> Socket {
    Socket::new(
        Domain::PACKET,
        Type::RAW.nonblocking().cloexec(),
        Some(Protocol::from(i32::from(ethertype.to_be()))),
    )
    .expect("a packet socket opens")
}

/// ```text
///       ldh [12]
///       jeq #0x800, next, drop
/// next: ldb [23]
///       jeq #1, accept, drop
/// ```
fn only_icmp() -> [SockFilter; 6] {
    [
        SockFilter::new(BPF_LOAD_HALF, 0, 0, 12),
        SockFilter::new(BPF_JUMP_EQUAL, 0, 3, 0x0800),
        SockFilter::new(BPF_LOAD_BYTE, 0, 0, 23),
        SockFilter::new(BPF_JUMP_EQUAL, 0, 1, 1),
        SockFilter::new(BPF_RETURN, 0, 0, u32::MAX),
        SockFilter::new(BPF_RETURN, 0, 0, 0),
    ]
}

/// RFC 826.
fn question(mac: Mac, own: Ipv4Addr, vip: Ipv4Addr) -> [u8; ARP_FRAME] {
    let mut frame = [0; ARP_FRAME];
    frame[0..6].fill(0xff);
    frame[6..12].copy_from_slice(&mac);
    frame[12..14].copy_from_slice(&ETHERTYPE_ARP.to_be_bytes());
    frame[14..22].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
    frame[22..28].copy_from_slice(&mac);
    frame[28..32].copy_from_slice(&own.octets());
    frame[38..42].copy_from_slice(&vip.octets());
    frame
}

/// RFC 792.
fn echo_request(sequence: u16) -> [u8; 8] {
    let [high, low] = sequence.to_be_bytes();
    let mut message = [
        ECHO_REQUEST,
        0,
        0,
        0,
        IDENTIFIER[0],
        IDENTIFIER[1],
        high,
        low,
    ];
    let words = message.chunks_exact(2);
    let sum: u32 = words
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).expect("it is folded");
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}

fn mac_at(frame: &[u8], from: usize) -> Mac {
    let mut mac = [0; 6];
    mac.copy_from_slice(&frame[from..from + 6]);
    mac
}

fn address_at(frame: &[u8], from: usize) -> Ipv4Addr {
    Ipv4Addr::new(
        frame[from],
        frame[from + 1],
        frame[from + 2],
        frame[from + 3],
    )
}

/// Between two questions.
const INTERVAL: Duration = Duration::from_millis(1);

/// The longest that a probe runs.
const LIMIT: Duration = Duration::from_secs(3600);

/// Less is not worth a line in the record.
const NOT_YET_LATE: Duration = Duration::from_millis(1);

/// Bytes of an Ethernet frame with ARP for IPv4, unpadded (RFC 826).
const ARP_FRAME: usize = 42;

/// Bytes of an Ethernet frame with IPv4, without options, and an empty echo.
const ECHO_FRAME: usize = 42;

/// Tells our echo requests from others.
const IDENTIFIER: [u8; 2] = [0xca, 0x9b];

const ETHERTYPE_ARP: u16 = 0x0806;
/// `ETH_P_ALL`, which alone hears what leaves, too (packet(7)).
const ETHERTYPE_ALL: u16 = 0x0003;
const OPER_REPLY: [u8; 2] = [0, 2];
const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;

/// Classic BPF (`linux/bpf_common.h`): `BPF_LD | BPF_H | BPF_ABS`, and so on.
const BPF_LOAD_HALF: u16 = 0x28;
const BPF_LOAD_BYTE: u16 = 0x30;
const BPF_JUMP_EQUAL: u16 = 0x15;
const BPF_RETURN: u16 = 0x06;
