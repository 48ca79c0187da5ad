//! What the value of each key may be: said once, for flags and files alike.

use std::marker::PhantomData;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use toml::de::DeValue;

use super::FailEffect;
use crate::carp::{Interval, Policy, Vhid};
use crate::engine::Placement;
use crate::io::xdp;

/// How a value is read.
pub(super) trait Kind {
    type Value;

    /// What may stand there: `a number from 1 to 255`.
    fn allowed(&self) -> String;

    /// The value, or what may stand in its place.
    fn read(&self, found: &DeValue<'_>) -> Result<Self::Value, String>;
}

/// A whole number.
pub struct Number<T> {
    allowed: &'static str,
    parse: fn(i64) -> Option<T>,
}

impl<T> Number<T> {
    /// From the command line.
    pub fn parse(&self, text: &str) -> Result<T, String> {
        let number = text.parse().ok();
        number
            .and_then(self.parse)
            .ok_or_else(|| format!("expected {}", self.allowed))
    }
}

impl<T> Kind for Number<T> {
    type Value = T;

    fn allowed(&self) -> String {
        self.allowed.to_owned()
    }

    fn read(&self, found: &DeValue<'_>) -> Result<T, String> {
        found
            .as_integer()
            .and_then(|number| i64::from_str_radix(number.as_str(), number.radix()).ok())
            .and_then(self.parse)
            .ok_or_else(|| format!("expected {}", self.allowed))
    }
}

/// Text that means something.
pub struct Text<T> {
    allowed: &'static str,
    /// With what is wrong where there is more to say than what is allowed.
    parse: fn(&str) -> Result<T, Option<&'static str>>,
}

impl<T> Text<T> {
    /// From the command line.
    pub fn parse(&self, text: &str) -> Result<T, String> {
        (self.parse)(text).map_err(|reason| match reason {
            Some(reason) => reason.to_owned(),
            None => format!("expected {}", self.allowed),
        })
    }
}

impl<T> Kind for Text<T> {
    type Value = T;

    fn allowed(&self) -> String {
        self.allowed.to_owned()
    }

    fn read(&self, found: &DeValue<'_>) -> Result<T, String> {
        match found.as_str() {
            Some(text) => self.parse(text),
            None => Err(format!("expected {}, in quotes", self.allowed)),
        }
    }
}

/// One of a few words.
pub(super) struct Choice<T>(PhantomData<T>);

impl<T: ValueEnum> Choice<T> {
    pub(super) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: ValueEnum> Kind for Choice<T> {
    type Value = T;

    fn allowed(&self) -> String {
        let words = T::value_variants().iter();
        let words = words.filter_map(T::to_possible_value);
        either(words.map(|word| format!("\"{}\"", word.get_name())))
    }

    fn read(&self, found: &DeValue<'_>) -> Result<T, String> {
        let allowed = format!("expected {}", self.allowed());
        let Some(text) = found.as_str() else {
            return Err(allowed);
        };
        T::from_str(text, false).map_err(|_| {
            let words: Vec<_> = T::value_variants()
                .iter()
                .filter_map(T::to_possible_value)
                .collect();
            match nearest(text, words.iter().map(|word| word.get_name())) {
                Some(word) => format!("{allowed}; did you mean \"{word}\"?"),
                None => allowed,
            }
        })
    }
}

/// `true` or `false`.
pub(super) struct Switch;

impl Kind for Switch {
    type Value = bool;

    fn allowed(&self) -> String {
        "true or false".to_owned()
    }

    fn read(&self, found: &DeValue<'_>) -> Result<bool, String> {
        found
            .as_bool()
            .ok_or_else(|| format!("expected {}, without quotes", self.allowed()))
    }
}

/// The one of `words` that somebody may have meant.
pub(super) fn nearest<'a>(word: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    let alike = words
        .map(|known| (strsim::jaro_winkler(&word, known), known))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    alike.map(|(_, known)| known)
}

/// `a, b or c`
pub(super) fn either(words: impl Iterator<Item = String>) -> String {
    let words: Vec<_> = words.collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

/// How adverts are signed and believed, beyond what legacy CARP does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AuthName {
    /// Not at all: whoever has captured an advert can unseat a master
    Off,
    /// Sign; believe unsigned adverts of hosts that have never signed: UCARP, BSD
    #[default]
    Send,
    /// Sign; believe nothing that is not signed
    Require,
}

impl From<AuthName> for Policy {
    fn from(name: AuthName) -> Self {
        match name {
            AuthName::Off => Self::Off,
            AuthName::Send => Self::Send,
            AuthName::Require => Self::Require,
        }
    }
}

/// Where the virtual addresses are put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AddressesName {
    /// On the interface, while this host is master
    #[default]
    Interface,
    /// On lo, from start to stop
    Loopback,
    /// Nowhere: they are there already, or somebody else puts them there
    None,
}

