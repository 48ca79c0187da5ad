//! What the service manager is told: that the daemon is ready, reloads, stops,
//! lives, and how it does (sd_notify(3)). Without a service manager it is nothing.
//!
//! Messages are sent by a thread: the service manager's socket may be full, and
//! nobody waits for it. What finds no room is lost; the next word replaces it.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;

/// How long the end of the daemon waits for its last words to be taken.
const PATIENCE: Duration = Duration::from_secs(1);

/// Messages that may wait.
const BACKLOG: usize = 16;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// The service serves, or does so again after `Reloading`.
    Ready,
    /// The configuration is being read anew; `Ready` follows whatever becomes of it.
    Reloading,
    /// The service ends.
    Stopping,
    /// Proof of life, due every [`ServiceManager::watchdog`].
    Alive,
    /// One line for `systemctl status`.
    Status(String),
}

/// The service manager, if there is one.
#[derive(Debug)]
pub struct ServiceManager {
    words: Option<SyncSender<Word>>,
    /// Disconnected when everything has been sent.
    all_sent: Option<Receiver<()>>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// Finds it by the environment that it gives its services (`NOTIFY_SOCKET`,
    /// `WATCHDOG_USEC`, `WATCHDOG_PID`).
    pub fn find() -> io::Result<Self> {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Ok(Self {
                words: None,
                all_sent: None,
                watchdog: None,
            });
        }
        let (words, to_send) = sync_channel(BACKLOG);
        let (sending, all_sent) = channel();
        thread::Builder::new()
            .name("systemd".to_owned())
            .spawn(move || {
                let _until_the_end: std::sync::mpsc::Sender<()> = sending;
                for word in to_send {
                    if let Err(error) = send(&word) {
                        tracing::debug!("the service manager cannot be told {word:?}: {error}");
                    }
                }
            })?;
        Ok(Self {
            words: Some(words),
            all_sent: Some(all_sent),
            watchdog: sd_notify::watchdog_enabled(),
        })
    }

    /// How often it wants to hear `Alive`: half of the time after which it takes
    /// the service for dead, as sd_watchdog_enabled(3) recommends.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 2)
    }

    /// Tells it, without waiting.
    pub fn tell(&self, word: Word) {
        if let Some(words) = &self.words {
            // A service manager that does not read misses it.
            let _ = words.try_send(word);
        }
    }
}

impl Drop for ServiceManager {
    /// The last words are sent before the process ends, if they are taken.
    fn drop(&mut self) {
        self.words = None;
        if let Some(all_sent) = &self.all_sent {
            let _ = all_sent.recv_timeout(PATIENCE);
        }
    }
}

fn send(word: &Word) -> io::Result<()> {
    match word {
        Word::Ready => sd_notify::notify(&[NotifyState::Ready]),
        // `Type=notify-reload` waits for ever for a reload without its time
        // (systemd.service(5)).
        Word::Reloading => {
            sd_notify::notify(&[NotifyState::Reloading, NotifyState::monotonic_usec_now()?])
        }
        Word::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
        Word::Alive => sd_notify::notify(&[NotifyState::Watchdog]),
        Word::Status(line) => sd_notify::notify(&[NotifyState::Status(line)]),
    }
}
