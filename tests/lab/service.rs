//! A service on a host: it answers HTTP with whatever status it is told to.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::Host;

/// Dropping it closes its port.
pub struct Service {
    state: Arc<State>,
    thread: Option<thread::JoinHandle<()>>,
}

struct State {
    status: AtomicU16,
    asked: AtomicU64,
    ends: AtomicBool,
}

impl Service {
    /// When this returns it listens, and answers 200.
    pub fn start(host: &Host, address: SocketAddr) -> Self {
        let listener = host.run_in(|| TcpListener::bind(address));
        let listener = listener.unwrap_or_else(|e| panic!("cannot listen on {address}: {e}"));
        listener.set_nonblocking(true).expect("a socket can");
        let state = Arc::new(State {
            status: AtomicU16::new(200),
            asked: AtomicU64::new(0),
            ends: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&state);
        let thread = thread::spawn(move || {
            while !of_thread.ends.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        // Who asks may leave at any time.
                        let _ = answer(stream, of_thread.status.load(Ordering::Relaxed));
                        of_thread.asked.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(_) => thread::sleep(PAUSE),
                }
            }
        });
        Self {
            state,
            thread: Some(thread),
        }
    }

    /// From now on.
    pub fn answer_with(&self, status: u16) {
        self.state.status.store(status, Ordering::Relaxed);
    }

    /// How often it was asked.
    pub fn asked(&self) -> u64 {
        self.state.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.state.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Whoever connects without asking is heard out for a moment, and no longer.
fn answer(mut stream: TcpStream, status: u16) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut buffer = [0; 4096];
    if stream.read(&mut buffer)? > 0 {
        write!(stream, "HTTP/1.1 {status} So\r\nContent-Length: 0\r\n\r\n")?;
    }
    Ok(())
}

/// Between two looks for a connection.
const PAUSE: Duration = Duration::from_millis(5);
