//! The status for people: one line a group, with what is wrong below it, then one
//! line an interface. No line is wider than the screen.

use std::io::IsTerminal as _;
use std::time::{Duration, SystemTime};

use crate::carp::Reason;
use crate::status::{GroupStatus, Status};

/// What the text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Screen {
    /// Characters of a line.
    pub(super) width: usize,
    pub(super) colour: bool,
}

impl Screen {
    /// Of a terminal its width, and colour unless `NO_COLOR` is set
    /// (<https://no-color.org>); of a pipe neither.
    pub(super) fn of_stdout() -> Self {
        let stdout = std::io::stdout();
        let is_terminal = stdout.is_terminal();
        let size = is_terminal.then(|| rustix::termios::tcgetwinsize(&stdout).ok());
        let columns = size.flatten().map(|size| usize::from(size.ws_col));
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            // A terminal that does not know its width says 0.
            width: columns.filter(|columns| *columns > 0).unwrap_or(WIDTH),
            colour: is_terminal && !no_colour,
        }
    }
}

pub(super) fn render(status: &Status, screen: Screen) -> String {
    let mut text = String::new();
    if status.maintenance {
        let words = "This host is in maintenance; 'vipd maintenance off' ends it.";
        text += &format!("{}\n\n", paint(words, Colour::Yellow, screen));
    }
    let mut rows = vec![(
        ["GROUP", "ROLE", "FOR", "BECAUSE", "MASTER", "ADDRESSES"].map(str::to_owned),
        None,
        Vec::new(),
    )];
    for group in &status.groups {
        rows.push((
            group_cells(group, &status.now),
            colour(group),
            notes(group, &status.now),
        ));
    }
    text += &lines(rows, screen);
    text.push('\n');
    let heads = [
        "INTERFACE",
        "LINK",
        "XDP",
        "ANSWERED",
        "SILENCED",
        "CONFLICTS",
    ];
    let mut rows = vec![(heads.map(str::to_owned), None, Vec::new())];
    for interface in &status.interfaces {
        let count = |name: &str| interface.counters.get(name).copied().unwrap_or(0);
        let is_well = interface.link == "up" && interface.xdp_mode != "none";
        rows.push((
            [
                printable(&interface.name),
                interface.link.clone(),
                interface.xdp_mode.clone(),
                count("arp_answered").to_string(),
                count("arp_silenced").to_string(),
                count("arp_conflict").to_string(),
            ],
            (!is_well).then_some(Colour::Red),
            Vec::new(),
        ));
    }
    text + &lines(rows, screen)
}

fn group_cells(group: &GroupStatus, now: &str) -> [String; 6] {
    let master = group.master.as_ref().map_or("-".to_owned(), |master| {
        format!(
            "{} ({}.{:03})",
            master.address, master.advbase, master.advskew
        )
    });
    let because = Reason::from_name(&group.reason).map_or_else(
        || printable(&group.reason),
        |reason| reason.words().to_owned(),
    );
    [
        printable(&group.name),
        role(group),
        age(&group.since, now).unwrap_or("-".to_owned()),
        because,
        master,
        group.vips.join(" "),
    ]
}

/// The role, with what makes this one differ from any other.
fn role(group: &GroupStatus) -> String {
    let mark = if group.withheld {
        " (withheld)".to_owned()
    } else if group.demotion > 0 {
        format!(" (demoted {})", group.demotion)
    } else if group.demoted {
        " (demoted)".to_owned()
    } else {
        String::new()
    };
    format!("{}{mark}", group.role)
}

fn colour(group: &GroupStatus) -> Option<Colour> {
    match group.role.as_str() {
        _ if group.withheld || group.demoted || group.demotion > 0 => Some(Colour::Yellow),
        "master" => Some(Colour::Green),
        "backup" => None,
        _ => Some(Colour::Red),
    }
}

/// What is to be said of a group besides its line.
fn notes(group: &GroupStatus, now: &str) -> Vec<String> {
    let mut notes: Vec<String> = group.held_back.iter().map(|why| printable(why)).collect();
    for cause in &group.causes {
        let effect = match cause.effect.as_str() {
            "give_up" => "gives the addresses up".to_owned(),
            _ => format!("demotes by {}", cause.demotion),
        };
        let age = age(&cause.since, now).map_or(String::new(), |age| format!(", for {age}"));
        let text = printable(&cause.text);
        let separator = if text.is_empty() { "" } else { ": " };
        let name = printable(&cause.name);
        notes.push(format!("{name} {effect}{separator}{text}{age}"));
    }
    if group.role == "master" && group.owner_mac.is_none() {
        notes.push(
            "master, but it does not answer: its lease has ended or is not there yet".to_owned(),
        );
    }
    notes
}

