//! How fit this host is for a group, and what a group and its tie have to do with
//! each other.

use super::{Fitness, Group, Instant, Output, VecDeque};
use crate::carp::Role;

impl Group {
    pub(in crate::engine) fn set_fitness(
        &mut self,
        fitness: Fitness,
        now: Instant,
        out: &mut VecDeque<Output>,
    ) {
        let outcome = self.election.set_fitness(fitness, now);
        self.follow(outcome, now, out);
    }

    pub(in crate::engine) fn promote(&mut self, now: Instant) {
        self.election.promote(now);
    }

    /// By what name its tie is known, if it is in one.
    pub(in crate::engine) fn tie(&self) -> Option<&str> {
        self.config.tie.as_deref()
    }

    pub(in crate::engine) fn is_master(&self) -> bool {
        self.election.role() == Role::Master
    }

    /// Whether it cannot be master, whatever others do. Of a group whose link has
    /// not been told of yet, nobody knows.
    pub(in crate::engine) fn is_unable(&self) -> bool {
        let is_out = self.link.is_some() && self.election.role() == Role::Init;
        is_out || self.election.fitness().withheld
    }

    /// By how much it is demoted, without its tie.
    pub(in crate::engine) fn own_demotion(&self) -> u8 {
        self.election.own_demotion()
    }

    /// What its tie is like: by how much the others are demoted, and whether one of
    /// them is master.
    pub(in crate::engine) fn set_tie(
        &mut self,
        demotion: u8,
        has_master: bool,
        now: Instant,
        out: &mut VecDeque<Output>,
    ) {
        let outcome = self.election.set_tie(demotion, has_master, now);
        self.follow(outcome, now, out);
    }
}
