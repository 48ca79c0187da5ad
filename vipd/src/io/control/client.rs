//! One call to the daemon, from a program that has nothing else to do.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use socket2::{Domain, SockAddr, Socket, Type};

use super::interface;

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
    let message = json!({ "method": method, "parameters": parameters });
    // The daemon answers before that, if only that it cannot.
    let patience = interface::answer_within(method) + Duration::from_secs(1);
    let mut answers = send(path, &message, patience)?;
    let answer = read(&mut answers).map_err(|e| ClientError::from_io(path, e))?;
    decode(path, &answer)
}

/// Calls a method that has many answers.
pub fn follow(path: &Path, method: &str, parameters: Value) -> Result<Follower, ClientError> {
    let message = json!({ "method": method, "parameters": parameters, "more": true });
    Ok(Follower {
        answers: Some(send(path, &message, PATIENCE)?),
        path: path.to_owned(),
    })
}

/// The answers, as they come. The first comes within some seconds, the others when
/// they like; it ends when the daemon does, or with an error.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    answers: Option<BufReader<Socket>>,
}

impl Iterator for Follower {
    type Item = Result<Value, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut answers = self.answers.take()?;
        let answer = match read(&mut answers) {
            Ok(answer) if answer.is_empty() => return None,
            Ok(answer) => decode(&self.path, &answer),
            // Who is killed resets the connection.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
            Err(error) => Err(ClientError::from_io(&self.path, error)),
        };
        // Nothing is wrong with it that the next read would not tell.
        let _ = answers.get_ref().set_read_timeout(None);
        if answer.is_ok() {
            self.answers = Some(answers);
        }
        Some(answer)
    }
}

fn send(
    path: &Path,
    message: &Value,
    patience: Duration,
) -> Result<BufReader<Socket>, ClientError> {
    let failed = |source| ClientError::from_io(path, source);
    let address = SockAddr::unix(path).map_err(failed)?;
    let mut socket = Socket::new(Domain::UNIX, Type::STREAM.cloexec(), None).map_err(failed)?;
    // The write timeout also bounds a connect to a full backlog (unix(7)).
    socket.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    socket.set_read_timeout(Some(patience)).map_err(failed)?;
    socket.connect(&address).map_err(failed)?;

    let mut message = message.to_string().into_bytes();
    message.push(0);
    socket.write_all(&message).map_err(failed)?;
    Ok(BufReader::new(socket))
}

/// One answer, its NUL included; empty if there is none any more.
fn read(answers: &mut BufReader<Socket>) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    answers.take(ANSWER_LIMIT).read_until(0, &mut answer)?;
    Ok(answer)
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