/// How long ago a moment was, both in RFC 3339.
fn age(since: &str, now: &str) -> Option<String> {
    let since: SystemTime = humantime::parse_rfc3339(since).ok()?;
    let now = humantime::parse_rfc3339(now).ok()?;
    // The wall clock may have been set back in between.
    Some(human(now.duration_since(since).unwrap_or_default()))
}

/// The two largest units.
fn human(age: Duration) -> String {
    let seconds = age.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let parts = [
        (days, "d"),
        (hours, "h"),
        (minutes, "min"),
        (seconds % 60, "s"),
    ];
    let first = parts
        .iter()
        .position(|(count, _)| *count > 0)
        .unwrap_or(parts.len() - 1);
    let shown: Vec<String> = parts[first..]
        .iter()
        .take(2)
        .enumerate()
        .filter(|(index, (count, _))| *index == 0 || *count > 0)
        .map(|(_, (count, unit))| format!("{count} {unit}"))
        .collect();
    shown.join(" ")
}

/// Without what could play tricks on a terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

type Row<const N: usize> = ([String; N], Option<Colour>, Vec<String>);

/// Lines with their cells under each other, each row's notes below it. What does not
/// fit goes from the last column, which tells how many words are left out, and then
/// from the widest of the others.
fn lines<const N: usize>(rows: Vec<Row<N>>, screen: Screen) -> String {
    let mut widths: Vec<usize> = (0..N)
        .map(|column| {
            let cells = rows.iter().map(|(cells, ..)| cells[column].chars().count());
            cells.max().unwrap_or(0)
        })
        .collect();
    let gaps = GAP.len() * (N - 1);
    let total = |widths: &[usize]| widths.iter().sum::<usize>() + gaps;
    while total(&widths) > screen.width {
        let over = total(&widths) - screen.width;
        let (widest, least) = if widths[N - 1] > LEAST_LAST {
            (N - 1, LEAST_LAST)
        } else {
            // The first column is what a group is called.
            let widest = (1..N - 1).max_by_key(|column| widths[*column]).unwrap_or(0);
            (widest, LEAST)
        };
        if widths[widest] <= least {
            break;
        }
        widths[widest] = widths[widest].saturating_sub(over).max(least);
    }
    let mut text = String::new();
    for (cells, colour, notes) in rows {
        let mut line: Vec<String> = Vec::new();
        for (column, cell) in cells.iter().enumerate() {
            let width = widths[column];
            let cell = if column == N - 1 {
                some_words(cell, width)
            } else {
                cut(cell, width)
            };
            line.push(format!("{cell:width$}"));
        }
        let line = line.join(GAP);
        let line = line.trim_end();
        match colour {
            Some(colour) => text += &paint(line, colour, screen),
            None => text += line,
        }
        text.push('\n');
        for note in notes {
            for line in wrapped(&note, screen.width.saturating_sub(NOTE.len())) {
                text += &format!("{NOTE}{line}\n");
            }
        }
    }
    text
}

/// As many of the words as fit, and how many more there are.
fn some_words(words: &str, width: usize) -> String {
    if words.chars().count() <= width {
        return words.to_owned();
    }
    let all: Vec<&str> = words.split(' ').collect();
    for shown in (1..all.len()).rev() {
        let text = format!("{} +{}", all[..shown].join(" "), all.len() - shown);
        if text.chars().count() <= width {
            return text;
        }
    }
    cut(words, width)
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(2)).collect();
    format!("{}..", kept.trim_end())
}

/// Lines of so many characters at most, broken at blanks; a longer word stands alone.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    Red,
    Green,
    Yellow,
}

/// ECMA-48's sequences, on a screen that has colours.
pub(super) fn paint(text: &str, colour: Colour, screen: Screen) -> String {
    let number = match colour {
        Colour::Red => 31,
        Colour::Green => 32,
        Colour::Yellow => 33,
    };
    if screen.colour {
        format!("\x1b[{number}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// Characters of a line where there is no terminal.
const WIDTH: usize = 120;

/// How narrow a column may become.
const LEAST: usize = 8;

/// How narrow the last one may become: an address and how many more there are.
const LEAST_LAST: usize = 20;

const GAP: &str = "  ";
const NOTE: &str = "    ";

#[cfg(test)]
mod tests;
