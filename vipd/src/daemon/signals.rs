//! Signals, and what they mean to UCARP's users and to systemd.

use tokio::signal::unix::{Signal, SignalKind, signal};

pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
    restart: Signal,
}

/// What to do about a signal.
pub(super) enum Command {
    Stop(&'static str),
    /// End, and leave everything to the daemon that is started next.
    Restart,
    Reload,
    LogStatus,
    StepDown,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
            restart: signal(SignalKind::from_raw(libc::SIGRTMIN() + 1))?,
        })
    }

    pub(super) async fn next(&mut self) -> Command {
        tokio::select! {
            _ = self.terminate.recv() => Command::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Command::Stop("SIGINT"),
            _ = self.quit.recv() => Command::Stop("SIGQUIT"),
            _ = self.hangup.recv() => Command::Reload,
            _ = self.user1.recv() => Command::LogStatus,
            _ = self.user2.recv() => Command::StepDown,
            _ = self.restart.recv() => Command::Restart,
        }
    }
}
