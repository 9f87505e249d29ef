//! What crosses a process boundary: ids, subjects, stream and consumer names, headers, context, envelopes, and what
//! the broker's answers mean.
//!
//! Everything is parsed once, at the edge, into types that cannot hold a wrong value. Envelopes are tolerant: unknown
//! fields are ignored, optional fields may be missing. Names and escaping are injective: two ids never share a subject
//! token, a store key or a consumer name.

pub mod answer;
pub mod context;
pub mod envelope;
pub mod header_block;
pub mod headers;
pub mod id;
pub mod keys;
pub mod stream;
pub mod subject;
pub mod token;
