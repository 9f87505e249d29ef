//! What clients send: an incremental parser with bounded memory.
//!
//! ```text
//!            verb            arguments              payload            CR LF
//!   Verb ──────────► Gap ──────────────► Line ──────────────► Body ──────────────► End
//!     ▲               │ PING, PONG, …      │ SUB, UNSUB, CONNECT                     │
//!     │               └─► Rest             │                                         │
//!     └────────────────────┴───────────────┴─────────────────────────────────────────┘
//! ```
//!
//! What arrives whole is cut out of the buffer it came in; only what is split over two buffers is copied. So a
//! subject or payload keeps its whole read buffer alive: who stores one for long copies it first.
//!
//! The operations do not depend on how the bytes were cut, and an unknown verb is refused at its first wrong byte, as
//! the real server does both. After a violation the parser stays where it is and refuses everything.
//!
//! - Limits: at most one control line or one payload is kept, see [`Parser::held`].
//! - Differences to the real server: a carriage return inside a line is white space wherever the buffers were cut; a line
//!   that ends before its arguments begin has none (there they begin on the next line); the argument of an `INFO` from
//!   a client is skipped, not read.

use super::Limits;
use super::connect::Connect;
use super::violation::Violation;
use bytes::{Buf, Bytes, BytesMut};
use std::mem;

/// Most digits of a size.
const SIZE_DIGITS_MAX: usize = 9;
/// Letters of the longest verb.
const VERB_LEN_MAX: usize = 7;

/// What a client wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operation {
    /// It says who it is.
    Connect(Box<Connect>),
    /// `PUB` and `HPUB`.
    Publish(Publish),
    /// `SUB`.
    Subscribe {
        /// What it wants to hear.
        subject: Bytes,
        /// The group that shares it.
        queue: Option<Bytes>,
        /// The client's name for the subscription.
        sid: Bytes,
    },
    /// `UNSUB`.
    Unsubscribe {
        /// Which subscription.
        sid: Bytes,
        /// After how many messages in all; at once if absent. A number that cannot be read is none.
        max: Option<u64>,
    },
    /// `PING`.
    Ping,
    /// `PONG`.
    Pong,
}

/// One message as a client sent it. Subjects are bytes: the real server takes any but white space.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Publish {
    /// Where to.
    pub subject: Bytes,
    /// Where answers go.
    pub reply: Option<Bytes>,
    /// The header block, not looked at; empty for none.
    pub headers: Bytes,
    /// The body.
    pub payload: Bytes,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verb {
    Connect,
    Pub,
    Hpub,
    Sub,
    Unsub,
    Ping,
    Pong,
    Ok,
    Err,
    Info,
}

const VERBS: [(&[u8], Verb); 10] = [
    (b"CONNECT", Verb::Connect),
    (b"PUB", Verb::Pub),
    (b"HPUB", Verb::Hpub),
    (b"SUB", Verb::Sub),
    (b"UNSUB", Verb::Unsub),
    (b"PING", Verb::Ping),
    (b"PONG", Verb::Pong),
    (b"+OK", Verb::Ok),
    (b"-ERR", Verb::Err),
    (b"INFO", Verb::Info),
];

/// The beginning of a verb, in capitals.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Prefix {
    letters: [u8; VERB_LEN_MAX],
    len: usize,
}

impl Prefix {
    /// Adds a letter. The verb, if it is complete.
    fn push(&mut self, letter: u8) -> Result<Option<Verb>, Violation> {
        // No verb is the beginning of another, so an incomplete one has room for a letter.
        self.letters[self.len] = letter.to_ascii_uppercase();
        self.len += 1;
        let seen = &self.letters[..self.len];
        let found = VERBS.iter().find(|(name, _)| name.starts_with(seen));
        let (name, verb) = found.ok_or(Violation::UnknownOperation)?;
        Ok((name.len() == self.len).then_some(*verb))
    }
}

/// A publish whose payload is still to come.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Head {
    subject: Bytes,
    reply: Option<Bytes>,
    headers_len: usize,
    total: usize,
}

impl Head {
    fn with(self, payload: Bytes) -> Publish {
        let Self { subject, reply, headers_len, total: _ } = self;
        let (headers, payload) = if headers_len == 0 {
            (Bytes::new(), payload)
        } else {
            (payload.slice(..headers_len), payload.slice(headers_len..))
        };
        Publish { subject, reply, headers, payload }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    /// Before or inside a verb.
    Verb(Prefix),
    /// Behind a verb, before its arguments; `spaced` once there was white space.
    Gap { verb: Verb, spaced: bool },
    /// Inside the arguments.
    Line(Verb),
    /// Whatever else stands in the line does not matter.
    Rest(Verb),
    /// Inside a payload.
    Body(Head),
    /// Behind a payload; `returned` once the carriage return was there.
    End { publish: Publish, returned: bool },
    /// Over.
    Failed(Violation),
}

impl Default for State {
    fn default() -> Self {
        Self::Verb(Prefix::default())
    }
}

type Step = (State, Option<Operation>);

/// One client's side of the conversation. See the module text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parser {
    line_max: usize,
    payload_max: usize,
    connect_first: bool,
    headers: bool,
    state: State,
    /// What of a line or payload came in earlier buffers.
    partial: BytesMut,
}

