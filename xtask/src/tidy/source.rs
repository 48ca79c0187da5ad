//! Rust source as far as tidy needs it: code without comments and literals,
//! without tests, and the paths that it names. Lines keep their numbers.

/// A path such as `std::net::UdpSocket`, where code names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedPath {
    pub(super) segments: Vec<String>,
    pub(super) line: usize,
    pub(super) place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In a `use`: all below the path can be named by what it brings in.
    Use,
    Code,
}

/// Overwrites comments and the insides of literals with blanks.
pub(super) fn code(text: &str) -> String {
    let mut blanked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = comment(rest)
            .or_else(|| raw_string(rest, &blanked))
            .or_else(|| string(rest))
            .or_else(|| character(rest));
        let length = skipped.unwrap_or(first.len_utf8());
        let (taken, tail) = rest.split_at(length);
        if skipped.is_some() {
            let blank = |c: char| if c == '\n' { '\n' } else { ' ' };
            blanked.extend(taken.chars().map(blank));
        } else {
            blanked.push(first);
        }
        rest = tail;
    }
    blanked
}

/// Code without its `#[cfg(test)]` modules, as rustfmt lays them out.
pub(super) fn without_tests(code: &str) -> String {
    let mut kept = String::new();
    let mut inside: Option<usize> = None;
    let mut lines = code.lines().peekable();
    while let Some(line) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        let opens = |next: &&str| next.trim_start().starts_with("mod ") && next.ends_with('{');
        if inside.is_none() && line.trim() == "#[cfg(test)]" && lines.peek().is_some_and(opens) {
            inside = Some(indent);
        } else if inside.is_none() {
            kept.push_str(line);
        } else if inside == Some(indent) && line.trim() == "}" {
            inside = None;
        }
        kept.push('\n');
    }
    kept
}

/// Every path that the code names; those in `use` with their braces resolved.
pub(super) fn paths(code: &str) -> Vec<NamedPath> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let begins = at == 0 || matches!(tokens[at - 1].text, ";" | "{" | "}" | "]" | ")");
        let previous = tokens
            .get(at.wrapping_sub(1))
            .map_or("", |token| token.text);
        if tokens[at].text == "use" && (begins || previous == "pub") {
            at = use_tree(&tokens, at + 1, &[], &mut found);
        } else if tokens[at].is_name() {
            at = plain_path(&tokens, at, &mut found);
        } else {
            at += 1;
        }
    }
    found
}

#[derive(Clone, Copy)]
struct Token<'a> {
    text: &'a str,
    line: usize,
}

impl Token<'_> {
    fn is_name(&self) -> bool {
        self.text
            .starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

fn tokens(code: &str) -> Vec<Token<'_>> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut tokens = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = if is_name(first) {
                rest.find(|c| !is_name(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            tokens.push(Token {
                text: &rest[..length],
                line: index + 1,
            });
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

/// Reads one branch of a `use` and returns the place behind it.
fn use_tree(
    tokens: &[Token<'_>],
    mut at: usize,
    above: &[String],
    found: &mut Vec<NamedPath>,
) -> usize {
    let mut segments = above.to_vec();
    let line = tokens.get(at).map_or(0, |token| token.line);
    while let Some(token) = tokens.get(at) {
        match token.text {
            "::" => at += 1,
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token.text != "}") {
                    at = use_tree(tokens, at, &segments, found);
                    if tokens.get(at).is_some_and(|token| token.text == ",") {
                        at += 1;
                    }
                }
                return at + 1;
            }
            // A new name hides nothing of the path.
            "as" => at += 2,
            "," | "}" | ";" => break,
            // `a::{self}` and `a::*` name `a` itself.
            "*" => at += 1,
            "self" if !segments.is_empty() => at += 1,
            name => {
                segments.push(name.to_owned());
                at += 1;
            }
        }
    }
    found.push(NamedPath {
        segments,
        line,
        place: Place::Use,
    });
    at
}

fn plain_path(tokens: &[Token<'_>], mut at: usize, found: &mut Vec<NamedPath>) -> usize {
    let line = tokens[at].line;
    let mut segments = vec![tokens[at].text.to_owned()];
    at += 1;
    while let (Some(colons), Some(name)) = (tokens.get(at), tokens.get(at + 1))
        && colons.text == "::"
        && name.is_name()
    {
        segments.push(name.text.to_owned());
        at += 2;
    }
    // A single name is a variable as often as a crate.
    if segments.len() > 1 {
        found.push(NamedPath {
            segments,
            line,
            place: Place::Code,
        });
    }
    at
}

fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if depth == 0 {
            return None;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    (at > 0).then_some(at)
}

fn raw_string(rest: &str, before: &str) -> Option<usize> {
    // `br"` and `cr"` have had their first letter taken as code.
    let name = |c: char| c.is_alphanumeric() || c == '_';
    let mut letters = before.chars().rev().take_while(|&c| name(c));
    if !matches!(
        (letters.next(), letters.next()),
        (None, _) | (Some('b' | 'c'), None)
    ) {
        return None;
    }
    let hashes = rest
        .strip_prefix('r')?
        .chars()
        .take_while(|&c| c == '#')
        .count();
    let inside = rest.get(1 + hashes..)?.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = inside.find(&end)? + end.len();
    Some(rest.len() - inside.len() + length)
}

fn string(rest: &str) -> Option<usize> {
    let inside = rest.strip_prefix('"')?;
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        if c == '"' && !escaped {
            return Some(at + 2);
        }
        escaped = c == '\\' && !escaped;
    }
    Some(rest.len())
}

/// `'a'` and `'\n'`, but not the lifetime `'a`.
fn character(rest: &str) -> Option<usize> {
    let inside = rest.strip_prefix('\'')?;
    let first = inside.chars().next()?;
    if first == '\\' {
        let tail = inside.get(2..)?;
        return Some(tail.find('\'')? + 4);
    }
    inside[first.len_utf8()..]
        .starts_with('\'')
        .then_some(first.len_utf8() + 2)
}
