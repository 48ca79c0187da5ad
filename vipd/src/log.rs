//! Where log lines go: to standard error, by way of a thread, so that no reader
//! who is slow or gone can hold up an election.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Format;

/// Lines that may wait for the reader. At the bound new ones are lost.
const BACKLOG: usize = 1024;

/// Sends log lines to standard error from now on. The guard writes out what
/// still waits when it is dropped.
pub(crate) fn init(level: LevelFilter) -> io::Result<Guard> {
    let (lines, waiting) = sync_channel::<Line>(BACKLOG);
    let writer = thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || {
            while let Ok(Line::Text(text)) = waiting.recv() {
                // Nobody is left to be told of a standard error that is gone.
                let _ = io::stderr().write_all(&text);
            }
        })?;
    let is_terminal = io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_max_level(level)
        .event_format(Format::default().with_target(false).with_ansi(is_terminal))
        .with_ansi(is_terminal)
        .with_writer(Lines(lines.clone()))
        .init();
    Ok(Guard {
        lines,
        writer: Some(writer),
    })
}

enum Line {
    Text(Vec<u8>),
    End,
}

/// Keeps the log open.
pub(crate) struct Guard {
    lines: SyncSender<Line>,
    writer: Option<thread::JoinHandle<()>>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        // With a reader that does not read, the last lines are lost.
        if self.lines.try_send(Line::End).is_ok()
            && let Some(writer) = self.writer.take()
        {
            let _ = writer.join();
        }
    }
}

#[derive(Clone)]
struct Lines(SyncSender<Line>);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter {
            lines: &self.0,
            text: Vec::new(),
        }
    }
}

/// Collects one event, and sends it off as one line when dropped.
struct LineWriter<'a> {
    lines: &'a SyncSender<Line>,
    text: Vec<u8>,
}

impl Write for LineWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LineWriter<'_> {
    fn drop(&mut self) {
        let text = std::mem::take(&mut self.text);
        if !text.is_empty()
            && let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
                self.lines.try_send(Line::Text(text))
        {
            // Losing a line is the lesser evil.
        }
    }
}
