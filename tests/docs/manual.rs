//! A manual page of what `docs/reference.md` says: its headings, paragraphs, tables and
//! code become roff's. It knows the Markdown that is used there, and no other.

use anyhow::{Result, ensure};

/// A page of section 5. Fails if a key that a table begins with got lost.
pub(crate) fn page(name: &str, title: &str, version: &str, markdown: &str) -> Result<String> {
    let mut page = format!(
        ".TH {} 5 \"\" \"vipd {version}\" \"File formats\"\n.SH NAME\n{name} \\- {title}\n.SH DESCRIPTION\n",
        name.to_uppercase()
    );
    let mut lines = markdown.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(heading) = line.strip_prefix("## ") {
            page += &format!(".SH {}\n", inline(&heading.to_uppercase()));
        } else if let Some(heading) = line.strip_prefix("### ") {
            page += &format!(".SS {}\n", inline(heading));
        } else if line.starts_with("```") {
            page += ".PP\n.RS 4\n.nf\n";
            for code in lines.by_ref().take_while(|line| !line.starts_with("```")) {
                page += &format!("{}\n", guarded(&escaped(code)));
            }
            page += ".fi\n.RE\n";
        } else if line.starts_with('|') {
            // The headings of a table, and the line below them.
            let heads = cells(line);
            lines.next();
            while let Some(row) = lines.next_if(|line| line.starts_with('|')) {
                page += &entry(&heads, &cells(row));
            }
            page += ".PP\n";
        } else if line.is_empty() {
            page += ".PP\n";
        } else if !line.starts_with("# ") {
            page += &format!("{}\n", guarded(&inline(line)));
        }
    }
    for row in markdown.lines().filter_map(|line| line.strip_prefix("| `")) {
        let key = row.split('`').next().unwrap_or_default();
        let entry = format!("\\fB{}\\fR", escaped(key));
        ensure!(page.contains(&entry), "{key} is not in the manual page");
    }
    Ok(page)
}

/// A row: what the first cell names, then the others, the short ones with what they are.
fn entry(heads: &[String], row: &[String]) -> String {
    let (Some(first), Some(last)) = (row.first(), row.last()) else {
        return String::new();
    };
    let between = heads
        .iter()
        .zip(row)
        .skip(1)
        .take(row.len().saturating_sub(2));
    let facts: Vec<String> = between
        .filter(|(_, cell)| !cell.is_empty())
        .map(|(head, cell)| format!("{}: {}", inline(head), inline(cell)))
        .collect();
    let facts = if facts.is_empty() {
        String::new()
    } else {
        format!("{}\n.br\n", guarded(&facts.join("; ")))
    };
    format!(
        ".TP\n{}\n{facts}{}\n",
        guarded(&inline(first)),
        guarded(&inline(last))
    )
}

/// The cells between the bars, of which `\|` is none.
fn cells(row: &str) -> Vec<String> {
    const BAR: &str = "\u{1}";
    let row = row.replace("\\|", BAR);
    let row = row.trim().trim_start_matches('|');
    let row = row.strip_suffix('|').unwrap_or(row);
    row.split('|')
        .map(|cell| cell.trim().replace(BAR, "|"))
        .collect()
}

/// Code and what is emphasised in bold; of a link its text.
fn inline(text: &str) -> String {
    let mut roff = String::new();
    for (index, part) in text.split('`').enumerate() {
        if index % 2 == 1 {
            roff += &format!("\\fB{}\\fR", escaped(part));
        } else {
            roff += &escaped(part);
        }
    }
    let mut plain = String::new();
    let mut rest = roff.as_str();
    // `[text](target)`; other brackets stand for themselves.
    while let Some(at) = rest.find("](") {
        let opening = opening(&rest[..at]);
        let closing = rest[at..].find(')');
        let (Some(opening), Some(closing)) = (opening, closing) else {
            break;
        };
        plain += &rest[..opening];
        plain += &rest[opening + 1..at];
        rest = &rest[at + closing + 1..];
    }
    plain + rest
}

/// Where the bracket is that the end of the text closes.
fn opening(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in text.char_indices().rev() {
        match c {
            ']' => depth += 1,
            '[' if depth == 0 => return Some(at),
            '[' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

/// A line that would be a request is none.
fn guarded(line: &str) -> String {
    if line.starts_with(['.', '\'']) {
        format!("\\&{line}")
    } else {
        line.to_owned()
    }
}
