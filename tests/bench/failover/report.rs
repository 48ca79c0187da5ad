//! The results for people and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::contender::Contender;
use super::measure::Phase;
use super::world::{Round, Scenario, WATCHED};

/// The rounds of one contender in one scenario.
pub(crate) struct Cell {
    pub(crate) contender: Contender,
    /// How it was told to run.
    pub(crate) settings: String,
    pub(crate) scenario: Scenario,
    pub(crate) rounds: Vec<Round>,
    /// Rounds that do not count: the probe itself was late.
    pub(crate) late: u32,
    /// Rounds that did not begin: the preferred node was not master in time.
    pub(crate) unsettled: u32,
}

impl Cell {
    pub(crate) fn new(contender: Contender, settings: String, scenario: Scenario) -> Self {
        Self {
            contender,
            settings,
            scenario,
            rounds: Vec::new(),
            late: 0,
            unsettled: 0,
        }
    }

    pub(crate) fn faults(&self) -> Vec<&Phase> {
        self.rounds.iter().map(|round| &round.fault).collect()
    }

    pub(crate) fn returns(&self) -> Vec<&Phase> {
        let returns = self.rounds.iter().filter_map(|round| round.back.as_ref());
        returns.collect()
    }

    pub(crate) fn json(&self) -> Value {
        let round = |round: &Round| {
            json!({
                "fault": round.fault.json(),
                "return": round.back.as_ref().map(Phase::json),
                "returned": round.returned,
            })
        };
        json!({
            "daemon": self.contender.name(),
            "settings": self.settings,
            "scenario": self.scenario.name(),
            "excluded_probe_late": self.late,
            "excluded_not_settled": self.unsettled,
            "rounds": self.rounds.iter().map(round).collect::<Vec<_>>(),
        })
    }
}

/// A round in one line.
pub(crate) fn round(round: &Round) -> String {
    let phase = |phase: &Phase| {
        let takeover = phase
            .takeover
            .map_or_else(|| "never".to_owned(), |ms| format!("{ms:.1} ms"));
        let mut text = format!(
            "owner after {takeover}, no echo for {:.1} ms, no ARP for {:.1} ms",
            phase.echo_outage, phase.arp_outage
        );
        if phase.dual > 0 {
            let _ = write!(text, ", two answered {} times", phase.dual);
        }
        if phase.blackholed_at_end {
            text += ", client without echo at the end";
        }
        text
    };
    let mut text = format!("fault: {}", phase(&round.fault));
    if let Some(back) = &round.back {
        let _ = write!(text, "; return: {}", phase(back));
    }
    if !round.returned {
        text += "; not back in time";
    }
    if round.probe_late() > 20.0 {
        let _ = write!(text, "; probe late by {:.0} ms", round.probe_late());
    }
    text
}

/// Both tables, in Markdown.
pub(crate) fn tables(cells: &[Cell]) -> String {
    let mut text = String::from(
        "\nTimes in ms, min / median / max. ARP is asked and echo requested every 1 ms.\n\
         \"wrong\": ARP answered by the old owner after the new one's first answer;\n\
         \"two\": ARP requests that both answered. Where two answer for ever, these two\n\
         grow for as long as is watched",
    );
    let _ = writeln!(
        text,
        ", here {} ms after the takeover.",
        WATCHED.as_millis()
    );
    text += "\n### Fault at the preferred node, the other takes over\n\n";
    text += &table(cells, Cell::faults, |_| true);
    text += "\n### Return of the preferred node\n\n";
    text += &table(cells, Cell::returns, |cell| cell.scenario != Scenario::None);
    let mut settings: Vec<_> = cells
        .iter()
        .map(|cell| (cell.contender.name(), &cell.settings))
        .collect();
    settings.dedup();
    text += "\n";
    for (name, settings) in settings {
        let _ = writeln!(text, "{name}: {settings}");
    }
    text
}

fn table(
    cells: &[Cell],
    phases: impl Fn(&Cell) -> Vec<&Phase>,
    shown: impl Fn(&Cell) -> bool,
) -> String {
    let mut rows = vec![HEADINGS.map(str::to_owned).to_vec()];
    for cell in cells.iter().filter(|cell| shown(cell)) {
        let phases = phases(cell);
        let of =
            |value: fn(&Phase) -> f64| spread(phases.iter().map(|phase| value(phase)).collect());
        let takeovers: Vec<f64> = phases.iter().filter_map(|phase| phase.takeover).collect();
        let never = phases.len() - takeovers.len();
        let mut takeover = spread(takeovers);
        if never > 0 && cell.scenario != Scenario::None {
            let _ = write!(takeover, " ({never} never)");
        }
        let count = |has: fn(&Phase) -> bool| phases.iter().filter(|phase| has(phase)).count();
        rows.push(vec![
            cell.contender.name().to_owned(),
            cell.scenario.name().to_owned(),
            format!(
                "{} (+{} late, {} unsettled)",
                phases.len(),
                cell.late,
                cell.unsettled
            ),
            of(|phase| phase.echo_outage),
            of(|phase| phase.arp_outage),
            takeover,
            of(|phase| phase.dual as f64),
            of(|phase| phase.wrong as f64),
            of(|phase| phase.announcements as f64),
            match cell.scenario {
                Scenario::None => "-".to_owned(),
                Scenario::Term
                | Scenario::Kill
                | Scenario::Stop
                | Scenario::Carrier
                | Scenario::Silent => of(|phase| phase.client_on_old),
            },
            format!(
                "{} / {}",
                count(|phase| phase.blackholed_at_end),
                count(|phase| phase.dual_at_end)
            ),
        ]);
    }
    aligned(&rows)
}

fn aligned(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(String::len).max().unwrap_or(0)
    };
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (column, cell) in row.iter().enumerate() {
            let _ = write!(text, "| {cell:<width$} ", width = width(column));
        }
        text += "|\n";
        if index == 0 {
            for column in 0..row.len() {
                let _ = write!(text, "|{}", "-".repeat(width(column) + 2));
            }
            text += "|\n";
        }
    }
    text
}

pub(crate) fn spread(mut values: Vec<f64>) -> String {
    values.sort_unstable_by(f64::total_cmp);
    let (Some(min), Some(max), Some(median)) = (values.first(), values.last(), median(&values))
    else {
        return "-".to_owned();
    };
    format!("{} / {} / {}", short(*min), short(median), short(*max))
}

/// Of values that are sorted.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        length if length % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

fn short(value: f64) -> String {
    if value >= 100.0 || value == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}

const HEADINGS: [&str; 11] = [
    "daemon",
    "scenario",
    "rounds",
    "no echo reply for",
    "no ARP reply for",
    "new owner answers after",
    "two",
    "wrong",
    "GARPs",
    "client's last to the old",
    "at the end: no echo / two",
];
