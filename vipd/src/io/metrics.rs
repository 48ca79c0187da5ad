//! `/metrics` over HTTP/1.1, for who asks for a listener: there is none unless the
//! operator gives it an address.
//!
//! It has a thread of its own. Each scrape asks the daemon's loop for a snapshot, as
//! a client of the control socket does, and the text is made of it here. A client
//! that floods, stalls or dies costs its own connection and nothing else: so many
//! at once, so many bytes of a request, so much time, one request each.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tracing::warn;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen at {address}, where metrics were to be served")]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("cannot start a thread for the metrics")]
    Thread { source: io::Error },
}

/// Wants one snapshot. A sender that is dropped answers that there is none.
pub type Scrape<T> = oneshot::Sender<T>;

/// How a snapshot becomes text.
#[derive(Debug)]
pub struct Format<T> {
    pub content_type: &'static str,
    pub text: fn(&T) -> String,
}

// Derived ones would want them of T too.
impl<T> Copy for Format<T> {}
impl<T> Clone for Format<T> {
    fn clone(&self) -> Self {
        *self
    }
}

/// The server. Dropping it disconnects all clients and frees the port.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    /// Listens at once; what it is asked comes out of the receiver.
    pub fn bind<T: Send + 'static>(
        address: SocketAddr,
        format: Format<T>,
    ) -> Result<(Self, mpsc::Receiver<Scrape<T>>), Error> {
        let listen = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let bound = listener.local_addr().map_err(listen)?;
        let (scrapes, scrapes_rx) = mpsc::channel(CLIENTS);
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| Error::Thread { source })?;
        let thread = thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = serve(listener, format, scrapes) => {}
                        _ = stopped => {}
                    }
                });
            })
            .map_err(|source| Error::Thread { source })?;
        let server = Self {
            address: bound,
            stop: Some(stop),
            thread: Some(thread),
        };
        Ok((server, scrapes_rx))
    }

    /// Where it listens: the port is chosen by the kernel where 0 was asked for.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Returns only if the listener cannot be used at all.
async fn serve<T: Send + 'static>(
    listener: TcpListener,
    format: Format<T>,
    scrapes: mpsc::Sender<Scrape<T>>,
) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return warn!(%error, "cannot wait for those who ask for metrics"),
    };
    let places = Arc::new(Semaphore::new(CLIENTS));
    loop {
        // Beyond the bound clients wait in the backlog, as long as those before them
        // may take.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let scrapes = scrapes.clone();
                tokio::spawn(async move {
                    let answer = service_fn(|request| answer(request, format, &scrapes));
                    let connection = http1::Builder::new()
                        .timer(TokioTimer::new())
                        .header_read_timeout(PATIENCE)
                        .max_buf_size(REQUEST_LIMIT)
                        .keep_alive(false)
                        .serve_connection(TokioIo::new(stream), answer);
                    // A client that dies or stalls is nobody's concern.
                    let _ = timeout(PATIENCE, connection).await;
                    drop(place);
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept one who asks for metrics");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn answer<T>(
    request: Request<Incoming>,
    format: Format<T>,
    scrapes: &mpsc::Sender<Scrape<T>>,
) -> Result<Response<String>, Infallible> {
    if request.uri().path() != PATH {
        return Ok(refusal(
            StatusCode::NOT_FOUND,
            "the metrics are at /metrics\n",
        ));
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = refusal(StatusCode::METHOD_NOT_ALLOWED, "metrics can be read only\n");
        refusal
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Ok(refusal);
    }
    let (reply, answered) = oneshot::channel();
    let snapshot = match scrapes.try_send(reply) {
        Ok(()) => timeout(ANSWER_WITHIN, answered).await,
        Err(_) => return Ok(refusal(StatusCode::SERVICE_UNAVAILABLE, BUSY)),
    };
    let Ok(Ok(snapshot)) = snapshot else {
        return Ok(refusal(StatusCode::SERVICE_UNAVAILABLE, BUSY));
    };
    let mut response = Response::new((format.text)(&snapshot));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type));
    Ok(response)
}

fn refusal(status: StatusCode, words: &str) -> Response<String> {
    let mut response = Response::new(words.to_owned());
    *response.status_mut() = status;
    response
}

const PATH: &str = "/metrics";

const BUSY: &str = "the daemon's loop does not answer\n";

/// Connections served at once. Prometheus needs one, two with a pair of servers.
const CLIENTS: usize = 8;

/// Bytes of a request's line and headers: the least that hyper takes.
const REQUEST_LIMIT: usize = 8192;

/// How long a connection may last, the request's headers and the answer included.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the daemon's loop may take; less than the connection lasts.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// Pause after `accept` failed, as it does where descriptors have run out.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
