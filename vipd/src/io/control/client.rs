//! One call to the daemon, from a program that has nothing else to do.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use socket2::{Domain, SockAddr, Socket, Type};

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no daemon answers at {}; is vipd running, and with this --socket", path.display())]
    NoDaemon { path: PathBuf },
    #[error("no permission to use {}; it takes root or the group of that socket", path.display())]
    Denied { path: PathBuf },
    #[error("the daemon at {} does not answer; it may be stopped or overloaded", path.display())]
    Timeout { path: PathBuf },
    #[error("the daemon at {} broke off", path.display())]
    Broken { path: PathBuf, source: io::Error },
    #[error("what answers at {} is not vipd: {reason}", path.display())]
    Protocol { path: PathBuf, reason: String },
    /// The daemon's own answer.
    #[error("the daemon refused: {error} {parameters}")]
    Failed { error: String, parameters: Value },
}

/// Calls a method and returns the parameters of its answer. Blocks for some
/// seconds at most.
pub fn call(path: &Path, method: &str, parameters: Value) -> Result<Value, ClientError> {
    let failed = |source| ClientError::from_io(path, source);

    let address = SockAddr::unix(path).map_err(failed)?;
    let mut socket = Socket::new(Domain::UNIX, Type::STREAM.cloexec(), None).map_err(failed)?;
    // The write timeout also bounds a connect to a full backlog (unix(7)).
    socket.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    socket.connect(&address).map_err(failed)?;

    let mut message = json!({ "method": method, "parameters": parameters })
        .to_string()
        .into_bytes();
    message.push(0);
    socket.write_all(&message).map_err(failed)?;

    let mut answer = Vec::new();
    BufReader::new(socket)
        .take(ANSWER_LIMIT)
        .read_until(0, &mut answer)
        .map_err(failed)?;
    decode(path, &answer)
}

/// The parameters of an answer, its NUL included.
pub(super) fn decode(path: &Path, answer: &[u8]) -> Result<Value, ClientError> {
    let Some((0, answer)) = answer.split_last() else {
        return Err(ClientError::from_io(
            path,
            io::ErrorKind::UnexpectedEof.into(),
        ));
    };
    let protocol = |reason: &str| ClientError::Protocol {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let mut answer: Value = serde_json::from_slice(answer).map_err(|e| protocol(&e.to_string()))?;
    let Some(answer) = answer.as_object_mut() else {
        return Err(protocol("the answer is no object"));
    };
    let parameters = answer.remove("parameters").unwrap_or_else(|| json!({}));
    match answer.remove("error") {
        None => Ok(parameters),
        Some(Value::String(error)) => Err(ClientError::Failed { error, parameters }),
        Some(_) => Err(protocol("the error has no name")),
    }
}

impl ClientError {
    fn from_io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the other kinds have nothing to advise"
        )]
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Self::NoDaemon { path },
            io::ErrorKind::PermissionDenied => Self::Denied { path },
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Timeout { path },
            _ => Self::Broken { path, source },
        }
    }
}

/// How long each step of a call may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of an answer: some hundred for each of 65,536 addresses.
const ANSWER_LIMIT: u64 = 64 << 20;
