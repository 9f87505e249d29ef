//! The product as its users run it: real processes, a real broker, real files, real signals.
//!
//! | module | what it shows |
//! |---|---|
//! | [`orders`] | an order from command to parcel; what a caller is told |
//! | [`world`] | the processes themselves |

mod manifests;
mod orders;
mod world;
