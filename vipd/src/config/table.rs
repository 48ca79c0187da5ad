//! Tables of a file that are asked for the keys they may have. What is wrong is
//! noted, and reading goes on; what was never asked for is an unknown key. So the
//! code that reads a file is the only list of its keys.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{At, Faults, Place, SourceId};
use super::value::{Kind, nearest};

/// What has been read and noted so far.
pub(super) struct Reader {
    pub(super) faults: RefCell<Faults>,
    /// The keys asked for, by the tables' titles.
    asked: RefCell<BTreeMap<String, Vec<&'static str>>>,
}

/// One table, or the absence of one.
pub(super) struct Table<'a> {
    reader: &'a Reader,
    source: SourceId,
    header: Header,
    /// `None` where there is only asked what could be in it.
    entries: Option<&'a DeTable<'a>>,
    /// Its header.
    span: Range<usize>,
    asked: RefCell<Vec<&'static str>>,
    /// Tables in it have names of the operator's choice.
    is_named: Cell<bool>,
}

/// What a table is.
#[derive(Clone)]
struct Header {
    /// With dots: `group.check`; the whole file is "".
    kind: String,
    /// For people: `[[group.check]]`.
    title: String,
}

impl Header {
    fn document() -> Self {
        Self {
            kind: String::new(),
            title: "the file".to_owned(),
        }
    }

    fn inner(&self, key: &str) -> String {
        match self.kind.as_str() {
            "" => key.to_owned(),
            kind => format!("{kind}.{key}"),
        }
    }

    /// `[daemon]` in this one.
    fn table(&self, key: &str) -> Self {
        let kind = self.inner(key);
        let title = format!("[{kind}]");
        Self { kind, title }
    }

    /// Each `[[group]]` in this one.
    fn item(&self, key: &str) -> Self {
        let kind = self.inner(key);
        let title = format!("[[{kind}]]");
        Self { kind, title }
    }
}

impl Reader {
    pub(super) fn new() -> Self {
        Self {
            faults: RefCell::new(Faults::default()),
            asked: RefCell::new(BTreeMap::new()),
        }
    }

    /// A whole file.
    pub(super) fn document<'a>(&'a self, source: SourceId, entries: &'a DeTable<'a>) -> Table<'a> {
        self.table(source, Header::document(), Some(entries), 0..0)
    }

    /// A file that has nothing but can be asked.
    pub(super) fn nothing(&self) -> Table<'_> {
        let source = self
            .faults
            .borrow_mut()
            .add_source("".as_ref(), String::new());
        self.table(source, Header::document(), None, 0..0)
    }

    /// The keys that were asked for, by the titles of their tables.
    pub(super) fn into_asked(self) -> BTreeMap<String, Vec<&'static str>> {
        self.asked.into_inner()
    }

    fn table<'a>(
        &'a self,
        source: SourceId,
        header: Header,
        entries: Option<&'a DeTable<'a>>,
        span: Range<usize>,
    ) -> Table<'a> {
        Table {
            reader: self,
            source,
            header,
            entries,
            span,
            asked: RefCell::default(),
            is_named: Cell::new(false),
        }
    }
}

impl<'a> Table<'a> {
    /// Where it begins.
    pub(super) fn place(&self) -> Place {
        Place::Text(self.source, self.span.clone())
    }

    /// The value of a key, if it is there and of use.
    pub(super) fn value<K: Kind>(&self, key: &'static str, kind: &K) -> Option<At<K::Value>> {
        let found = self.find(key)?;
        self.read(key, kind, found)
    }

    /// The value of a key that must be there.
    pub(super) fn required<K: Kind>(&self, key: &'static str, kind: &K) -> Option<At<K::Value>> {
        self.require(key, &kind.allowed());
        self.value(key, kind)
    }

    /// The values of a list, those that are of use.
    pub(super) fn list<K: Kind>(
        &self,
        key: &'static str,
        kind: &K,
    ) -> Option<At<Vec<At<K::Value>>>> {
        let found = self.find(key)?;
        let place = self.at(found);
        let expected = format!(
            "expected a list of one or more: in brackets, each {}",
            kind.allowed()
        );
        let Some(items) = found.get_ref().as_array() else {
            self.note(&place, refused(key, found.get_ref()), expected);
            return None;
        };
        if items.is_empty() {
            self.note(&place, format!("{key} is an empty list"), expected);
            return None;
        }
        let value = items
            .iter()
            .filter_map(|item| self.read(key, kind, item))
            .collect();
        Some(At { value, place })
    }

    /// A list that must be there.
    pub(super) fn required_list<K: Kind>(
        &self,
        key: &'static str,
        kind: &K,
    ) -> Option<At<Vec<At<K::Value>>>> {
        self.require(
            key,
            &format!("a list: in brackets, each {}", kind.allowed()),
        );
        self.list(key, kind)
    }

    /// The one table of a name: `[daemon]`.
    pub(super) fn table(&self, key: &'static str) -> Option<Self> {
        let header = self.header.table(key);
        let found = self.find(key);
        if self.entries.is_none() {
            return Some(self.reader.table(self.source, header, None, 0..0));
        }
        let expected = format!("expected a table: {}", header.title);
        self.one_table(key, header, found?, &expected)
    }