impl From<AddressesName> for Placement {
    fn from(name: AddressesName) -> Self {
        match name {
            AddressesName::Interface => Self::Interface,
            AddressesName::Loopback => Self::Loopback,
            AddressesName::None => Self::None,
        }
    }
}

/// How the responder is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum XdpModeName {
    /// Native where replies are known to leave, else generic
    #[default]
    Auto,
    /// In the driver
    Native,
    /// In the kernel's network stack: slower, works everywhere
    Generic,
}

impl From<XdpModeName> for xdp::Mode {
    fn from(name: XdpModeName) -> Self {
        match name {
            XdpModeName::Auto => Self::Auto,
            XdpModeName::Native => Self::Native,
            XdpModeName::Generic => Self::Generic,
        }
    }
}

pub const VHID: Number<Vhid> = Number {
    allowed: "a number from 1 to 255",
    parse: |number| u8::try_from(number).ok().and_then(Vhid::new),
};

/// Seconds.
pub const ADVBASE: Number<u8> = Number {
    allowed: "a number of seconds from 0 to 255",
    parse: |number| u8::try_from(number).ok(),
};

/// 256ths of a second.
pub const ADVSKEW: Number<u8> = Number {
    allowed: "a number of 256ths of a second from 0 to 254",
    parse: |number| within(number, 0, Interval::MAX_ADVSKEW),
};

pub const DEADRATIO: Number<u8> = Number {
    allowed: "a number of intervals from 1 to 255",
    parse: |number| within(number, 1, u8::MAX),
};

/// Of a password beside that of `passfile`, which is number 0.
pub const KEY_ID: Number<u8> = Number {
    allowed: "a number from 1 to 255",
    parse: |number| within(number, 1, u8::MAX),
};

pub const SIGN_WITH: Number<u8> = Number {
    allowed: "a number from 0 to 255",
    parse: |number| u8::try_from(number).ok(),
};

/// 255 is kept for hosts in maintenance.
pub(super) const DEMOTION: Number<FailEffect> = Number {
    allowed: "a number from 1 to 254",
    parse: |number| within(number, 1, 254).map(FailEffect::Demote),
};

pub(super) const IN_A_ROW: Number<u32> = Number {
    allowed: "a number from 1 to 1000",
    parse: |number| {
        u32::try_from(number)
            .ok()
            .filter(|n| (1..=1000).contains(n))
    },
};

pub(super) const HTTP_STATUS: Number<u16> = Number {
    allowed: "a number from 100 to 599",
    parse: |number| {
        u16::try_from(number)
            .ok()
            .filter(|n| (100..=599).contains(n))
    },
};

pub const ADDRESS: Text<Ipv4Addr> = Text {
    allowed: "an IPv4 address such as \"10.99.0.100\"",
    parse: |text| {
        let address = text.parse().map_err(|_| None)?;
        match why_unusable(address) {
            None => Ok(address),
            why => Err(why),
        }
    },
};

/// As the kernel has it (`dev_valid_name`).
pub const INTERFACE: Text<String> = Text {
    allowed: "a name of an interface: up to 15 characters, no space, slash or colon",
    parse: |text| {
        let is_bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':');
        let is_good = (1..=15).contains(&text.len()) && text != "." && text != "..";
        if is_good && !text.contains(is_bad) {
            Ok(text.to_owned())
        } else {
            Err(None)
        }
    },
};

pub const FILE: Text<PathBuf> = Text {
    allowed: "the path of a file",
    parse: |text| match text {
        "" => Err(None),
        path if path.contains(char::is_control) => Err(None),
        path => Ok(path.into()),
    },
};

