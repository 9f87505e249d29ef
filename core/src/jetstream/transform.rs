//! Subject transforms: what matches a source is given another subject.
//!
//! ```text
//!  orders.*.*  ─►  by.{{partition(3,1)}}.$2.{{splitFromLeft(1,2)}}
//! ```
//!
//! A destination token is literal, `$n`, or a function in braces. What a function cannot do with a token it leaves: a split
//! beyond its end is no split. `random`, which would give every replay another subject, is refused.

use crate::wire::subject::Filter;
use std::borrow::Cow;

/// A parsed transform.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Transform {
    /// What it applies to; `None` for everything.
    src: Option<Filter>,
    /// How many tokens of the subject come before what a final `>` stands for.
    fixed: usize,
    /// The tokens of the destination; `None` leaves subjects as they are.
    dest: Option<Vec<Part>>,
}

/// A token of a destination.
#[derive(Clone, PartialEq, Debug)]
enum Part {
    Literal(String),
    /// The rest of the subject.
    Rest,
    Function {
        function: Function,
        /// Which tokens of the subject it is applied to.
        tokens: Vec<usize>,
    },
}

impl Part {
    fn range(&self) -> &str {
        match self {
            Self::Literal(token) => token,
            Self::Rest => ">",
            Self::Function { function, .. } => match function {
                Function::Wildcard | Function::Partition(_) | Function::Left(_) | Function::Right(_) => "*",
                Function::SplitFromLeft(_)
                | Function::SplitFromRight(_)
                | Function::SliceFromLeft(_)
                | Function::SliceFromRight(_)
                | Function::Split(_) => ">",
            },
        }
    }
}

#[derive(Clone, PartialEq, Debug)]
enum Function {
    Wildcard,
    /// Which of so many partitions the tokens belong to; all of the subject, if none are named.
    Partition(u32),
    SplitFromLeft(usize),
    SplitFromRight(usize),
    SliceFromLeft(usize),
    SliceFromRight(usize),
    Split(String),
    Left(usize),
    Right(usize),
}

/// The functions, as their names may be written: the case of letters that are capital here does not matter.
const NAMES: [&str; 10] = [
    "Wildcard",
    "Partition",
    "SplitFromLeft",
    "SplitFromRight",
    "SliceFromLeft",
    "SliceFromRight",
    "Split",
    "Left",
    "Right",
    "Random",
];

const INVALID_SUBJECT: &str = "invalid subject";

fn mapping(why: &str, token: &str) -> String {
    format!("invalid mapping destination: {why} in {token}")
}

impl Transform {
    /// Parses a transform; an empty source is everything, an empty destination changes nothing.
    ///
    /// # Errors
    /// What is wrong with it, in the server's words.
    pub(super) fn parse(src: &str, dest: &str) -> Result<Self, String> {
        let src = if src.is_empty() { ">" } else { src };
        let filter = Filter::parse(src).map_err(|_| INVALID_SUBJECT)?;
        let tokens: Vec<&str> = src.split('.').collect();
        let fixed = tokens.len() - 1;
        let whole = (src != ">").then_some(filter);
        if dest.is_empty() {
            return Ok(Self { src: whole, fixed, dest: None });
        }
        let is_open = tokens.last() == Some(&">");
        let wildcards: Vec<usize> = (0..tokens.len()).filter(|at| tokens[*at] == "*").collect();
        let mut parts = Vec::new();
        let count = dest.split('.').count();
        for (at, token) in dest.split('.').enumerate() {
            let part = match token {
                "" | "*" => return Err(INVALID_SUBJECT.into()),
                ">" if at + 1 == count => Part::Rest,
                ">" => return Err(INVALID_SUBJECT.into()),
                token => part(token, &wildcards)?,
            };
            parts.push(part);
        }
        if is_open != (parts.last() == Some(&Part::Rest)) {
            return Err(INVALID_SUBJECT.into());
        }
        Ok(Self { src: whole, fixed, dest: Some(parts) })
    }

    /// What all the subjects it gives match; `None` if it changes none.
    pub(super) fn range(&self) -> Option<Filter> {
        let mut tokens = Vec::new();
        for part in self.dest.as_ref()? {
            tokens.push(part.range());
            if part.range() == ">" {
                break;
            }
        }
        Filter::parse(&tokens.join(".")).ok()
    }

    /// The subject it gives to one; `None` when it does not apply.
    pub(super) fn apply<'s>(&self, subject: &'s str) -> Option<Cow<'s, str>> {
        if self.src.as_ref().is_some_and(|src| !src.matches(subject)) {
            return None;
        }
        let Some(parts) = &self.dest else { return Some(Cow::Borrowed(subject)) };
        let tokens: Vec<&str> = subject.split('.').collect();
        let mut out = Vec::with_capacity(parts.len());
        for part in parts {
            match part {
                Part::Literal(token) => out.push(token.clone()),
                Part::Rest => out.extend(tokens.iter().skip(self.fixed).map(|token| (*token).to_owned())),
                Part::Function { function, tokens: of } => {
                    let of: Vec<&str> = of.iter().filter_map(|at| tokens.get(*at).copied()).collect();
                    out.push(function.apply(subject, &of));
                }
            }
        }
        Some(Cow::Owned(out.join(".")))
    }
}

