//! How fit a host is to be master, whatever its rank.

/// How fit this host is for a group, as the sum of what it knows of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fitness {
    /// 0 is well; the more, the sooner another should be master.
    pub demotion: u8,
    /// This host must not be master at all.
    pub withheld: bool,
}

impl Fitness {
    pub const WELL: Self = Self {
        demotion: 0,
        withheld: false,
    };
}
