//! Those who follow what happens.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// Events that wait for a follower. With more he is cut off: he would be told of
/// them too late, and the memory is the daemon's.
pub(super) const QUEUE: usize = 256;

#[derive(Debug)]
pub(super) struct Published {
    pub(super) group: Option<String>,
    pub(super) event: Value,
}

/// What one follower is still to be told.
#[derive(Debug)]
pub struct Subscription {
    group: Option<String>,
    events: Option<broadcast::Receiver<Arc<Published>>>,
}

/// Why there is no further event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The daemon ends.
    Over,
    /// Some are lost.
    TooSlow,
}

impl Subscription {
    pub(super) fn new(
        events: Option<&broadcast::Sender<Arc<Published>>>,
        group: Option<String>,
    ) -> Self {
        Self {
            group,
            events: events.map(broadcast::Sender::subscribe),
        }
    }

    /// May be dropped while it waits: nothing is lost.
    pub(super) async fn next(&mut self) -> Result<Arc<Published>, End> {
        let Some(events) = &mut self.events else {
            return Err(End::Over);
        };
        loop {
            let published = events.recv().await.map_err(|error| match error {
                RecvError::Closed => End::Over,
                RecvError::Lagged(_) => End::TooSlow,
            })?;
            let is_other = |group: &String| self.group.as_ref().is_some_and(|own| own != group);
            if !published.group.as_ref().is_some_and(is_other) {
                return Ok(published);
            }
        }
    }
}