fn part(token: &str, wildcards: &[usize]) -> Result<Part, String> {
    let Some((function, indexes)) = function(token)? else { return Ok(Part::Literal(token.to_owned())) };
    let mut tokens = Vec::new();
    for index in indexes {
        if index > i64::try_from(wildcards.len()).unwrap_or(i64::MAX) {
            let why = mapping("wildcard index out of range", token);
            return Err(if wildcards.is_empty() { why } else { format!("{why}: [{index}]") });
        }
        // What is no position at all means the first token, whatever that is.
        let at = usize::try_from(index).ok().and_then(|index| index.checked_sub(1));
        tokens.push(at.map_or(0, |at| wildcards[at]));
    }
    Ok(Part::Function { function, tokens })
}

/// The function a token calls and the wildcards it is applied to; `None` for a literal token.
fn function(token: &str) -> Result<Option<(Function, Vec<i64>)>, String> {
    if let Some(index) = token.strip_prefix('$').filter(|index| !index.is_empty()) {
        return Ok(index.parse().ok().map(|index| (Function::Wildcard, vec![index])));
    }
    let braced = token.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
    let Some(call) = braced.filter(|call| !call.is_empty()) else { return Ok(None) };
    let unknown = || mapping("unknown function", token);
    let (name, arguments) = call.trim().split_once('(').ok_or_else(unknown)?;
    let arguments = arguments.strip_suffix(')').ok_or_else(unknown)?;
    let name = NAMES.iter().find(|known| is_named(name.trim_end(), known)).ok_or_else(unknown)?;
    let arguments: Vec<&str> = arguments.split(',').map(|argument| argument.trim_start()).collect();
    let few = || mapping("not enough arguments passed to the function", token);
    let many = || mapping("too many arguments passed to the function", token);
    let invalid = || mapping("function argument is invalid or in the wrong format", token);
    let number = |argument: &str| argument.trim_matches(' ').parse::<i64>().map_err(|_| invalid());
    let size = |argument: &str| number(argument).map(|size| usize::try_from(size).unwrap_or(0));
    let two = || match arguments.as_slice() {
        [] | [_] => Err(few()),
        [index, other] => Ok((*index, *other)),
        [..] => Err(many()),
    };
    let with_size = |make: fn(usize) -> Function| -> Result<(Function, Vec<i64>), String> {
        let (index, argument) = two()?;
        Ok((make(size(argument)?), vec![number(index)?]))
    };
    let call = match *name {
        "Wildcard" => match arguments.as_slice() {
            [""] => return Err(few()),
            [index] => (Function::Wildcard, vec![number(index)?]),
            [..] => return Err(many()),
        },
        "Partition" => {
            let [count, indexes @ ..] = arguments.as_slice() else { return Err(few()) };
            if count.is_empty() {
                return Err(few());
            }
            let count = u32::try_from(number(count)?).unwrap_or(0);
            let indexes = indexes.iter().map(|index| number(index)).collect::<Result<_, _>>()?;
            (Function::Partition(count), indexes)
        }
        "SplitFromLeft" => with_size(Function::SplitFromLeft)?,
        "SplitFromRight" => with_size(Function::SplitFromRight)?,
        "SliceFromLeft" => with_size(Function::SliceFromLeft)?,
        "SliceFromRight" => with_size(Function::SliceFromRight)?,
        "Left" => with_size(Function::Left)?,
        "Right" => with_size(Function::Right)?,
        "Split" => {
            let (index, by) = two()?;
            if by.contains([' ', '.']) {
                return Err(invalid());
            }
            (Function::Split(by.to_owned()), vec![number(index)?])
        }
        _ => return Err(mapping("random is not supported by this broker", token)),
    };
    Ok(Some(call))
}

fn is_named(name: &str, known: &str) -> bool {
    let same = |(own, known): (u8, u8)| own == known || (known.is_ascii_uppercase() && own == known + 32);
    name.len() == known.len() && name.bytes().zip(known.bytes()).all(same)
}

