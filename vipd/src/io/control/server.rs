//! Serves the clients, each in a task of its own.

use std::io;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::{Reply, Request};

#[derive(Deserialize)]
struct Call {
    method: String,
    #[serde(default)]
    parameters: Option<Value>,
}

/// Returns only if the socket cannot be used at all.
pub(super) async fn serve(listener: UnixListener, requests: mpsc::Sender<Request>) {
    let listener = match tokio::net::UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return warn!(%error, "cannot wait for clients of the control socket"),
    };
    let places = Arc::new(Semaphore::new(CLIENTS));
    loop {
        // Beyond the bound clients wait in the backlog, each at most as long as
        // the timeouts of those before it.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let requests = requests.clone();
                tokio::spawn(async move {
                    // A client that dies or stalls is nobody's concern.
                    let (reader, writer) = stream.into_split();
                    let _ = attend(reader, writer, requests).await;
                    drop(place);
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept a client of the control socket");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// Answers calls in the order they come, until the client leaves or misbehaves.
pub(super) async fn attend(
    reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
    requests: mpsc::Sender<Request>,
) -> io::Result<()> {
    let mut reader = BufReader::new(reader);
    loop {
        let mut message = Vec::new();
        let mut limited = (&mut reader).take(MESSAGE_LIMIT + 1);
        timeout(PATIENCE, limited.read_until(0, &mut message)).await??;

        let (reply, more) = match message.pop() {
            None => return Ok(()),
            Some(0) => match call(&message) {
                Ok(call) => (forward(call, &requests).await, true),
                Err(e) => (
                    refuse("org.vipd.InvalidRequest", &format!("not a call: {e}")),
                    false,
                ),
            },
            Some(_) if message.len() as u64 >= MESSAGE_LIMIT => (
                refuse(
                    "org.vipd.InvalidRequest",
                    &format!("longer than {MESSAGE_LIMIT} bytes"),
                ),
                false,
            ),
            // The client left within a call.
            Some(_) => return Ok(()),
        };
        let mut answer = match reply {
            Ok(parameters) => json!({ "parameters": parameters }),
            Err((error, parameters)) => json!({ "error": error, "parameters": parameters }),
        }
        .to_string()
        .into_bytes();
        answer.push(0);
        timeout(PATIENCE, writer.write_all(&answer)).await??;
        if !more {
            return Ok(());
        }
    }
}

/// An object and nothing else: a type of two fields would take an array, and
/// leave the bytes of other members unread.
fn call(message: &[u8]) -> serde_json::Result<Call> {
    let object: serde_json::Map<String, Value> = serde_json::from_slice(message)?;
    serde_json::from_value(object.into())
}

async fn forward(call: Call, requests: &mpsc::Sender<Request>) -> Reply {
    let parameters = call.parameters.unwrap_or_else(|| json!({}));
    if !parameters.is_object() {
        return refuse("org.vipd.InvalidRequest", "parameters must be an object");
    }
    let (reply, answered) = oneshot::channel();
    match requests.try_send(Request {
        method: call.method,
        parameters,
        reply,
    }) {
        Ok(()) => {}
        Err(TrySendError::Full(_)) => {
            return refuse("org.vipd.Busy", "the daemon has too many calls to answer");
        }
        Err(TrySendError::Closed(_)) => return refuse("org.vipd.Busy", "the daemon is stopping"),
    }
    match timeout(ANSWER_WITHIN, answered).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(_)) => refuse("org.vipd.Failed", "the daemon dropped the call"),
        Err(_) => refuse("org.vipd.Busy", "the daemon's loop does not answer"),
    }
}

fn refuse(error: &str, reason: &str) -> Reply {
    Err((error.to_owned(), json!({ "reason": reason })))
}

/// Clients served at once. Each has one call under way at most, so as many
/// calls wait for the daemon.
pub(super) const CLIENTS: usize = 32;

/// Bytes of one call, without its NUL. A longer one ends the connection.
pub(super) const MESSAGE_LIMIT: u64 = 64 * 1024;

/// How long a client may take to send a call, or to read an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long the daemon's loop may take; less than the client waits.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// Pause after `accept` failed, as it does where descriptors have run out.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
