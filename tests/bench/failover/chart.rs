//! The outages as an SVG chart, readable on light and dark ground.

use std::fmt::Write as _;

use super::contender::Contender;
use super::measure::Phase;
use super::report::{Cell, median};
use super::world::Scenario;

/// Two panels of bars: the fault, and the return.
pub(crate) fn draw(cells: &[Cell]) -> String {
    let panels = [
        Panel {
            title: "The master fails: longest time without an echo reply",
            top: 60.0,
            phases: Cell::faults,
        },
        Panel {
            title: "It comes back: longest time without an echo reply",
            top: 60.0 + PANEL + 80.0,
            phases: Cell::returns,
        },
    ];
    let height = 60.0 + 2.0 * (PANEL + 80.0) + 20.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\" \
         aria-label=\"Outages of virtual IP daemons\">\n<style>\n{STYLE}</style>\n\
         <rect class=\"ground\" width=\"{WIDTH}\" height=\"{height}\"/>\n"
    );
    let contenders: Vec<Contender> = Contender::ALL
        .into_iter()
        .filter(|contender| cells.iter().any(|cell| cell.contender == *contender))
        .collect();
    legend(&mut svg, &contenders);
    for panel in &panels {
        panel.draw(&mut svg, cells, &contenders);
    }
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"{}\" class=\"small\">Bars: median; whiskers: least and most. \
         2 above a bar: two hosts answered ARP at once, the outage hides it.</text>\n</svg>",
        height - 14.0
    );
    svg
}

struct Panel {
    title: &'static str,
    top: f64,
    phases: fn(&Cell) -> Vec<&Phase>,
}

impl Panel {
    fn draw(&self, svg: &mut String, cells: &[Cell], contenders: &[Contender]) {
        let _ = writeln!(
            svg,
            "<text x=\"{LEFT}\" y=\"{}\" class=\"title\">{}</text>",
            self.top - 8.0,
            self.title
        );
        for (ms, label) in TICKS {
            let y = self.top + y(ms);
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" class=\"small\" text-anchor=\"end\">{label}</text>",
                WIDTH - 20.0,
                LEFT - 6.0,
                y + 4.0,
            );
        }
        let scenarios: Vec<Scenario> = Scenario::ALL
            .into_iter()
            .filter(|scenario| {
                let mut cells = cells.iter().filter(|cell| cell.scenario == *scenario);
                cells.any(|cell| !(self.phases)(cell).is_empty())
            })
            .collect();
        let group = (WIDTH - LEFT - 20.0) / scenarios.len().max(1) as f64;
        let bar = ((group - 16.0) / contenders.len().max(1) as f64).min(28.0);
        for (index, scenario) in scenarios.iter().enumerate() {
            let middle = LEFT + group * (index as f64 + 0.5);
            let _ = writeln!(
                svg,
                "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                self.top + PANEL + 18.0,
                label(*scenario)
            );
            let left = middle - bar * contenders.len() as f64 / 2.0;
            for (place, contender) in contenders.iter().enumerate() {
                let cell = cells
                    .iter()
                    .find(|cell| cell.scenario == *scenario && cell.contender == *contender);
                if let Some(cell) = cell {
                    self.bar(svg, cell, left + bar * place as f64, bar);
                }
            }
        }
    }

    fn bar(&self, svg: &mut String, cell: &Cell, x: f64, width: f64) {
        let phases = (self.phases)(cell);
        let mut outages: Vec<f64> = phases.iter().map(|phase| phase.echo_outage).collect();
        outages.sort_unstable_by(f64::total_cmp);
        let (Some(min), Some(median), Some(max)) =
            (outages.first(), median(&outages), outages.last())
        else {
            return;
        };
        let (bottom, top) = (self.top + PANEL, self.top + y(median));
        let (low, high) = (self.top + y(*min), self.top + y(*max));
        let (name, middle) = (cell.contender.name(), x + width / 2.0);
        let _ = writeln!(
            svg,
            "<rect class=\"{name}\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\">\
             <title>{name}, {}: {min:.1} / {median:.1} / {max:.1} ms</title></rect>\
             <line class=\"whisker\" x1=\"{middle:.1}\" x2=\"{middle:.1}\" y1=\"{low:.1}\" y2=\"{high:.1}\"/>",
            x + 1.0,
            width - 2.0,
            (bottom - top).max(1.0),
            cell.scenario.name(),
        );
        let two: Vec<f64> = {
            let mut two: Vec<f64> = phases.iter().map(|phase| phase.dual as f64).collect();
            two.sort_unstable_by(f64::total_cmp);
            two
        };
        // One request answered by both is the change itself.
        if super::report::median(&two).is_some_and(|two| two > 1.0) {
            let _ = writeln!(
                svg,
                "<text class=\"two\" x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">2</text>",
                high.min(top) - 4.0
            );
        }
    }
}

fn legend(svg: &mut String, contenders: &[Contender]) {
    let mut x = LEFT;
    for contender in contenders {
        let name = contender.name();
        let _ = writeln!(
            svg,
            "<rect class=\"{name}\" x=\"{x:.0}\" y=\"14\" width=\"12\" height=\"12\"/>\
             <text x=\"{:.0}\" y=\"25\">{name}</text>",
            x + 17.0
        );
        x += 40.0 + 8.0 * name.len() as f64;
    }
}

const fn label(scenario: Scenario) -> &'static str {
    match scenario {
        Scenario::None => "no fault (noise)",
        Scenario::Term => "SIGTERM",
        Scenario::Kill => "SIGKILL",
        Scenario::Stop => "SIGSTOP",
        Scenario::Carrier => "carrier lost",
        Scenario::Silent => "cut off silently",
    }
}

/// Down from a panel's top, on a scale of five decades.
fn y(ms: f64) -> f64 {
    let decades = (ms.max(LEAST).log10() - LEAST.log10()).clamp(0.0, DECADES);
    PANEL * (1.0 - decades / DECADES)
}

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 70.0;
const PANEL: f64 = 230.0;

/// Milliseconds at the bottom.
const LEAST: f64 = 0.2;
const DECADES: f64 = 5.0;

const TICKS: [(f64, &str); 5] = [
    (1.0, "1 ms"),
    (10.0, "10 ms"),
    (100.0, "100 ms"),
    (1000.0, "1 s"),
    (10_000.0, "10 s"),
];

const STYLE: &str = "\
text { font: 13px sans-serif; fill: #1f2328; }
.title { font-weight: bold; }
.small { font-size: 11px; fill: #59636e; }
.two { font-size: 11px; font-weight: bold; fill: #c0392b; }
.ground { fill: #ffffff; }
.grid { stroke: #d1d9e0; stroke-width: 1; }
.whisker { stroke: #1f2328; stroke-width: 1.2; }
.vipd { fill: #1a7f37; }
.vipd-fast { fill: #4ac26b; }
.ucarp { fill: #9a6700; }
.ucarp-fast { fill: #d4a72c; }
.keepalived { fill: #0969da; }
.keepalived-fast { fill: #54aeff; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; }
.small { fill: #9198a1; }
.two { fill: #ff7b72; }
.ground { fill: #0d1117; }
.grid { stroke: #30363d; }
.whisker { stroke: #e6edf3; }
}
";
