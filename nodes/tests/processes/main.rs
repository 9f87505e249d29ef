//! The product as its users run it: real processes, a real broker, real files, real signals.
//!
//! | module | what it shows |
//! |---|---|
//! | [`orders`] | an order from command to parcel; what a caller is told |
//! | [`kill`] | SIGKILL of the process, again and again: nothing lost, nothing twice |
//! | [`broker_away`] | SIGKILL of the broker |
//! | [`drain`] | SIGTERM |
//! | [`quarantine`] | what cannot be applied holds back only its own key |
//! | [`manifests`], [`ids`], [`strangers`] | bad input: manifests, ids and payloads, streams and data directories |
//! | [`separate`] | every node as a process of its own |
//! | [`workload`], [`audit`] | many orders with many fates, and the books that must balance after them |
//! | [`world`] | the processes themselves |

mod audit;
mod broker_away;
mod drain;
mod ids;
mod kill;
mod manifests;
mod orders;
mod quarantine;
mod separate;
mod strangers;
mod workload;
mod world;
