//! What a command prints: read to the end, however much it is, and forgotten but
//! for the last line.

use std::time::Duration;

use tokio::net::unix::pipe;

/// How much is read as fast as it comes, in bytes. From there on it is slowed down,
/// so that a command that prints without end does not keep the reader busy.
const BRISK: usize = 64 * 1024;

/// The pause before each further read: with what a pipe holds (64 KiB, pipe(7)),
/// some 6 MB are read in a second.
const PAUSE: Duration = Duration::from_millis(10);

/// How much is kept to find the last line in, in bytes.
const KEPT: usize = 1024;

/// How much of that line is told, in characters.
const TOLD: usize = 200;

#[derive(Default)]
pub(super) struct Tail {
    read: usize,
    kept: Vec<u8>,
}

impl Tail {
    /// Reads what comes. It never ends by itself: at the end there is nothing left to
    /// do but to wait for the process.
    pub(super) async fn read(&mut self, output: &mut Option<pipe::Receiver>) {
        while let Some(pipe) = output {
            if self.read >= BRISK {
                tokio::time::sleep(PAUSE).await;
            }
            if pipe.readable().await.is_err() || !self.take(pipe) {
                *output = None;
            }
        }
        std::future::pending().await
    }

    /// Reads what is there and waits for nothing: a process that was left behind
    /// may hold the other end.
    pub(super) fn read_rest(&mut self, output: &mut Option<pipe::Receiver>) {
        if let Some(pipe) = output {
            self.take(pipe);
        }
    }

    /// The last line that is not empty, without what would disturb a terminal or a log.
    pub(super) fn last_line(&self) -> String {
        let text = String::from_utf8_lossy(&self.kept);
        let line = text.lines().map(str::trim).rfind(|line| !line.is_empty());
        let legible = |c: char| if c.is_control() { ' ' } else { c };
        line.unwrap_or_default()
            .chars()
            .take(TOLD)
            .map(legible)
            .collect()
    }

    /// Reads a pipe empty, or once round; whether more may come.
    fn take(&mut self, pipe: &pipe::Receiver) -> bool {
        let mut buffer = [0; 4096];
        let mut taken = 0;
        while taken < BRISK {
            match pipe.try_read(&mut buffer) {
                Ok(0) => return false,
                Ok(length) => {
                    taken += length;
                    self.read = self.read.saturating_add(length);
                    self.keep(&buffer[..length]);
                }
                Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
            }
        }
        true
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
        let surplus = self.kept.len().saturating_sub(KEPT);
        self.kept.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last_line(printed: &[&[u8]]) -> String {
        let mut tail = Tail::default();
        for bytes in printed {
            tail.keep(bytes);
        }
        tail.last_line()
    }

    #[test]
    fn the_last_line_is_what_a_person_would_call_it() {
        let cases: [(&[&[u8]], &str); 7] = [
            (&[], ""),
            (&[b"\n \n"], ""),
            (&[b"one\ntwo\n"], "two"),
            (&[b"one\ntw", b"o\n\n  \n"], "two"),
            (&[b"one\r\ntwo\r\n"], "two"),
            (&[b"\x1b[31mred\x07\n"], " [31mred "),
            (&[b"\xff\xfe no text"], "\u{fffd}\u{fffd} no text"),
        ];
        for (printed, expected) in cases {
            assert_eq!(last_line(printed), expected, "{printed:?}");
        }
    }

    #[test]
    fn however_much_is_printed_little_is_kept_and_less_told() {
        let mut tail = Tail::default();
        for _ in 0..10_000 {
            tail.keep(&[b'x'; 4096]);
            assert!(tail.kept.len() <= KEPT);
        }
        assert_eq!(tail.last_line().len(), TOLD);
    }
}
