//! Where log lines go: to the journal if standard error is connected to it, else to
//! standard error; by way of a thread, so that no reader who is slow or gone can
//! hold up an election.
//!
//! In the journal an event's values are fields of their own too (`GROUP`, `ROLE`,
//! `REASON`, `PEER`, `INTERFACE`), and a change of role has a `MESSAGE_ID`. The text
//! is the same in both.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Format;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::io::journal::{self, Entry, Journal};

/// The target of events that tell of a change of role.
pub(crate) const ROLE_CHANGE: &str = "vipd::role";

/// What `journalctl MESSAGE_ID=` finds changes of role by.
const ROLE_CHANGE_ID: &str = "157f2d2224c143a1ba43d967d72f48dc";

/// Lines that may wait for the reader. At the bound new ones are lost.
const BACKLOG: usize = 1024;

/// How long the end of the daemon waits for a reader who is slow.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Has log lines go where they should from now on. The guard writes out what still
/// waits when it is dropped.
pub(crate) fn init(level: LevelFilter) -> io::Result<Guard> {
    let (lines, waiting) = sync_channel::<Line>(BACKLOG);
    let journal = std::env::var("JOURNAL_STREAM")
        .ok()
        .filter(|stream| journal::is_stderr(stream))
        .and_then(|_| Journal::open(Path::new(journal::SOCKET)).ok());
    let to_journal = journal.is_some();
    let (ends, ended) = sync_channel::<()>(0);
    thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || {
            // Dropped at the end, which is all that it tells.
            let _ends = ends;
            while let Ok(line) = waiting.recv() {
                match line {
                    Line::Text(text) => to_stderr(text.as_bytes()),
                    Line::Entry(entry, text) => {
                        let sent = journal.as_ref().map(|journal| journal.send(&entry));
                        // A journal that is being restarted, or an entry too long.
                        if !matches!(sent, Some(Ok(()))) {
                            to_stderr(text.as_bytes());
                        }
                    }
                    Line::End => break,
                }
            }
        })?;
    if to_journal {
        let layer = ToJournal(lines.clone());
        tracing_subscriber::registry()
            .with(layer.with_filter(level))
            .init();
    } else {
        let is_terminal = io::stderr().is_terminal();
        tracing_subscriber::fmt()
            .with_max_level(level)
            .event_format(Format::default().with_target(false).with_ansi(is_terminal))
            .with_ansi(is_terminal)
            .with_writer(Lines(lines.clone()))
            .init();
    }
    Ok(Guard { lines, ended })
}

fn to_stderr(text: &[u8]) {
    // Nobody is left to be told of a standard error that is gone.
    let _ = io::stderr().write_all(text);
}

enum Line {
    Text(String),
    /// With its text, for standard error where the journal does not take it.
    Entry(Entry, String),
    End,
}

/// Keeps the log open.
pub(crate) struct Guard {
    lines: SyncSender<Line>,
    ended: Receiver<()>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        // With a reader that does not read, the last lines are lost.
        if self.lines.try_send(Line::End).is_ok() {
            let _ = self.ended.recv_timeout(LAST_WORDS);
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
        let text = String::from_utf8_lossy(&self.text).into_owned();
        if !text.is_empty() {
            // With a reader that does not read, losing a line is the lesser evil.
            let _ = self.lines.try_send(Line::Text(text));
        }
    }
}

/// Makes an entry of each event, and sends it off.
struct ToJournal(SyncSender<Line>);

impl<S: Subscriber> Layer<S> for ToJournal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let (entry, text) = entry(event);
        // As in `LineWriter`.
        let _ = self.0.try_send(Line::Entry(entry, text));
    }
}

fn entry(event: &Event<'_>) -> (Entry, String) {
    let mut values = Values::default();
    event.record(&mut values);
    let Values { mut text, fields } = values;
    let mut entry = Entry::default();
    for (name, value) in &fields {
        entry.put(name, value);
        // As the lines on standard error have it, where there are no fields.
        let _ = write!(text, " {name}={value}");
    }
    entry.put("MESSAGE", &text);
    entry.put("PRIORITY", priority(*event.metadata().level()));
    entry.put("SYSLOG_IDENTIFIER", "vipd");
    if event.metadata().target() == ROLE_CHANGE {
        entry.put("MESSAGE_ID", ROLE_CHANGE_ID);
    }
    text.push('\n');
    (entry, text)
}

/// syslog(3)'s numbers.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    }
}

/// What an event says.
#[derive(Default)]
struct Values {
    text: String,
    fields: Vec<(&'static str, String)>,
}

impl Visit for Values {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.push((field.name(), value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // `message` is what tracing's macros call the text.
        if field.name() == "message" {
            let _ = write!(self.text, "{value:?}");
        } else {
            self.fields.push((field.name(), format!("{value:?}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(say: impl FnOnce()) -> Receiver<Line> {
        let (lines, said) = sync_channel(8);
        let layer = ToJournal(lines).with_filter(LevelFilter::INFO);
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, say);
        said
    }

    #[test]
    fn a_change_of_role_has_its_fields_and_its_id() {
        let said = said(|| {
            tracing::info!(target: ROLE_CHANGE, group = "web", peer = %"10.99.0.1", "became master");
            tracing::debug!("not at this level");
            tracing::warn!(address = ?[1, 2], "odd");
        });
        let Ok(Line::Entry(entry, text)) = said.recv() else {
            panic!("no entry");
        };
        let mut expected = Entry::default();
        for (name, value) in [
            ("GROUP", "web"),
            ("PEER", "10.99.0.1"),
            ("MESSAGE", "became master group=web peer=10.99.0.1"),
            ("PRIORITY", "6"),
            ("SYSLOG_IDENTIFIER", "vipd"),
            ("MESSAGE_ID", ROLE_CHANGE_ID),
        ] {
            expected.put(name, value);
        }
        assert_eq!(entry, expected);
        assert_eq!(text, "became master group=web peer=10.99.0.1\n");
        let Ok(Line::Entry(_, text)) = said.recv() else {
            panic!("no entry");
        };
        assert_eq!(text, "odd address=[1, 2]\n");
        assert!(said.recv().is_err());
    }
}
