//! A LAN: who hears whom, how late, and how often.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::rng::Rng;
use super::setup::{Nanos, Wire};

/// Who is attached: hosts by their number, and these two.
pub type Port = usize;
pub const CLIENT: Port = 1000;
/// A host that is no member of any group.
pub const STRANGER: Port = 1001;

/// Where a frame comes from, for checks that know what a frame must not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Node(Port),
    /// An advert that does not verify, or no advert at all.
    Worthless,
    /// The receiver's own frame, come back.
    Echo,
}

/// A frame on its way.
#[derive(Clone, Debug)]
pub struct Frame {
    pub bytes: Rc<[u8]>,
    pub origin: Origin,
    /// The client's request that it is, or answers.
    pub ask: Option<u32>,
    /// The advert of a vipd master that it is.
    pub advert: Option<Sent>,
}

/// An advert on which a lease stands.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    pub group: usize,
    pub at: Nanos,
}

#[derive(Clone, Debug)]
pub struct Lan {
    pub wire: Wire,
    /// Who is not heard by whom.
    cuts: BTreeSet<(Port, Port)>,
    /// Broadcasts come back to their sender.
    pub loops: bool,
}

impl Lan {
    pub fn new(wire: Wire) -> Self {
        Self {
            wire,
            cuts: BTreeSet::new(),
            loops: false,
        }
    }

    pub fn cut(&mut self, from: Port, to: Port) {
        self.cuts.insert((from, to));
    }

    pub fn mend(&mut self, from: Port, to: Port) {
        self.cuts.remove(&(from, to));
    }

    /// After which delays a frame arrives: not at all, once or twice.
    pub fn carry(&self, from: Port, to: Port, rng: &mut Rng) -> [Option<Nanos>; 2] {
        let wire = self.wire;
        if self.cuts.contains(&(from, to)) || rng.per_mille(wire.loss) {
            return [None, None];
        }
        let mut delay = || Some(rng.range(wire.min_delay, wire.max_delay));
        let (first, second) = (delay(), delay());
        let doubled = rng.per_mille(wire.doubled);
        [first, second.filter(|_| doubled)]
    }
}