impl Parser {
    /// At the beginning of a connection. With `connect_first`, anything but a `CONNECT` is refused until
    /// [`accept`](Self::accept).
    #[must_use]
    pub fn new(limits: &Limits, connect_first: bool) -> Self {
        Self {
            line_max: limits.control_line_bytes_max,
            payload_max: limits.payload_bytes_max,
            connect_first,
            headers: false,
            state: State::default(),
            partial: BytesMut::new(),
        }
    }

    /// The client has said who it is; `headers` if it may send them.
    pub const fn accept(&mut self, headers: bool) {
        self.connect_first = false;
        self.headers = headers;
    }

    /// Bytes kept between two calls: at most a control line and its line break, or a payload.
    #[must_use]
    pub fn held(&self) -> usize {
        self.partial.len()
    }

    /// Takes the next operation off the front of `input`; `None` once all of it is taken.
    ///
    /// # Errors
    /// A [`Violation`] that closes the connection. The rest of the input is gone.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Operation>, Violation> {
        while !input.is_empty() {
            match self.step(input) {
                Ok((state, done)) => {
                    self.state = state;
                    if done.is_some() {
                        return Ok(done);
                    }
                }
                Err(violation) => {
                    self.state = State::Failed(violation);
                    self.partial = BytesMut::new();
                    input.clear();
                    return Err(violation);
                }
            }
        }
        Ok(None)
    }

    /// Goes as far as it can with what is there: what follows the state is tried at once, since states are large.
    fn step(&mut self, input: &mut Bytes) -> Result<Step, Violation> {
        match mem::take(&mut self.state) {
            State::Verb(prefix) => self.verb(prefix, input),
            State::Gap { verb, spaced } => self.gap(verb, spaced, input),
            State::Line(verb) => self.line(verb, input),
            State::Rest(verb) => Ok(rest(verb, input)),
            State::Body(head) => self.body(head, input),
            State::End { publish, returned } => end(publish, returned, input),
            State::Failed(violation) => Err(violation),
        }
    }

    fn verb(&mut self, mut prefix: Prefix, input: &mut Bytes) -> Result<Step, Violation> {
        while !input.is_empty() {
            let letter = input.get_u8();
            if prefix.len == 0 && self.connect_first && !letter.eq_ignore_ascii_case(&b'C') {
                return Err(Violation::Authorization);
            }
            match prefix.push(letter)? {
                None => {}
                Some(Verb::Err) => return Err(Violation::Malformed),
                Some(verb @ (Verb::Ping | Verb::Pong | Verb::Ok | Verb::Info)) => {
                    return Ok(rest(verb, input));
                }
                Some(verb @ Verb::Connect) => return self.gap(verb, true, input),
                Some(verb @ (Verb::Pub | Verb::Hpub | Verb::Sub | Verb::Unsub)) => {
                    return self.gap(verb, false, input);
                }
            }
        }
        Ok((State::Verb(prefix), None))
    }

    fn gap(&mut self, verb: Verb, mut spaced: bool, input: &mut Bytes) -> Result<Step, Violation> {
        loop {
            match input.first() {
                None => return Ok((State::Gap { verb, spaced }, None)),
                Some(b' ' | b'\t') => {
                    input.advance(1);
                    spaced = true;
                }
                Some(_) if spaced => return self.line(verb, input),
                Some(_) => return Err(Violation::UnknownOperation),
            }
        }
    }

    fn line(&mut self, verb: Verb, input: &mut Bytes) -> Result<Step, Violation> {
        let end = input.iter().position(|byte| *byte == b'\n');
        let here = input.split_to(end.unwrap_or(input.len()));
        // One more than the longest line: its carriage return.
        if self.partial.len() + here.len() > self.line_max + 1 {
            return Err(Violation::ControlLineExceeded);
        }
        if end.is_none() {
            self.partial.extend_from_slice(&here);
            self.short_enough(&self.partial)?;
            return Ok((State::Line(verb), None));
        }
        input.advance(1);
        let line = if self.partial.is_empty() {
            here
        } else {
            self.partial.extend_from_slice(&here);
            mem::take(&mut self.partial).freeze()
        };
        self.short_enough(&line)?;
        self.arguments(verb, &line, input)
    }

    fn short_enough(&self, line: &[u8]) -> Result<(), Violation> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > self.line_max { Err(Violation::ControlLineExceeded) } else { Ok(()) }
    }

    fn arguments(&mut self, verb: Verb, line: &Bytes, input: &mut Bytes) -> Result<Step, Violation> {
        let done = |operation| Ok((State::default(), Some(operation)));
        if verb == Verb::Connect {
            let connect = Connect::decode(line).ok_or(Violation::Malformed)?;
            return done(Operation::Connect(Box::new(connect)));
        }
        if verb == Verb::Hpub && !self.headers {
            return Err(Violation::HeadersNotSupported);
        }
        let kept = |word: &[u8]| line.slice_ref(word);
        let head = match (verb, split(line)?) {
            (Verb::Sub, [Some(subject), Some(sid), None, None]) => {
                return done(Operation::Subscribe { subject: kept(subject), queue: None, sid: kept(sid) });
            }
            (Verb::Sub, [Some(subject), Some(queue), Some(sid), None]) => {
                let queue = Some(kept(queue));
                return done(Operation::Subscribe { subject: kept(subject), queue, sid: kept(sid) });
            }
            (Verb::Unsub, [Some(sid), max, None, None]) => {
                let max = max.and_then(size).filter(|max| *max > 0).map(|max| max as u64);
                return done(Operation::Unsubscribe { sid: kept(sid), max });
            }
            (Verb::Pub, [Some(subject), Some(total), None, None]) => {
                self.head(kept(subject), None, None, total)
            }
            (Verb::Pub, [Some(subject), Some(reply), Some(total), None]) => {
                self.head(kept(subject), Some(kept(reply)), None, total)
            }
            (Verb::Hpub, [Some(subject), headers @ Some(_), Some(total), None]) => {
                self.head(kept(subject), None, headers, total)
            }
            (Verb::Hpub, [Some(subject), Some(reply), headers @ Some(_), Some(total)]) => {
                self.head(kept(subject), Some(kept(reply)), headers, total)
            }
            (_, _) => Err(Violation::Malformed),
        };
        self.body(head?, input)
    }

    fn head(
        &self,
        subject: Bytes,
        reply: Option<Bytes>,
        headers: Option<&[u8]>,
        total: &[u8],
    ) -> Result<Head, Violation> {
        let headers_len = headers.map_or(Some(0), size).ok_or(Violation::Malformed)?;
        let total = size(total).ok_or(Violation::Malformed)?;
        if headers_len > total {
            return Err(Violation::Malformed);
        }
        if total > self.payload_max {
            return Err(Violation::PayloadExceeded);
        }
        Ok(Head { subject, reply, headers_len, total })
    }

    fn body(&mut self, head: Head, input: &mut Bytes) -> Result<Step, Violation> {
        let missing = head.total - self.partial.len();
        if self.partial.is_empty() && input.len() >= missing {
            return end(head.with(input.split_to(missing)), false, input);
        }
        // Grown by what arrives, never by what was announced: an announcement costs its sender nothing.
        self.partial.extend_from_slice(&input.split_to(missing.min(input.len())));
        if self.partial.len() < head.total {
            return Ok((State::Body(head), None));
        }
        end(head.with(mem::take(&mut self.partial).freeze()), false, input)
    }
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r')
}

