//! Everything that passes a host's `eth0`, kept for questions asked afterwards.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, recv, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use vipd::carp::Advertisement;
use vipd_common::arp::ArpFrame;

use super::wait::now;
use super::{Host, Mac};

/// Records on a thread of its own until it is dropped.
pub struct Sniffer {
    started: Instant,
    frames: Arc<Mutex<Vec<Frame>>>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

/// One frame, in or out.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Since the sniffer's start.
    pub at: Duration,
    pub bytes: Vec<u8>,
}

impl Sniffer {
    /// When this returns it listens.
    pub fn start(host: &Host) -> Self {
        Self::start_for(host, |_| true)
    }

    /// The same for those frames that are wanted.
    pub fn start_for(host: &Host, is_wanted: impl Fn(&[u8]) -> bool + Send + 'static) -> Self {
        let frames = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, is_ready) = mpsc::channel();
        let thread = {
            let (host, frames, stop) = (host.clone(), Arc::clone(&frames), Arc::clone(&stop));
            thread::spawn(move || {
                host.enter();
                let protocol = Protocol::from(i32::from(ETH_P_ALL.to_be()));
                let kind = Type::RAW.nonblocking().cloexec();
                let socket = Socket::new(Domain::PACKET, kind, Some(protocol))
                    .expect("a packet socket opens");
                sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER)
                    .expect("root may");
                let started = now();
                ready.send(started).expect("the sniffer's maker waits");
                while !stop.load(Ordering::Relaxed) {
                    read_all(&socket, started, &frames, &is_wanted);
                }
            })
        };
        let started = is_ready.recv().expect("the sniffer opens its socket");
        Self {
            started,
            frames,
            stop,
            thread: Some(thread),
        }
    }

    /// Time since the sniffer's start, to compare with what it records.
    pub fn elapsed(&self) -> Duration {
        now() - self.started
    }

    /// What passed so far.
    pub fn frames(&self) -> Vec<Frame> {
        self.frames
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The ARP frames among them.
    pub fn arp(&self) -> Vec<(Duration, ArpFrame)> {
        let frames = self.frames();
        let arp = |frame: &Frame| Some((frame.at, ArpFrame::parse(&frame.bytes).ok()?));
        frames.iter().filter_map(arp).collect()
    }

    /// Gratuitous ARP for an address, of both forms.
    pub fn announcements(&self, vip: Ipv4Addr) -> Vec<(Duration, ArpFrame)> {
        let mut arp = self.arp();
        arp.retain(|(_, arp)| arp.spa == vip.octets() && arp.tpa == vip.octets());
        arp
    }

    /// The advertisements among the frames, with who sent them.
    pub fn adverts(&self) -> Vec<(Duration, Ipv4Addr, Advertisement)> {
        let frames = self.frames();
        let advert = |frame: &Frame| {
            let datagram = frame.bytes.strip_prefix(&ADVERT_TO)?.get(6 + 2..)?;
            let (from, advert) = Advertisement::parse(datagram).ok()?;
            Some((frame.at, from, advert))
        };
        frames.iter().filter_map(advert).collect()
    }

    /// Writes what passed so far as a file that tshark reads.
    pub fn write_pcap(&self, path: &Path) -> PathBuf {
        // The classic format, little-endian, of Ethernet (pcap-savefile(5)).
        let mut pcap = Vec::new();
        for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 0xffff, 1_u32] {
            pcap.extend(word.to_le_bytes());
        }
        for frame in self.frames() {
            let length = u32::try_from(frame.bytes.len()).expect("a frame is short");
            let seconds = u32::try_from(frame.at.as_secs()).expect("a test is short");
            for word in [seconds, frame.at.subsec_micros(), length, length] {
                pcap.extend(word.to_le_bytes());
            }
            pcap.extend(frame.bytes);
        }
        fs::write(path, pcap).expect("cannot write a capture");
        path.to_owned()
    }
}

impl Drop for Sniffer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the sniffer panicked");
        }
    }
}

fn read_all(
    socket: &Socket,
    started: Instant,
    frames: &Mutex<Vec<Frame>>,
    is_wanted: &impl Fn(&[u8]) -> bool,
) {
    let timeout = Timespec::try_from(RESPONSE).expect("a short time");
    // An interruption only comes round earlier.
    let _ = poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&timeout));
    let mut bytes = [0; 2048];
    while let Ok((length, _)) = recv(socket, &mut bytes[..], RecvFlags::DONTWAIT) {
        if !is_wanted(&bytes[..length]) {
            continue;
        }
        let frame = Frame {
            at: now() - started,
            bytes: bytes[..length].to_vec(),
        };
        frames
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(frame);
    }
}

/// How soon it hears that it is to end.
const RESPONSE: Duration = Duration::from_millis(100);

/// Bytes that wait for a sniffer which is slow; more are lost.
const RECEIVE_BUFFER: usize = 1 << 24;

/// Every protocol (`ETH_P_ALL`, linux/if_ether.h).
const ETH_P_ALL: u16 = 3;

/// Where advertisements go.
const ADVERT_TO: Mac = [0x01, 0x00, 0x5e, 0x00, 0x00, 0x12];
