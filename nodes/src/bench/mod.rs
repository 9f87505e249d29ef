//! `cloudlysis bench`: figures that mean something only beside each other.
//!
//! [`broker`] measures our broker beside a real `nats-server`, if it is told where that is: the same client, the same
//! machine, one after the other in turns, so that what disturbs one disturbs the other. [`saga`] measures sagas from
//! command to end, with everything they cost.

pub mod broker;
mod child;
mod rows;
pub mod saga;
mod table;
