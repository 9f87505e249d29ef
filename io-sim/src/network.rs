//! The network: every message takes a while, and the messages of one connection arrive in order.
//!
//! A link is one direction of one connection. Like TCP it never reorders and never loses a single message in the
//! middle; what is lost is lost by cutting the connection, which its owner decides. Episodes make links slow.

use crate::rng::Rng;
use std::collections::BTreeMap;

/// How slow the network is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delays {
    /// Shortest time of a message, in nanoseconds.
    pub min_ns: u64,
    /// Longest time of a message, in nanoseconds.
    pub max_ns: u64,
}

/// Arrival times of messages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Network {
    delays: Delays,
    /// Slow until then, by this factor.
    slow: Option<(u64, u64)>,
    last_arrival: BTreeMap<String, u64>,
}

impl Network {
    /// A network.
    #[must_use]
    pub const fn new(delays: Delays) -> Self {
        Self { delays, slow: None, last_arrival: BTreeMap::new() }
    }

    /// Everything takes `factor` times as long until `until_ns`.
    pub const fn slow_down(&mut self, until_ns: u64, factor: u64) {
        self.slow = Some((until_ns, factor));
    }

    /// Ends every episode.
    pub const fn heal(&mut self) {
        self.slow = None;
    }

    /// When a message sent now over this link arrives.
    pub fn arrival(&mut self, link: &str, now_ns: u64, rng: &mut Rng) -> u64 {
        let factor = match self.slow {
            Some((until, factor)) if now_ns < until => factor,
            Some(_) | None => 1,
        };
        let takes = rng.within(self.delays.min_ns, self.delays.max_ns).saturating_mul(factor);
        let in_order = self.last_arrival.get(link).map_or(0, |last| last + 1);
        let at = (now_ns + takes).max(in_order);
        self.last_arrival.insert(link.to_owned(), at);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_keeps_order_even_when_it_becomes_faster() {
        let mut network = Network::new(Delays { min_ns: 10, max_ns: 1_000 });
        let mut rng = Rng::new(3);
        network.slow_down(500, 100);
        let arrivals: Vec<u64> = (0..100).map(|at| network.arrival("a", at * 10, &mut rng)).collect();
        assert!(arrivals.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(arrivals[0] > 900, "slow at first: {}", arrivals[0]);
    }
}
