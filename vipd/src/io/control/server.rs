//! Serves the clients, each in a task of its own.

use std::io;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use super::follow::End;
use super::interface::{self, METHODS};
use super::{Access, Answer, Peer, Reply, Request, Subscription};

#[derive(Deserialize)]
struct Call {
    method: String,
    #[serde(default)]
    parameters: Option<Value>,
    /// Whether more than one answer is welcome.
    #[serde(default)]
    more: bool,
    /// Whether no answer is.
    #[serde(default)]
    oneway: bool,
}

/// What all connections share.
#[derive(Debug)]
pub(super) struct Service {
    requests: mpsc::Sender<Request>,
    access: watch::Receiver<Access>,
    /// Places for those who follow, and so hold theirs for long.
    followers: Arc<Semaphore>,
    /// When a refusal was logged last.
    refused: Mutex<Option<Instant>>,
}

impl Service {
    pub(super) fn new(requests: mpsc::Sender<Request>, access: watch::Receiver<Access>) -> Self {
        Self {
            requests,
            access,
            followers: Arc::new(Semaphore::new(FOLLOWERS)),
            refused: Mutex::new(None),
        }
    }
}

/// Serves until it is stopped. It returns before that only if the socket cannot be
/// used at all.
pub(super) async fn serve(
    listener: UnixListener,
    service: Arc<Service>,
    stopped: oneshot::Receiver<()>,
) {
    tokio::select! {
        () = accept(listener, &service) => {}
        _ = stopped => {
            // They have been told the last event when they have left.
            let all = u32::try_from(FOLLOWERS).unwrap_or(u32::MAX);
            let _ = timeout(LAST_WORDS, service.followers.acquire_many(all)).await;
        }
    }
}