/// Of a group, a tie or a check. Names become names of files.
pub(super) const NAME: Text<String> = Text {
    allowed: "a name of up to 64 letters, digits and any of -_.:@, that begins with a letter or digit",
    parse: |text| {
        let is_good = |c: char| c.is_ascii_alphanumeric() || "-_.:@".contains(c);
        let is_first = |c: char| c.is_ascii_alphanumeric();
        if text.len() <= 64 && text.starts_with(is_first) && text.chars().all(is_good) {
            Ok(text.to_owned())
        } else {
            Err(None)
        }
    },
};

/// As groupadd(8) allows.
pub(super) const ADMIN_GROUP: Text<String> = Text {
    allowed: "the name of a group of users",
    parse: |text| {
        let is_bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, ':' | ',' | '/');
        if (1..=32).contains(&text.len()) && !text.contains(is_bad) {
            Ok(text.to_owned())
        } else {
            Err(None)
        }
    },
};

/// A word of a command line.
pub(super) const WORD: Text<String> = Text {
    allowed: "a text without NUL",
    parse: |text| match text.contains('\0') {
        false => Ok(text.to_owned()),
        true => Err(None),
    },
};

pub(super) const SOCKET: Text<SocketAddr> = Text {
    allowed: "an address and a port such as \"127.0.0.1:80\"; a name is not looked up",
    parse: |text| match text.parse::<SocketAddr>() {
        Ok(addr) if addr.port() != 0 => Ok(addr),
        _ => Err(None),
    },
};

/// What an HTTP check asks, and of whom.
pub(super) struct Url {
    pub(super) addr: SocketAddr,
    pub(super) host: String,
    pub(super) path: String,
}

pub(super) const HTTP: Text<Url> = Text {
    allowed: "a URL such as \"http://127.0.0.1:8080/health\"; a name is not looked up",
    parse: |text| {
        let rest = match text.split_once("://") {
            Some(("http", rest)) => rest,
            Some(("https", _)) => {
                return Err(Some(
                    "only http is spoken here: for https let a command ask",
                ));
            }
            _ => return Err(None),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, path) = rest.split_at(end);
        let addr = match host.parse::<SocketAddr>() {
            Ok(addr) if addr.port() != 0 => addr,
            Ok(_) => return Err(None),
            // Only an address in brackets, or of IPv4, can be followed by a port.
            Err(_) => format!("{host}:80").parse().map_err(|_| None)?,
        };
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        };
        if !path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#')
        {
            return Err(Some("expected a URL of visible ASCII, without #"));
        }
        Ok(Url {
            addr,
            host: host.to_owned(),
            path,
        })
    },
};

/// How long to wait before something.
pub(super) const DELAY: Text<Duration> = Text {
    allowed: "a time of up to one day such as \"250ms\", \"2s\" or \"1m\"",
    parse: |text| {
        let delay = humantime::parse_duration(text).map_err(|_| None)?;
        Some(delay).filter(|delay| *delay <= DAY).ok_or(None)
    },
};

/// How long something may take, or how often it is done.
pub(super) const PERIOD: Text<Duration> = Text {
    allowed: "a time from 10ms to 1h such as \"250ms\", \"2s\" or \"1m\"",
    parse: |text| {
        let period = humantime::parse_duration(text).map_err(|_| None)?;
        let allowed = Duration::from_millis(10)..=Duration::from_secs(3600);
        Some(period)
            .filter(|period| allowed.contains(period))
            .ok_or(None)
    },
};

fn within(number: i64, least: u8, most: u8) -> Option<u8> {
    let number = u8::try_from(number).ok()?;
    (least..=most).contains(&number).then_some(number)
}

/// Addresses that no host on a LAN can have (RFC 6890).
fn why_unusable(address: Ipv4Addr) -> Option<&'static str> {
    if address.octets()[0] == 0 {
        Some("no host can have it (0.0.0.0/8)")
    } else if address.is_loopback() {
        Some("this is a loopback address (127.0.0.0/8)")
    } else if address.octets()[0] >= 224 {
        Some("this is a multicast, reserved or broadcast address (224.0.0.0 and above)")
    } else {
        None
    }
}

const DAY: Duration = Duration::from_secs(86_400);

/// From which likeness on one word may be meant for another: `advskwe` and
/// `advskew` have 0.97, `source` and `vhid` 0.
const ALIKE: f64 = 0.8;

#[cfg(test)]
mod tests;