    /// The tables of a list: each `[[group]]`.
    pub(super) fn tables(&self, key: &'static str) -> Vec<Self> {
        let header = self.header.item(key);
        let found = self.find(key);
        if self.entries.is_none() {
            return vec![self.reader.table(self.source, header, None, 0..0)];
        }
        let Some(found) = found else {
            return Vec::new();
        };
        let expected = format!(
            "expected a list of tables: each begins with {}",
            header.title
        );
        let Some(items) = found.get_ref().as_array() else {
            self.note(&self.at(found), refused(key, found.get_ref()), expected);
            return Vec::new();
        };
        let tables = items
            .iter()
            .map(|item| self.one_table(key, header.clone(), item, &expected));
        tables.flatten().collect()
    }

    /// Tables with names that the operator chose: each `[interface.NAME]`. A name
    /// that is of no use is `None`.
    pub(super) fn named_tables<K: Kind>(
        &self,
        key: &'static str,
        name: &K,
    ) -> Vec<(Option<At<K::Value>>, Self)> {
        let Some(outer) = self.table(key) else {
            return Vec::new();
        };
        outer.is_named.set(true);
        let header = outer.header.table("NAME");
        let Some(entries) = outer.entries else {
            return vec![(None, self.reader.table(self.source, header, None, 0..0))];
        };
        let mut tables = Vec::new();
        for (named, found) in entries {
            let text = DeValue::String(named.get_ref().clone());
            let value = self.read("a name", name, &Spanned::new(named.span(), text));
            let expected = format!("expected a table: [{key}.{}]", named.get_ref());
            let table = self.one_table(named.get_ref(), header.clone(), found, &expected);
            tables.extend(table.map(|table| (value, table)));
        }
        tables
    }

    fn one_table(
        &self,
        key: &str,
        header: Header,
        found: &'a Spanned<DeValue<'a>>,
        expected: &str,
    ) -> Option<Self> {
        let Some(entries) = found.get_ref().as_table() else {
            self.note(&self.at(found), refused(key, found.get_ref()), expected);
            return None;
        };
        let table = self
            .reader
            .table(self.source, header, Some(entries), found.span());
        Some(table)
    }

    fn read<K: Kind>(
        &self,
        key: &str,
        kind: &K,
        found: &Spanned<DeValue<'_>>,
    ) -> Option<At<K::Value>> {
        let place = self.at(found);
        match kind.read(found.get_ref()) {
            Ok(value) => Some(At { value, place }),
            Err(allowed) => {
                self.note(&place, refused(key, found.get_ref()), allowed);
                None
            }
        }
    }

    /// Whether it has a key, of whatever value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.is_none_or(|entries| entries.contains_key(key))
    }

    /// Complains where a key is missing.
    pub(super) fn require(&self, key: &'static str, allowed: &str) {
        if !self.has(key) {
            let found = format!("{} has no {key}", self.header.title);
            self.note(&self.place(), found, format!("expected {key} = {allowed}"));
        }
    }

    fn find(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
        self.entries?.get(key)
    }

    fn at<T>(&self, found: &Spanned<T>) -> Place {
        Place::Text(self.source, found.span())
    }

    fn note(&self, place: &Place, found: impl Into<String>, allowed: impl Into<String>) {
        self.reader.faults.borrow_mut().error(place, found, allowed);
    }
}

/// What nobody asked for by now is unknown.
impl Drop for Table<'_> {
    fn drop(&mut self) {
        let asked = self.asked.take();
        let unknown = self.entries.into_iter().flatten();
        if !self.is_named.get() {
            for (key, value) in unknown.filter(|(key, _)| !asked.contains(&key.get_ref().as_ref()))
            {
                let name = key.get_ref();
                let mut faults = self.reader.faults.borrow_mut();
                if is_secret(name) {
                    faults.hide(self.source, value.span());
                }
                let allowed = match nearest(name, asked.iter().copied()) {
                    Some(known) => format!("did you mean {known}?"),
                    None => format!("it can have {}", asked.join(", ")),
                };
                let found = format!("{} has no key {name:?}", self.header.title);
                faults.error(&self.at(key), found, allowed);
            }
        }
        let mut known = self.reader.asked.borrow_mut();
        let known = known.entry(self.header.title.clone()).or_default();
        for key in asked {
            if !known.contains(&key) {
                known.push(key);
            }
        }
    }
}

/// `vhid cannot be 256`
fn refused(key: &str, found: &DeValue<'_>) -> String {
    let shown = match found {
        DeValue::String(text) if text.len() > LONGEST => "so long a text".to_owned(),
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(is) => is.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    };
    format!("{key} cannot be {shown}")
}

/// Whether somebody may have written a password under this name.
fn is_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    ["pass", "secret", "key"]
        .iter()
        .any(|word| key.contains(word))
}

/// Bytes of a text that is quoted to say that it is wrong.
const LONGEST: usize = 80;