async fn accept(listener: UnixListener, service: &Arc<Service>) {
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
                let service = Arc::clone(service);
                tokio::spawn(async move {
                    let _place = place;
                    let peer = match Peer::of(&stream) {
                        Ok(peer) => peer,
                        Err(error) => return debug!(%error, "a client without a name"),
                    };
                    // A client that dies or stalls is nobody's concern.
                    let (reader, writer) = stream.into_split();
                    let _ = attend(reader, writer, &peer, &service).await;
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
    peer: &Peer,
    service: &Service,
) -> io::Result<()> {
    let mut reader = BufReader::new(reader);
    loop {
        let mut message = Vec::new();
        let mut limited = (&mut reader).take(MESSAGE_LIMIT + 1);
        timeout(PATIENCE, limited.read_until(0, &mut message)).await??;

        let call = match message.pop() {
            None => return Ok(()),
            Some(0) => call(&message).map_err(|error| format!("not a call: {error}")),
            Some(_) if message.len() as u64 >= MESSAGE_LIMIT => {
                Err(format!("longer than {MESSAGE_LIMIT} bytes"))
            }
            // The client left within a call.
            Some(_) => return Ok(()),
        };
        let call = match call {
            Ok(call) => call,
            Err(reason) => {
                return send(&mut writer, &refuse("org.vipd.InvalidRequest", &reason)).await;
            }
        };
        let oneway = call.oneway;
        let reply = match service.answer(call, peer).await {
            Ok((Answer::Follow { first, then }, Some(place))) => {
                return tell(&mut reader, &mut writer, first, then, place).await;
            }
            Ok((Answer::Follow { first, .. }, None)) => Ok(first),
            Ok((Answer::Once(parameters), _)) => Ok(parameters),
            Err(refusal) => Err(refusal),
        };
        if !oneway {
            send(&mut writer, &reply).await?;
        }
    }
}

/// Tells a follower what happens, until he leaves. Whatever he sends meanwhile ends
/// it too: there is nobody who would answer it.
async fn tell(
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
    first: Value,
    mut then: Subscription,
    _place: OwnedSemaphorePermit,
) -> io::Result<()> {
    let told = |event: &Value| json!({ "continues": true, "parameters": event });
    write(writer, &told(&first)).await?;
    let mut byte = [0];
    loop {
        let next = tokio::select! {
            _ = reader.read(&mut byte) => return Ok(()),
            next = then.next() => next,
        };
        match next {
            Ok(published) => write(writer, &told(&published.event)).await?,
            Err(End::Over) => return Ok(()),
            Err(End::TooSlow) => {
                let reason = "more has happened than you have read";
                return send(writer, &refuse("org.vipd.Busy", reason)).await;
            }
        }
    }
}

async fn send(
    writer: &mut (impl AsyncWrite + Unpin),
    reply: &Result<Value, (String, Value)>,
) -> io::Result<()> {
    let message = match reply {
        Ok(parameters) => json!({ "parameters": parameters }),
        Err((error, parameters)) => json!({ "error": error, "parameters": parameters }),
    };
    write(writer, &message).await
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), message: &Value) -> io::Result<()> {
    let mut bytes = message.to_string().into_bytes();
    bytes.push(0);
    timeout(PATIENCE, writer.write_all(&bytes)).await?
}

/// An object and nothing else: a type of named fields would take an array, and
/// leave the bytes of other members unread.
fn call(message: &[u8]) -> serde_json::Result<Call> {
    let object: serde_json::Map<String, Value> = serde_json::from_slice(message)?;
    serde_json::from_value(object.into())
}

impl Service {
    /// The answer, and for one that goes on a place to stay.
    async fn answer(
        &self,
        call: Call,
        peer: &Peer,
    ) -> Result<(Answer, Option<OwnedSemaphorePermit>), (String, Value)> {
        let parameters = call.parameters.unwrap_or_else(|| json!({}));
        if !parameters.is_object() {
            return refuse("org.vipd.InvalidRequest", "parameters must be an object");
        }
        if let Some(reply) = interface::introspect(&call.method, &parameters) {
            return reply.map(|answer| (answer, None));
        }
        let is_called = |method: &&interface::Method| method.name == call.method;
        let method = METHODS.iter().find(is_called);
        if method.is_some_and(|method| method.changes) {
            self.check(&call.method, peer)?;
        }
        let mut place = None;
        if method.is_some_and(|method| method.streams) {
            if !call.more || call.oneway {
                let error = "org.varlink.service.ExpectedMore".to_owned();
                return Err((error, json!({})));
            }
            match Arc::clone(&self.followers).try_acquire_owned() {
                Ok(found) => place = Some(found),
                Err(_) => return refuse("org.vipd.Busy", "too many follow already"),
            }
        }
        let answer = self.forward(call.method, parameters, peer).await?;
        Ok((answer, place))
    }

    /// Whether the peer may change things. Who may not is told so, and so is the log,
    /// once a second at most.
    fn check(&self, method: &str, peer: &Peer) -> Result<(), (String, Value)> {
        let access = self.access.borrow();
        if access.may_change(peer) {
            return Ok(());
        }
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if refused.is_none_or(|at| now - at >= REFUSALS_APART) {
            *refused = Some(now);
            warn!(
                method,
                uid = peer.uid,
                pid = peer.pid,
                "refused to a client of the control socket: {}",
                access.who()
            );
        }
        refuse("org.vipd.PermissionDenied", &access.who())
    }

    async fn forward(&self, method: String, parameters: Value, peer: &Peer) -> Reply {
        let patience = interface::answer_within(&method);
        let (reply, answered) = oneshot::channel();
        match self.requests.try_send(Request {
            method,
            parameters,
            peer: peer.clone(),
            reply,
        }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                return refuse("org.vipd.Busy", "the daemon has too many calls to answer");
            }
            Err(TrySendError::Closed(_)) => {
                return refuse("org.vipd.Busy", "the daemon is stopping");
            }
        }
        match timeout(patience, answered).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => refuse("org.vipd.Failed", "the daemon dropped the call"),
            Err(_) => refuse("org.vipd.Busy", "the daemon's loop does not answer"),
        }
    }
}

fn refuse<T>(error: &str, reason: &str) -> Result<T, (String, Value)> {
    Err((error.to_owned(), json!({ "reason": reason })))
}

/// Clients served at once. Each has one call under way at most, so as many
/// calls wait for the daemon.
pub(super) const CLIENTS: usize = 32;

/// Of these, how many may follow what happens: the others come and go.
pub(super) const FOLLOWERS: usize = 16;

/// Bytes of one call, without its NUL. A longer one ends the connection.
pub(super) const MESSAGE_LIMIT: u64 = 64 * 1024;

/// How long a client may take to send a call, or to read an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long the end waits for followers to read what is left.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// Least time between two log lines about clients that were refused.
const REFUSALS_APART: Duration = Duration::from_secs(1);

/// Pause after `accept` failed, as it does where descriptors have run out.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