impl Function {
    fn apply(&self, subject: &str, of: &[&str]) -> String {
        let token = of.first().copied().unwrap_or_default();
        let pieces = |at: usize| {
            token.split_at_checked(at).filter(|(left, right)| !left.is_empty() && !right.is_empty())
        };
        let both = |split: Option<(&str, &str)>| {
            split.map_or_else(|| token.to_owned(), |(left, right)| format!("{left}.{right}"))
        };
        let from_right = |length: usize| token.len().checked_sub(length);
        match self {
            Self::Wildcard => token.to_owned(),
            Self::Partition(count) => {
                let key = if of.is_empty() { subject.to_owned() } else { of.concat() };
                fnv(key.as_bytes()).checked_rem(*count).unwrap_or(0).to_string()
            }
            Self::SplitFromLeft(at) => both(pieces(*at)),
            Self::SplitFromRight(at) => both(from_right(*at).and_then(pieces)),
            Self::SliceFromLeft(size) => slice(token, *size, 0),
            Self::SliceFromRight(size) => slice(token, *size, token.len().checked_rem(*size).unwrap_or(0)),
            Self::Left(length) => pieces(*length).map_or(token, |(left, _)| left).to_owned(),
            Self::Right(length) => {
                from_right(*length).and_then(pieces).map_or(token, |(_, right)| right).to_owned()
            }
            Self::Split(by) if by.is_empty() => token.to_owned(),
            Self::Split(by) => {
                token.split(by.as_str()).filter(|piece| !piece.is_empty()).collect::<Vec<_>>().join(".")
            }
        }
    }
}

/// Pieces of a size, after a first one of another.
fn slice(token: &str, size: usize, first: usize) -> String {
    if size == 0 || size >= token.len() || !token.is_ascii() {
        return token.to_owned();
    }
    let (first, rest) = token.split_at(first);
    let mut pieces = if first.is_empty() { Vec::new() } else { vec![first] };
    pieces.extend((0..rest.len()).step_by(size).map(|at| &rest[at..rest.len().min(at + size)]));
    pieces.join(".")
}

/// FNV-1a, 32 bits.
fn fnv(key: &[u8]) -> u32 {
    key.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(src: &str, dest: &str, subject: &str) -> Option<String> {
        Transform::parse(src, dest).expect("a transform").apply(subject).map(Cow::into_owned)
    }

    #[test]
    fn subjects_are_rewritten_as_the_server_does() {
        for (src, dest, subject, expected) in [
            ("b.*", "c.{{wildcard(1)}}", "b.x", "c.x"),
            ("b.*.*", "c.$2.{{ Wildcard( 1 ) }}", "b.x.y", "c.y.x"),
            ("b.>", "c.d.>", "b.x.y", "c.d.x.y"),
            ("", "c.>", "b.x", "c.b.x"),
            ("b.*", "", "b.x", "b.x"),
            ("b.*", "c", "b.x", "c"),
            ("b.*", "c.$0", "b.x", "c.b"),
            ("b.*", "c.x{{wildcard(1)}}", "b.x", "c.x{{wildcard(1)}}"),
            ("*", "{{partition(10,1)}}", "foo", "3"),
            ("*", "{{splitfromleft(1,2)}}", "12345", "12.345"),
            ("*", "{{SplitFromRight(1,2)}}", "12345", "123.45"),
            ("*", "{{SplitFromRight(1,9)}}", "12345", "12345"),
            ("*", "{{SliceFromLeft(1,2)}}", "12345", "12.34.5"),
            ("*", "{{SliceFromRight(1,2)}}", "12345", "1.23.45"),
            ("*", "{{SliceFromRight(1,2)}}", "1234", "12.34"),
            ("*", "{{split(1,-)}}", "-a--b-", "a.b"),
            ("*", "{{left(1,2)}}.{{right(1,2)}}", "12345", "12.45"),
        ] {
            assert_eq!(given(src, dest, subject).as_deref(), Some(expected), "{src} {dest} {subject}");
        }
        assert_eq!(given("b.*", "c.$1", "a.x"), None);
    }

    #[test]
    fn what_cannot_be_parsed_is_refused_with_the_servers_words() {
        let out_of_range = "invalid mapping destination: wildcard index out of range in";
        for (src, dest, why) in [
            ("b.*", "c.>", "invalid subject".to_owned()),
            ("b.*", "c.*", "invalid subject".into()),
            ("b.*", "c.$2", format!("{out_of_range} $2: [2]")),
            ("b.x", "c.$1", format!("{out_of_range} $1")),
            ("b.*", "{{foo(1)}}", "invalid mapping destination: unknown function in {{foo(1)}}".into()),
            (
                "b.*",
                "{{split(1)}}",
                "invalid mapping destination: not enough arguments passed to the function in {{split(1)}}".into(),
            ),
            (
                "b.*",
                "{{wildcard(1,2)}}",
                "invalid mapping destination: too many arguments passed to the function in {{wildcard(1,2)}}".into(),
            ),
            (
                "b.*",
                "{{wildcard(x)}}",
                "invalid mapping destination: function argument is invalid or in the wrong format in {{wildcard(x)}}"
                    .into(),
            ),
        ] {
            assert_eq!(Transform::parse(src, dest), Err(why), "{src} {dest}");
        }
        assert!(Transform::parse("b.*", "{{random(5)}}").is_err());
    }
}
