//! The status for people: one line a group, then one line an interface.

use crate::status::Status;

pub(super) fn render(status: &Status) -> String {
    let mut groups =
        vec![["GROUP", "ROLE", "SINCE", "REASON", "MASTER", "ADDRESSES"].map(str::to_owned)];
    for group in &status.groups {
        let master = match &group.master {
            Some(master) => format!(
                "{} ({}.{:03})",
                master.address, master.advbase, master.advskew
            ),
            None => "-".to_owned(),
        };
        let role = if group.demoted {
            format!("{} (demoted)", group.role)
        } else {
            group.role.clone()
        };
        groups.push([
            group.name.clone(),
            role,
            group.since.clone(),
            group.reason.clone(),
            master,
            group.vips.join(","),
        ]);
    }
    let mut interfaces = vec![
        [
            "INTERFACE",
            "LINK",
            "XDP",
            "ANSWERED",
            "SILENCED",
            "CONFLICTS",
        ]
        .map(str::to_owned),
    ];
    for interface in &status.interfaces {
        let count = |name: &str| {
            interface
                .counters
                .get(name)
                .copied()
                .unwrap_or(0)
                .to_string()
        };
        interfaces.push([
            interface.name.clone(),
            interface.link.clone(),
            interface.xdp_mode.clone(),
            count("arp_answered"),
            count("arp_silenced"),
            count("arp_conflict"),
        ]);
    }
    format!("{}\n{}", columns(&groups), columns(&interfaces))
}

/// Lines with their cells under each other.
fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stand_under_each_other() {
        let rows = [["A", "LONG"], ["longer", "x"]].map(|row| row.map(str::to_owned));
        assert_eq!(columns(&rows), "A       LONG\nlonger  x\n");
    }
}
