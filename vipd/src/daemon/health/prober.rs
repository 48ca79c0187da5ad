//! Asks, on a thread of its own: a service that is slow and a command that hangs keep
//! nobody waiting but their own check.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::io::{command, probe};

/// What is asked, again and again.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) question: Question,
    /// From the beginning of one probe to that of the next. The next one waits for
    /// the one before it.
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

#[derive(Clone, Debug)]
pub(super) enum Question {
    /// Its time limit is its own.
    Command(command::Command),
    Tcp(SocketAddr),
    Http {
        address: SocketAddr,
        host: String,
        path: String,
        status: u16,
    },
}

/// What one probe came to.
#[derive(Debug)]
pub(in crate::daemon) struct Answer {
    pub(super) id: u64,
    /// Why it failed.
    pub(super) result: Result<(), String>,
}

enum Order {
    Begin(u64, Asked),
    End(u64),
}

/// The way to the thread. Dropping it ends the thread, and kills the commands that
/// it runs.
pub(super) struct Prober {
    orders: mpsc::UnboundedSender<Order>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Prober {
    /// A reader of `answers` who is slow slows the checks down.
    pub(super) fn spawn(answers: mpsc::Sender<Answer>) -> io::Result<Self> {
        let (orders, mut to_do) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = thread::Builder::new()
            .name("checks".to_owned())
            .spawn(move || {
                let rights = command::give_up_rights().map_err(|error| {
                    format!("not asked, as the thread of checks cannot give its rights up: {error}")
                });
                runtime.block_on(async {
                    let mut watches = BTreeMap::new();
                    while let Some(order) = to_do.recv().await {
                        match order {
                            Order::Begin(id, asked) => {
                                let watch = watch(id, asked, rights.clone(), answers.clone());
                                watches.insert(id, tokio::spawn(watch));
                            }
                            Order::End(id) => {
                                if let Some(watch) = watches.remove(&id) {
                                    watch.abort();
                                }
                            }
                        }
                    }
                });
            })?;
        Ok(Self {
            orders,
            thread: Some(thread),
        })
    }

    /// From now on, until [`Self::end`].
    pub(super) fn begin(&self, id: u64, asked: Asked) {
        // The thread ends only with this.
        let _ = self.orders.send(Order::Begin(id, asked));
    }

    /// Answers that are under way may still come.
    pub(super) fn end(&self, id: u64) {
        let _ = self.orders.send(Order::End(id));
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        let (nobody, _) = mpsc::unbounded_channel();
        self.orders = nobody;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn watch(id: u64, asked: Asked, rights: Result<(), String>, answers: mpsc::Sender<Answer>) {
    let mut beat = tokio::time::interval(asked.interval);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let tell = async |result| {
        // A daemon that ends wants to know nothing.
        let _ = answers.send(Answer { id, result }).await;
    };
    loop {
        beat.tick().await;
        match &asked.question {
            Question::Command(command) => {
                if let Err(reason) = &rights {
                    tell(Err(reason.clone())).await;
                    continue;
                }
                let (ended, mut remains) = command::run(command).await;
                let result = if ended.is_success() {
                    Ok(())
                } else {
                    Err(ended.to_string())
                };
                // One that cannot be killed is told of in time, and never runs twice.
                tokio::join!(tell(result), remains.vanish());
            }
            Question::Tcp(address) => {
                tell(within(asked.timeout, probe::tcp(*address)).await).await;
            }
            Question::Http {
                address,
                host,
                path,
                status,
            } => {
                let asking = probe::http(*address, host, path, *status);
                tell(within(asked.timeout, asking).await).await;
            }
        }
    }
}

async fn within(
    patience: Duration,
    asking: impl Future<Output = Result<(), String>>,
) -> Result<(), String> {
    match tokio::time::timeout(patience, asking).await {
        Ok(result) => result,
        Err(_) => Err(format!("no answer within {patience:?}")),
    }
}
