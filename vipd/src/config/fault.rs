//! What is wrong with a configuration: all of it at once, each with the place
//! where it was said, what was found there and what is allowed.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// Everything found wrong, or doubtful, in the order of the files.
#[derive(Debug, Default)]
pub struct Faults {
    sources: Vec<Source>,
    faults: Vec<Fault>,
}

/// One thing that is wrong, or doubtful.
#[derive(Clone, Debug)]
pub struct Fault {
    pub severity: Severity,
    /// What was found.
    pub found: String,
    /// What is allowed there, or what to do.
    pub allowed: String,
    pub(super) place: Place,
    /// Other places that it has to do with.
    pub(super) others: Vec<(Place, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The configuration is of no use.
    Error,
    /// It is, but may not be what was meant.
    Warning,
}

/// Where something was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// By a flag: `-v`.
    Flag(&'static str),
    /// Bytes of a file.
    Text(SourceId, Range<usize>),
    /// A file as a whole.
    File(SourceId),
}

/// A value with the place where it was said.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// A place in [`Faults`]' list of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SourceId(usize);

#[derive(Debug)]
struct Source {
    path: String,
    text: String,
}

impl Faults {
    /// Errors and warnings, in the order in which they are shown.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.faults.iter()
    }

    pub fn has_errors(&self) -> bool {
        self.faults
            .iter()
            .any(|fault| fault.severity == Severity::Error)
    }

    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// Where a fault is: file, line and column counted from 1. A flag has none.
    pub fn position(&self, fault: &Fault) -> Option<(&str, Option<(usize, usize)>)> {
        let (Place::Text(id, _) | Place::File(id)) = &fault.place else {
            return None;
        };
        let source = self.sources.get(id.0)?;
        let position = match &fault.place {
            Place::Text(_, span) => {
                let before = &source.text[..span.start];
                let line = before.rfind('\n').map_or(before, |end| &before[end + 1..]);
                let lines = before.matches('\n').count();
                Some((lines + 1, line.chars().count() + 1))
            }
            Place::Flag(_) | Place::File(_) => None,
        };
        Some((&source.path, position))
    }

    /// A fault in one line, for a log.
    pub fn line(&self, fault: &Fault) -> String {
        let said = format!("{}: {}", fault.found, fault.allowed);
        match self.position(fault) {
            Some((path, Some((line, _)))) => format!("{path}:{line}: {said}"),
            Some((path, None)) => format!("{path}: {said}"),
            None => said,
        }
    }

    /// As [`fmt::Display`], in colours.
    pub fn styled(&self) -> String {
        self.render(&Renderer::styled())
    }

    pub(super) fn add_source(&mut self, path: &Path, text: String) -> SourceId {
        self.sources.push(Source {
            path: path.display().to_string(),
            text,
        });
        SourceId(self.sources.len() - 1)
    }

    pub(super) fn first_file(&self) -> Place {
        Place::File(SourceId(0))
    }

    /// Whatever is shown of a source, these bytes are not: they may be secret.
    pub(super) fn hide(&mut self, id: SourceId, span: Range<usize>) {
        let text = &mut self.sources[id.0].text;
        let hidden: String = text[span.clone()]
            .chars()
            .flat_map(|c| {
                let (mask, len) = if c == '\n' {
                    ('\n', 1)
                } else {
                    ('*', c.len_utf8())
                };
                std::iter::repeat_n(mask, len)
            })
            .collect();
        text.replace_range(span, &hidden);
    }

    pub(super) fn error(
        &mut self,
        place: &Place,
        found: impl Into<String>,
        allowed: impl Into<String>,
    ) {
        self.push(Severity::Error, place, found.into(), allowed.into());
    }

    pub(super) fn warning(
        &mut self,
        place: &Place,
        found: impl Into<String>,
        allowed: impl Into<String>,
    ) {
        self.push(Severity::Warning, place, found.into(), allowed.into());
    }

    /// Something that contradicts what was said elsewhere.
    pub(super) fn clash(
        &mut self,
        (place, allowed): (&Place, &str),
        found: impl Into<String>,
        (other, said): (&Place, &str),
    ) {
        self.error(place, found, allowed);
        if let Some(fault) = self.faults.last_mut() {
            fault.others.push((other.clone(), said.to_owned()));
        }
    }

    /// In the order of the files, and of each file's lines.
    pub(super) fn sort(&mut self) {
        self.faults.sort_by_key(|fault| match &fault.place {
            Place::Flag(_) => (None, 0),
            Place::File(id) => (Some(*id), 0),
            Place::Text(id, span) => (Some(*id), span.start),
        });
    }

    fn push(&mut self, severity: Severity, place: &Place, found: String, allowed: String) {
        self.faults.push(Fault {
            severity,
            found,
            allowed,
            place: place.clone(),
            others: Vec::new(),
        });
    }

    fn render(&self, renderer: &Renderer) -> String {
        let shown = self.faults.iter().take(MOST);
        let shown: Vec<_> = shown
            .map(|fault| self.render_one(fault, renderer) + "\n")
            .collect();
        let mut text = shown.join("\n");
        if self.faults.len() > MOST {
            text.push_str(&format!("\nand {} more\n", self.faults.len() - MOST));
        }
        text
    }

    fn render_one(&self, fault: &Fault, renderer: &Renderer) -> String {
        let level = match fault.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let (id, span) = match &fault.place {
            Place::Flag(_) => return self.line(fault),
            Place::File(id) => {
                let title = format!("{}: {}", fault.found, fault.allowed);
                let origin = Origin::path(self.sources[id.0].path.as_str());
                return renderer.render(&[level.primary_title(title).element(origin)]);
            }
            Place::Text(id, span) => (*id, span),
        };
        let primary = AnnotationKind::Primary.span(span.clone());
        let mut marks = vec![(id, primary.label(fault.allowed.as_str()))];
        for (place, said) in &fault.others {
            if let Place::Text(id, span) = place {
                let mark = AnnotationKind::Context.span(span.clone());
                marks.push((*id, mark.label(said.as_str())));
            }
        }
        let mut group = Group::with_title(level.primary_title(fault.found.as_str()));
        // The file with the fault first, then others.
        let mut ids: Vec<_> = marks.iter().map(|(id, _)| *id).collect();
        ids.dedup();
        for id in ids {
            let source = &self.sources[id.0];
            let own = marks.iter().filter(|(of, _)| *of == id);
            let snippet = Snippet::source(source.text.as_str())
                .path(source.path.as_str())
                .annotations(own.map(|(_, mark)| mark.clone()));
            group = group.element(snippet);
        }
        renderer.render(&[group])
    }
}

/// All of them for people, without colours.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(&Renderer::plain()))
    }
}

impl std::error::Error for Faults {}

impl<T> At<T> {
    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> At<U> {
        At {
            value: change(self.value),
            place: self.place,
        }
    }
}

/// Faults that are shown: more help nobody, and a file may be anything.
const MOST: usize = 50;

#[cfg(test)]
mod tests;
