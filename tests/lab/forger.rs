//! Somebody on the LAN who knows no password: hears every advert and
//! introduction, keeps them, and sends what it likes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use vipd::io::netlink;
use vipd::io::packet_socket::{Error, FrameSocket};

use super::{Host, Mac, Sniffer};

/// Captures from its start on.
#[derive(Clone)]
pub struct Forger {
    mac: Mac,
    sniffer: Arc<Sniffer>,
    sender: Arc<FrameSocket>,
}

impl Forger {
    /// When this returns it listens.
    pub fn start(host: &Host) -> Self {
        let mac = host.mac();
        // Not what it sends itself.
        let sniffer = Sniffer::start_for(host, move |frame| is_carp(frame) && frame[6..12] != mac);
        let sender = host.run_in(|| {
            let eth0 = netlink::lookup("eth0").expect("a host has eth0");
            FrameSocket::open("eth0", eth0.ifindex).expect("a packet socket opens")
        });
        Self {
            mac,
            sniffer: Arc::new(sniffer),
            sender: Arc::new(sender),
        }
    }

    /// What others have sent by protocol 112, whole frames, in its order.
    pub fn captured(&self) -> Vec<Vec<u8>> {
        let frames = self.sniffer.frames().into_iter();
        frames.map(|frame| frame.bytes).collect()
    }

    /// The same with its times, and the adverts among it.
    pub fn sniffer(&self) -> &Sniffer {
        &self.sniffer
    }

    /// Sends a frame to a MAC, from its own: so the bridge goes on knowing where
    /// the others are, and receivers do not look at it.
    pub fn send(&self, frame: &[u8], to: Mac) {
        let mut frame = frame.to_vec();
        frame[..6].copy_from_slice(&to);
        frame[6..12].copy_from_slice(&self.mac);
        while let Err(error) = self.sender.send(&frame) {
            assert!(matches!(error, Error::Full { .. }), "{error}");
            thread::sleep(BACK_OFF);
        }
    }

    /// Sends without end: what `next` makes of all that was captured so far, to
    /// everybody, a pause after each frame; and again. Ends when dropped.
    pub fn storm(
        &self,
        pause: Duration,
        mut next: impl FnMut(Vec<Vec<u8>>) -> Vec<Vec<u8>> + Send + 'static,
    ) -> Storm {
        let (forger, shared) = (self.clone(), Arc::<Shared>::default());
        let thread = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                while !shared.stop.load(Ordering::Relaxed) {
                    for frame in next(forger.captured()) {
                        if shared.stop.load(Ordering::Relaxed) {
                            return;
                        }
                        forger.send(&frame, EVERYBODY);
                        shared.sent.fetch_add(1, Ordering::Relaxed);
                        thread::sleep(pause);
                    }
                    // There may be nothing to send yet.
                    thread::sleep(BACK_OFF);
                }
            })
        };
        Storm {
            shared,
            thread: Some(thread),
        }
    }
}

/// Frames that are sent on a thread of its own.
pub struct Storm {
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    sent: AtomicU64,
}

impl Storm {
    /// Frames so far.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the storm panicked");
        }
    }
}

fn is_carp(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&ETHERTYPE_IPV4[..]) && frame.get(14 + 9) == Some(&PROTOCOL_CARP)
}

/// Where adverts go: 01:00:5e and the low bits of 224.0.0.18 (RFC 1112).
pub const EVERYBODY: Mac = [0x01, 0x00, 0x5e, 0x00, 0x00, 0x12];

/// Until a full queue is tried again.
const BACK_OFF: Duration = Duration::from_millis(1);

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const PROTOCOL_CARP: u8 = 112;
