//! Counting messages: every message adds to the count of its subject, and its body becomes the new count.
//!
//! Counts have any number of digits: they are added as decimals.

use super::api::ApiError;
use super::directives::Directives;
use super::error::error;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// Longest count, in digits: the longest header is longer.
const DIGITS_MAX: usize = 1024;

/// The body of a message that counts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Body {
    val: String,
}

/// A whole number: its sign and its digits, the first of which is not 0.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Count {
    is_negative: bool,
    /// Most significant first; none for 0.
    digits: Vec<u8>,
}

impl Count {
    const ZERO: Self = Self { is_negative: false, digits: Vec::new() };

    fn parse(text: &str) -> Option<Self> {
        let (is_negative, digits) = match text.as_bytes() {
            [b'-', digits @ ..] => (true, digits),
            [b'+', digits @ ..] | digits => (false, digits),
        };
        if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        Some(Self::new(is_negative, digits.iter().map(|digit| digit - b'0').collect()))
    }

    fn new(is_negative: bool, digits: Vec<u8>) -> Self {
        let digits: Vec<u8> = digits.into_iter().skip_while(|digit| *digit == 0).collect();
        Self { is_negative: is_negative && !digits.is_empty(), digits }
    }

    fn plus(&self, other: &Self) -> Self {
        if self.is_negative == other.is_negative {
            return Self::new(self.is_negative, sum(&self.digits, &other.digits));
        }
        let (larger, smaller) = match cmp(&self.digits, &other.digits) {
            Ordering::Less => (other, self),
            Ordering::Equal | Ordering::Greater => (self, other),
        };
        Self::new(larger.is_negative, difference(&larger.digits, &smaller.digits))
    }

    /// As the acknowledgement says it.
    pub(super) fn text(&self) -> String {
        let digits: String = self.digits.iter().map(|digit| char::from(b'0' + digit)).collect();
        match (self.is_negative, digits.as_str()) {
            (_, "") => "0".into(),
            (true, digits) => format!("-{digits}"),
            (false, digits) => digits.into(),
        }
    }

    /// The body of the message that has counted so far.
    pub(super) fn body(&self) -> Bytes {
        serde_json::to_vec(&Body { val: self.text() }).expect("plain data serialises").into()
    }
}

fn cmp(one: &[u8], other: &[u8]) -> Ordering {
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

/// The digits of both, least significant first, as many of each as the longer one has.
fn columns<'d>(one: &'d [u8], other: &'d [u8]) -> impl Iterator<Item = (u8, u8)> + 'd {
    let digit = |digits: &[u8], nth: usize| digits.len().checked_sub(nth + 1).map_or(0, |at| digits[at]);
    (0..one.len().max(other.len())).map(move |nth| (digit(one, nth), digit(other, nth)))
}

fn sum(one: &[u8], other: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    let mut out = Vec::with_capacity(one.len().max(other.len()) + 1);
    for (one, other) in columns(one, other) {
        let column = one + other + carry;
        out.push(column % 10);
        carry = column / 10;
    }
    out.push(carry);
    out.reverse();
    out
}

fn difference(larger: &[u8], smaller: &[u8]) -> Vec<u8> {
    let mut borrow = 0;
    let mut out = Vec::with_capacity(larger.len());
    for (one, other) in columns(larger, smaller) {
        let column = one + 10 - other - borrow;
        out.push(column % 10);
        borrow = u8::from(column < 10);
    }
    out.reverse();
    out
}

/// What a message adds to its count, if its stream counts.
pub(super) fn check(
    is_counting: bool,
    asked: &Directives<'_>,
    payload: &Bytes,
) -> Result<Option<Count>, ApiError> {
    let Some(incr) = asked.incr else { return Ok(None) };
    if !is_counting {
        return Err(error(400, 10_168, "message counters is disabled"));
    }
    let others = [
        asked.rollup,
        asked.expected_stream,
        asked.expected_last,
        asked.expected_last_on_subject,
        asked.expected_last_id,
    ];
    let incr = Count::parse(incr).filter(|_| others.iter().all(Option::is_none));
    let Some(incr) = incr else {
        return Err(error(400, 10_171, "message counter increment is invalid"));
    };
    if !payload.is_empty() {
        return Err(error(400, 10_170, "message counter has payload"));
    }
    Ok(Some(incr))
}

/// Where messages count, every one does.
pub(super) fn check_missing(is_counting: bool, asked: &Directives<'_>) -> Result<(), ApiError> {
    if is_counting && asked.incr.is_none() {
        return Err(error(400, 10_169, "message counter increment is missing"));
    }
    Ok(())
}

/// The count after a message that adds to what the last one on its subject says.
pub(super) fn count(last: Option<&Bytes>, incr: &Count) -> Result<Count, ApiError> {
    let Some(last) = last else { return Ok(incr.plus(&Count::ZERO)) };
    let last: Option<Body> = serde_json::from_slice(last).ok();
    let last = last.and_then(|last| Count::parse(&last.val));
    let sum = last.map(|last| last.plus(incr)).filter(|sum| sum.digits.len() <= DIGITS_MAX);
    sum.ok_or_else(|| error(400, 10_172, "message counter is broken"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn counts_are_sums(one in -9_999_999_i64..9_999_999, other in -9_999_999_i64..9_999_999) {
            let count = |number: i64| Count::parse(&number.to_string()).expect("a number");
            prop_assert_eq!(count(one).plus(&count(other)).text(), (one + other).to_string());
        }
    }

    #[test]
    fn counts_have_any_number_of_digits() {
        let nines = Count::parse(&"9".repeat(40)).expect("a number");
        let one = Count::parse("+001").expect("a number");
        assert_eq!(nines.plus(&one).text(), format!("1{}", "0".repeat(40)));
        for bad in ["", "+", "x", "1.5", "1_0", "0x1", " 5 ", "--1"] {
            assert_eq!(Count::parse(bad), None, "{bad:?}");
        }
    }
}
