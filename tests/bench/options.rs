//! `--name value` options, as all benchmarks take them.

use std::str::FromStr;

use anyhow::{Context as _, Result, bail};

/// Options that each take a value.
pub(crate) struct Options {
    given: Vec<(String, String)>,
}

impl Options {
    /// `None` if there is `--help` among them.
    pub(crate) fn parse(words: &[String], known: &[&str]) -> Result<Option<Self>> {
        let mut given = Vec::new();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--help" || word == "-h" {
                return Ok(None);
            }
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word.clone(), None),
            };
            if !known.contains(&name.as_str()) {
                bail!("{name} is not an option: there are {}", known.join(", "));
            }
            let value = value
                .or_else(|| words.next().cloned())
                .with_context(|| format!("{name} takes a value"))?;
            given.push((name, value));
        }
        Ok(Some(Self { given }))
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let mut values = self.given.iter().rev();
        values
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn number<T: FromStr>(&self, name: &str, default: T) -> Result<T> {
        let Some(text) = self.text(name) else {
            return Ok(default);
        };
        text.parse()
            .ok()
            .with_context(|| format!("{name} takes a number, not {text:?}"))
    }

    /// Those of `all` whose names are listed with commas; without the option, all.
    pub(crate) fn choice<T: Copy>(
        &self,
        option: &str,
        all: &[T],
        name: impl Fn(T) -> &'static str,
    ) -> Result<Vec<T>> {
        let Some(text) = self.text(option) else {
            return Ok(all.to_vec());
        };
        let mut chosen = Vec::new();
        for word in text.split(',') {
            let found = all.iter().find(|one| name(**one) == word);
            let names: Vec<_> = all.iter().map(|one| name(*one)).collect();
            chosen.push(*found.with_context(|| {
                format!("{option} takes some of {}, not {word:?}", names.join(","))
            })?);
        }
        Ok(chosen)
    }
}
