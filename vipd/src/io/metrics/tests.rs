//! Real sockets on the loopback address: who is answered, and who cannot hold up
//! the others.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::*;

const FORMAT: Format<u32> = Format {
    content_type: "text/plain; version=0.0.4",
    text: |number| format!("answer {number}\n"),
};

/// A server whose loop answers 42 to everybody.
fn server() -> Server {
    let address = "127.0.0.1:0".parse().unwrap();
    let (server, mut scrapes) = Server::bind(address, FORMAT).unwrap();
    thread::spawn(move || {
        while let Some(scrape) = scrapes.blocking_recv() {
            let _ = scrape.send(42);
        }
    });
    server
}

fn ask(server: &Server, request: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(4 * PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn metrics_are_served_at_their_path_and_nothing_else_is() {
    let server = server();
    let answer = ask(&server, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(
        answer.contains("content-type: text/plain; version=0.0.4\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with("\r\n\r\nanswer 42\n"), "{answer}");
    let cases = [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 "),
        ("POST /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 405 "),
        ("nonsense\r\n\r\n", "HTTP/1.1 400 "),
    ];
    for (request, status) in cases {
        let answer = ask(&server, request);
        assert!(answer.starts_with(status), "{request:?}: {answer}");
    }
}

#[test]
fn headers_without_end_are_refused() {
    let server = server();
    let long = format!(
        "GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n",
        "x".repeat(2 * REQUEST_LIMIT)
    );
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(4 * PATIENCE)).unwrap();
    // The server may hang up before it has read all of it.
    let _ = stream.write_all(long.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(!answer.contains("200 OK"), "{answer}");
}

#[test]
fn those_who_say_nothing_hold_up_the_others_for_a_moment_only() {
    let server = server();
    let idle: Vec<_> = (0..CLIENTS)
        .map(|_| TcpStream::connect(server.address()).unwrap())
        .collect();
    let answer = ask(&server, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.ends_with("answer 42\n"), "{answer}");
    drop(idle);
}

#[test]
fn a_loop_that_does_not_answer_is_told_as_such() {
    let address = "127.0.0.1:0".parse().unwrap();
    let (server, scrapes) = Server::bind(address, FORMAT).unwrap();
    drop(scrapes);
    let answer = ask(&server, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let first = server();
    let Err(error) = Server::bind(first.address(), FORMAT) else {
        panic!("two listen at {}", first.address());
    };
    assert!(
        error.to_string().contains(&first.address().to_string()),
        "{error}"
    );
    let address = first.address();
    drop(first);
    assert!(TcpStream::connect(address).is_err());
}
