//! Whether a service answers: a TCP connection, a status of HTTP. How long that
//! may take is the caller's to say.
//!
//! Plain HTTP only, and nothing of an answer but its status: a check is a request to
//! a service of this very host, and what it must not do is to need more than that.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Bytes of an answer in which its first line must end.
const FIRST_LINE: usize = 1024;

/// Whether somebody accepts connections there; else why not.
pub async fn tcp(address: SocketAddr) -> Result<(), String> {
    connect(address).await.map(drop)
}

/// Whether GET is answered with this status; else why not. `host` is what the
/// request calls the host (RFC 9112, 3.2).
pub async fn http(address: SocketAddr, host: &str, path: &str, status: u16) -> Result<(), String> {
    let mut stream = connect(address).await?;
    let agent = concat!("vipd/", env!("CARGO_PKG_VERSION"));
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream
        .write_all(request.as_bytes())
        .await
        .map_err(|e| format!("cannot ask {address}: {e}"))?;
    let mut answer = Vec::with_capacity(FIRST_LINE);
    while !answer.contains(&b'\n') && answer.len() < FIRST_LINE {
        let room = FIRST_LINE - answer.len();
        let length = (&mut stream)
            .take(room as u64)
            .read_buf(&mut answer)
            .await
            .map_err(|e| format!("no answer of {address}: {e}"))?;
        if length == 0 {
            break;
        }
    }
    match read_status(&answer) {
        Some(answered) if answered == status => Ok(()),
        Some(answered) => Err(format!("HTTP status {answered}, not {status}")),
        None if answer.is_empty() => Err(format!("{address} closed the connection")),
        None => Err(format!("what {address} answers is no HTTP")),
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(address)
        .await
        .map_err(|e| format!("cannot connect to {address}: {e}"))
}

/// The status of an answer: `HTTP/1.1 200 OK` (RFC 9112, 4).
#[doc(hidden)]
pub fn read_status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let (minor, rest) = rest.split_first()?;
    let (space, rest) = rest.split_first()?;
    let (digits, rest) = rest.split_at_checked(3)?;
    let ends = rest.first().is_none_or(|byte| byte.is_ascii_whitespace());
    if !minor.is_ascii_digit() || *space != b' ' || !ends {
        return None;
    }
    digits.iter().try_fold(0, |status, digit| {
        let digit = digit.is_ascii_digit().then(|| u16::from(digit - b'0'))?;
        Some(status * 10 + digit)
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_status_is_three_digits_after_the_version() {
        let cases: [(&[u8], Option<u16>); 12] = [
            (b"HTTP/1.1 200 OK\r\nServer: x\r\n", Some(200)),
            (b"HTTP/1.0 503 Service Unavailable\r\n", Some(503)),
            (b"HTTP/1.1 204\r\n", Some(204)),
            (b"HTTP/1.1 204", Some(204)),
            (b"", None),
            (b"HTTP/1.1", None),
            (b"HTTP/1.1 20", None),
            (b"HTTP/1.1 2000 OK\r\n", None),
            (b"HTTP/1.1 2x0 OK\r\n", None),
            (b"HTTP/2 200\r\n", None),
            (b"SSH-2.0-OpenSSH_9.2\r\n", None),
            (b"\nHTTP/1.1 200 OK\r\n", None),
        ];
        for (answer, expected) in cases {
            assert_eq!(
                read_status(answer),
                expected,
                "{:?}",
                String::from_utf8_lossy(answer)
            );
        }
    }

    /// What one HTTP probe says of a service that answers so, piece by piece.
    async fn ask(answer: Vec<&'static [u8]>) -> Result<(), String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut asked).await.unwrap(), 0);
            }
            for piece in answer {
                // A prober that has read enough has left.
                let _ = stream.write_all(piece).await;
                tokio::task::yield_now().await;
            }
            String::from_utf8(asked).unwrap()
        });
        let result = http(address, "web.example", "/health?x=1", 200).await;
        let asked = service.await.unwrap();
        assert!(asked.starts_with("GET /health?x=1 HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("\r\nHost: web.example\r\n"), "{asked}");
        result
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    }

    #[test]
    fn what_a_service_answers_is_told() {
        runtime().block_on(async {
            assert_eq!(ask(vec![b"HTTP/1.1 200 OK\r\n\r\n"]).await, Ok(()));
            let pieces: Vec<&[u8]> = vec![b"HTT", b"P/1.1 2", b"00 OK\r\n\r\n"];
            assert_eq!(ask(pieces).await, Ok(()));
            static LONG: [u8; 100_000] = [b'x'; 100_000];
            let cases: [(Vec<&[u8]>, &str); 4] = [
                (vec![b"HTTP/1.1 500 Oh\r\n\r\n"], "HTTP status 500, not 200"),
                (vec![], "closed the connection"),
                (vec![b"220 mail.example ESMTP\r\n"], "is no HTTP"),
                (vec![&LONG], "is no HTTP"),
            ];
            for (answer, expected) in cases {
                let said = ask(answer).await.unwrap_err();
                assert!(said.contains(expected), "{said}");
            }
        });
    }

    #[test]
    fn a_port_that_nobody_listens_on_is_named() {
        runtime().block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            assert_eq!(tcp(address).await, Ok(()));
            drop(listener);
            let said = tcp(address).await.unwrap_err();
            assert!(said.contains(&address.to_string()), "{said}");
        });
    }
}
