//! What must hold after every turn, looked up in the table: whole scans, so only where checks are on.

use super::{Outbox, State, parse_key};
use crate::halt::Halt;
use crate::invariant;
use crate::store::{Table, View};
use crate::wire::id::TenantId;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

impl Outbox {
    /// Its invariants.
    ///
    /// # Errors
    /// [`Halt::Broken`] naming the one that does not hold.
    pub fn check(&self, view: &dyn View) -> Result<(), Halt> {
        let mut rows = BTreeMap::<TenantId, (u64, u64)>::new();
        let mut beyond = None;
        let mut broken = None;
        view.scan(Table::Outbox, b"", &mut |key, _| match parse_key(key) {
            Ok((tenant, position)) => {
                rows.entry(tenant).or_insert((position, 0)).1 += 1;
                beyond = beyond.or(Some(position).filter(|position| *position >= self.tail));
                ControlFlow::Continue(())
            }
            Err(halt) => {
                broken = Some(halt);
                ControlFlow::Break(())
            }
        })?;
        if let Some(halt) = broken {
            return Err(halt);
        }
        invariant!(beyond.is_none(), Out5, "row {beyond:?} is at or past the tail {}", self.tail);
        let counted = |own: &TenantId| self.turns.share(own).map_or(0, |share| share.depth);
        let miscounted = rows.iter().find(|(tenant, (_, count))| counted(tenant) != *count);
        invariant!(
            miscounted.is_none() && rows.len() == self.turns.shares().len(),
            Out5,
            "{miscounted:?} in the table, {:?} counted",
            self.turns.shares()
        );
        let total: u64 = rows.values().map(|(_, count)| count).sum();
        invariant!(total == self.depth(), Out5, "{total} rows, {} counted", self.depth());
        for (tenant, (first, _)) in &rows {
            let cursor = self.turns.share(tenant).map_or(0, |share| share.cursor);
            invariant!(
                *first >= cursor || self.tracked.contains_key(first),
                Out2,
                "row {first} of {tenant:?} is neither tracked nor ahead of the cursor {cursor}"
            );
        }
        self.turns.check()?;
        self.check_given_up()?;
        invariant!(self.turns.tracked() == self.tracked.len(), Out7, "{} in memory", self.tracked.len());
        let busy = self.tracked.values().filter(|tracked| tracked.is_busy()).count();
        invariant!(busy == self.in_flight, Out4, "{busy} in flight, {} counted", self.in_flight);
        invariant!(busy <= self.config.limits.in_flight_max, Out4, "{busy} in flight");
        for (lane, positions) in &self.lanes {
            let in_order = positions.iter().zip(positions.iter().skip(1)).all(|(a, b)| a < b);
            let only_head = positions.iter().skip(1).all(|position| {
                self.tracked.get(position).is_some_and(|tracked| tracked.state == State::Waiting)
            });
            invariant!(in_order && only_head, Out1, "lane {lane}: {positions:?}");
        }
        Ok(())
    }
}
