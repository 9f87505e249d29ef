//! What a configuration file says, before anybody knows what it means: values, and where they stand.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A place in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    /// The file, as it was named.
    pub(crate) file: Arc<str>,
    /// Counted from 1.
    pub(crate) line: usize,
    /// Letters before it in its line.
    pub(crate) column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// What is wrong, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    pub(crate) at: Place,
    pub(crate) text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.text)
    }
}

/// A value of the language.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value {
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

impl Value {
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "a boolean",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "an array",
            Self::Map(_) => "a map",
        }
    }
}

/// A value, where it stands.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Node {
    pub(crate) at: Place,
    pub(crate) value: Value,
}

/// One `key: value`.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Entry {
    pub(crate) at: Place,
    pub(crate) key: String,
    pub(crate) node: Node,
    /// Whether a variable refers to it: then it need not be a field.
    pub(crate) used: bool,
}

type Read<T> = Result<T, Problem>;

impl Node {
    pub(crate) fn problem(&self, text: impl Into<String>) -> Problem {
        Problem { at: self.at.clone(), text: text.into() }
    }

    fn expected(&self, what: &str) -> Problem {
        self.problem(format!("expected {what}, got {}", self.value.kind()))
    }

    pub(crate) fn bool(&self) -> Read<bool> {
        if let Value::Bool(value) = &self.value { Ok(*value) } else { Err(self.expected("a boolean")) }
    }

    pub(crate) fn integer(&self) -> Read<i64> {
        if let Value::Integer(value) = &self.value { Ok(*value) } else { Err(self.expected("an integer")) }
    }

    /// A number within bounds; the real server's -1 for none is the caller's to look for.
    pub(crate) fn number<T: TryFrom<i64>>(&self) -> Read<T> {
        let value = self.integer()?;
        T::try_from(value).map_err(|_| self.problem(format!("{value} is out of range")))
    }

    /// A number, or a string that is one with a unit.
    pub(crate) fn bytes(&self) -> Read<i64> {
        match &self.value {
            Value::Integer(value) => Ok(*value),
            Value::Text(text) => sized(text).ok_or_else(|| self.problem(format!("{text:?} is not a size"))),
            Value::Bool(_) | Value::Float(_) | Value::List(_) | Value::Map(_) => Err(self.expected("a size")),
        }
    }

    /// A string; numbers are read as their digits: a password may look like one.
    pub(crate) fn text(&self) -> Read<String> {
        match &self.value {
            Value::Text(text) => Ok(text.clone()),
            Value::Integer(value) => Ok(value.to_string()),
            Value::Bool(_) | Value::Float(_) | Value::List(_) | Value::Map(_) => {
                Err(self.expected("a string"))
            }
        }
    }

    pub(crate) fn list(&self) -> Read<&[Self]> {
        if let Value::List(nodes) = &self.value { Ok(nodes) } else { Err(self.expected("an array")) }
    }

    pub(crate) fn map(&self) -> Read<&[Entry]> {
        if let Value::Map(entries) = &self.value { Ok(entries) } else { Err(self.expected("a map")) }
    }

    /// A string or an array of strings.
    pub(crate) fn texts(&self) -> Read<Vec<String>> {
        if let Value::List(nodes) = &self.value {
            nodes.iter().map(Self::text).collect()
        } else {
            Ok(vec![self.text()?])
        }
    }

    /// A string such as `1m30s`, or a number of seconds.
    pub(crate) fn duration(&self) -> Read<Duration> {
        let seconds = match &self.value {
            Value::Text(text) => {
                return duration(text).ok_or_else(|| self.problem(format!("{text:?} is not a duration")));
            }
            Value::Integer(value) => u64::try_from(*value).ok().map(Duration::from_secs),
            Value::Float(value) => Duration::try_from_secs_f64(*value).ok(),
            Value::Bool(_) | Value::List(_) | Value::Map(_) => return Err(self.expected("a duration")),
        };
        seconds.ok_or_else(|| self.problem("a duration is not negative"))
    }
}

/// `64`, `1K`, `64MiB`.
pub(crate) fn sized(text: &str) -> Option<i64> {
    let digits_end = text.find(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let number: i64 = digits.trim_end().parse().ok()?;
    number.checked_mul(unit_of(unit)?)
}

fn unit_of(unit: &str) -> Option<i64> {
    let unit = unit.to_ascii_lowercase();
    let power = match unit.chars().next() {
        None => return Some(1),
        Some(letter) => u32::try_from("kmgtpe".find(letter)?).ok()? + 1,
    };
    match &unit[1..] {
        "" => 1000_i64.checked_pow(power),
        "b" | "i" | "ib" => 1024_i64.checked_pow(power),
        _ => None,
    }
}

/// `300ms`, `1m30s`, `1.5h`, as Go writes durations.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number_end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, behind) = rest.split_at(number_end);
        let unit_end =
            behind.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(unit_end);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = behind;
    }
    Some(total)
}