fn rest(verb: Verb, input: &mut Bytes) -> Step {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
        input.clear();
        return (State::Rest(verb), None);
    };
    input.advance(end + 1);
    let done = match verb {
        Verb::Ping => Some(Operation::Ping),
        Verb::Pong => Some(Operation::Pong),
        Verb::Connect | Verb::Pub | Verb::Hpub | Verb::Sub | Verb::Unsub => None,
        Verb::Ok | Verb::Err | Verb::Info => None,
    };
    (State::default(), done)
}

fn end(publish: Publish, mut returned: bool, input: &mut Bytes) -> Result<Step, Violation> {
    while let Some(byte) = input.first() {
        match (returned, byte) {
            (false, b'\r') => returned = true,
            (true, b'\n') => {
                input.advance(1);
                return Ok((State::default(), Some(Operation::Publish(publish))));
            }
            _ => return Err(Violation::UnknownOperation),
        }
        input.advance(1);
    }
    Ok((State::End { publish, returned }, None))
}

const ARGUMENTS_MAX: usize = 4;

fn split(line: &[u8]) -> Result<[Option<&[u8]>; ARGUMENTS_MAX], Violation> {
    let mut found = [None; ARGUMENTS_MAX];
    let words = line.split(|byte| is_space(*byte)).filter(|word| !word.is_empty());
    for (nth, word) in words.enumerate() {
        *found.get_mut(nth).ok_or(Violation::Malformed)? = Some(word);
    }
    Ok(found)
}

fn size(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > SIZE_DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0')))
}
