//! The language of the real server's configuration files, read into values.
//!
//! ```text
//!  # a comment                          // another
//!  port: 4222                           key, then ':', '=' or white space, then a value
//!  tls { cert_file = "a.pem" }          a map; in it, entries end with a new line, ',' or ';'
//!  users = [ {user: a}, {user: b} ]     an array
//!  max_payload: 1MB                     k, m, g, t, p, e: powers of 1000; with b, i or ib behind: of 1024
//!  limit: $LIMIT                        an entry above, or of the environment
//!  include "users.conf"                 as if its entries stood here
//! ```
//!
//! Strings are quoted once (as they are) or twice (with `\n`, `\t`, `\r`, `\"`, `\\`, `\x41`), stand between parentheses on
//! lines of their own, or are bare up to the next white space or separator.
//!
//! Limits: depth of maps and arrays, and of files that include each other.
//!
//! Difference to the real server: the first thing that cannot be read is the only one that is reported.

use super::value::{Entry, Node, Place, Problem, Value, sized};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Deepest map or array.
const DEPTH_MAX: usize = 64;
/// Longest chain of files that include each other.
const INCLUDES_MAX: usize = 10;

/// Where files and variables come from.
pub(crate) trait World {
    /// The text of a file.
    fn file(&self, path: &Path) -> Result<String, String>;
    /// A variable of the environment.
    fn variable(&self, name: &str) -> Option<String>;
}

type Read<T> = Result<T, Problem>;

/// Reads a file and everything it includes.
pub(crate) fn parse(path: &Path, world: &dyn World) -> Read<Vec<Entry>> {
    let nowhere = Place { file: path.display().to_string().into(), line: 0, column: 0 };
    let text = world.file(path).map_err(|text| Problem { at: nowhere, text })?;
    let mut open = vec![Vec::new()];
    Parser::new(path, &text, world, 0, &mut open).entries(None)?;
    Ok(open.pop().unwrap_or_default())
}

struct Parser<'p> {
    path: PathBuf,
    file: Arc<str>,
    text: &'p str,
    at: usize,
    line: usize,
    line_start: usize,
    world: &'p dyn World,
    includes: usize,
    /// The maps that are being read, outermost first: variables are looked for in them.
    open: &'p mut Vec<Vec<Entry>>,
    depth: usize,
}

impl<'p> Parser<'p> {
    fn new(
        path: &Path,
        text: &'p str,
        world: &'p dyn World,
        includes: usize,
        open: &'p mut Vec<Vec<Entry>>,
    ) -> Self {
        Self {
            path: path.to_owned(),
            file: path.display().to_string().into(),
            text,
            at: 0,
            line: 1,
            line_start: 0,
            world,
            includes,
            open,
            depth: 0,
        }
    }

    fn place(&self) -> Place {
        let column = self.text[self.line_start..self.at].chars().count();
        Place { file: self.file.clone(), line: self.line, column }
    }

    fn fail<T>(&self, text: impl Into<String>) -> Read<T> {
        Err(Problem { at: self.place(), text: text.into() })
    }

    fn rest(&self) -> &'p str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.at += letter.len_utf8();
        if letter == '\n' {
            self.line += 1;
            self.line_start = self.at;
        }
        Some(letter)
    }

    fn skip_while(&mut self, skipped: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&skipped) {
            self.next();
        }
    }

    /// White space and comments; also separators and new lines, if they mean nothing here.
    fn skip(&mut self, meaningless: impl Fn(char) -> bool) {
        loop {
            self.skip_while(|letter| is_blank(letter) || meaningless(letter));
            if self.peek() != Some('#') && !self.rest().starts_with("//") {
                return;
            }
            self.skip_while(|letter| letter != '\n');
        }
    }

    /// Entries of the innermost open map, up to its end.
    fn entries(&mut self, end: Option<char>) -> Read<()> {
        loop {
            self.skip(|letter| matches!(letter, '\n' | ',' | ';'));
            let at = self.place();
            match self.peek() {
                None if end.is_none() => return Ok(()),
                None => return self.fail("a map is not closed"),
                Some(letter) if Some(letter) == end => {
                    self.next();
                    return Ok(());
                }
                Some(_) => {}
            }
            let key = self.key()?;
            if key == "include" && !self.rest().trim_start_matches(is_blank).starts_with([':', '=']) {
                self.include()?;
                continue;
            }
            self.skip(|_| false);
            if let Some(':' | '=') = self.peek() {
                self.next();
            }
            let node = self.value()?;
            self.ends_here()?;
            self.put(Entry { at, key, node, used: false });
        }
    }

    fn put(&mut self, entry: Entry) {
        if let Some(own) = self.open.last_mut() {
            // The last of several counts.
            own.retain(|before| before.key != entry.key);
            own.push(entry);
        }
    }

    fn key(&mut self) -> Read<String> {
        match self.peek() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote),
            Some(letter) if !is_separator(letter) => {
                let start = self.at;
                self.skip_while(|letter| !is_blank(letter) && !matches!(letter, ':' | '=' | '\n'));
                Ok(self.text[start..self.at].to_owned())
            }
            Some(letter) => self.fail(format!("unexpected {letter:?} where a key should be")),
            None => self.fail("unexpected end where a key should be"),
        }
    }

    /// Nothing else may follow a value in its line.
    fn ends_here(&mut self) -> Read<()> {
        self.skip(|_| false);
        match self.peek() {
            None | Some('\n' | ',' | ';' | '}' | ']') => Ok(()),
            Some(letter) => self.fail(format!("expected the end of a value, got {letter:?}")),
        }
    }

    fn include(&mut self) -> Read<()> {
        self.skip(|_| false);
        let named = match self.peek() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote)?,
            _ => self.bare().to_owned(),
        };
        if self.includes >= INCLUDES_MAX {
            return self.fail("too many files that include each other");
        }
        let path = self.path.parent().unwrap_or(Path::new("")).join(named);
        let text = match self.world.file(&path) {
            Ok(text) => text,
            Err(why) => return self.fail(format!("error parsing include file {:?}, {why}", path.display())),
        };
        Parser::new(&path, &text, self.world, self.includes + 1, self.open).entries(None)?;
        self.ends_here()
    }

    fn value(&mut self) -> Read<Node> {
        // A value may begin on a line below its key.
        self.skip(|letter| letter == '\n');
        let at = self.place();
        let value = match self.peek() {
            Some('{') => self.map()?,
            Some('[') => self.list()?,
            Some('(') => Value::Text(self.block()?),
            Some(quote @ ('"' | '\'')) => Value::Text(self.quoted(quote)?),
            Some('$') if !self.rest().starts_with("$2") => return self.variable(),
            Some(letter) if !is_separator(letter) => scalar(self.bare()),
            Some(letter) => return self.fail(format!("unexpected {letter:?} where a value should be")),
            None => return self.fail("unexpected end where a value should be"),
        };
        Ok(Node { at, value })
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        if self.depth >= DEPTH_MAX {
            return self.fail("maps and arrays are too deep");
        }
        self.next();
        self.depth += 1;
        let done = read(self);
        self.depth -= 1;
        done
    }

    fn map(&mut self) -> Read<Value> {
        self.deeper(|parser| {
            parser.open.push(Vec::new());
            parser.entries(Some('}'))?;
            Ok(Value::Map(parser.open.pop().unwrap_or_default()))
        })
    }

    fn list(&mut self) -> Read<Value> {
        self.deeper(|parser| {
            let mut nodes = Vec::new();
            loop {
                parser.skip(|letter| matches!(letter, '\n' | ','));
                match parser.peek() {
                    None => return parser.fail("an array is not closed"),
                    Some(']') => {
                        parser.next();
                        return Ok(Value::List(nodes));
                    }
                    Some(_) => nodes.push(parser.value()?),
                }
            }
        })
    }

    fn quoted(&mut self, quote: char) -> Read<String> {
        let begin = self.place();
        self.next();
        let mut out = String::new();
        loop {
            match self.next() {
                Some(letter) if letter == quote => return Ok(out),
                Some('\\') if quote == '"' => out.push(self.escaped()?),
                Some(letter) => out.push(letter),
                None => return Err(Problem { at: begin, text: "a string is not closed".to_owned() }),
            }
        }
    }

    fn escaped(&mut self) -> Read<char> {
        match self.next() {
            Some('n') => Ok('\n'),
            Some('t') => Ok('\t'),
            Some('r') => Ok('\r'),
            Some(letter @ ('"' | '\\')) => Ok(letter),
            Some('x') => {
                let digits = self.rest().get(..2);
                match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                    Some(code) => {
                        self.at += 2;
                        Ok(char::from(code))
                    }
                    None => self.fail("expected two hexadecimal digits after '\\x'"),
                }
            }
            other => self.fail(format!("invalid escape character {other:?}")),
        }
    }

    /// Lines between parentheses; the closing one stands first in its line.
    fn block(&mut self) -> Read<String> {
        let begin = self.place();
        self.next();
        let start = self.at;
        loop {
            let line_begins = self.text[self.line_start..self.at].chars().all(is_blank);
            match self.peek() {
                Some(')') if line_begins => {
                    let inside = &self.text[start..self.line_start.max(start)];
                    self.next();
                    return Ok(inside.to_owned());
                }
                Some(_) => self.next(),
                None => return Err(Problem { at: begin, text: "a block is not closed".to_owned() }),
            };
        }
    }

    fn bare(&mut self) -> &'p str {
        let start = self.at;
        self.skip_while(|letter| !is_blank(letter) && !matches!(letter, '\n' | ',' | ';' | ']' | '}'));
        &self.text[start..self.at]
    }

    fn variable(&mut self) -> Read<Node> {
        let at = self.place();
        self.next();
        let name = self.bare();
        let known = self.open.iter_mut().rev().find_map(|own| own.iter_mut().find(|entry| entry.key == name));
        if let Some(entry) = known {
            entry.used = true;
            return Ok(Node { at, value: entry.node.value.clone() });
        }
        let Some(text) = self.world.variable(name) else {
            let text = format!("variable reference for '{name}' can not be found");
            return Err(Problem { at, text });
        };
        let file = PathBuf::from(format!("${name}"));
        let mut open = Vec::new();
        let mut inner = Parser::new(&file, &text, &NoWorld, INCLUDES_MAX, &mut open);
        let node = inner.value()?;
        inner.ends_here()?;
        Ok(Node { at, value: node.value })
    }
}

/// What a variable of the environment may refer to.
struct NoWorld;

impl World for NoWorld {
    fn file(&self, _: &Path) -> Result<String, String> {
        Err("a variable includes no files".to_owned())
    }

    fn variable(&self, _: &str) -> Option<String> {
        None
    }
}

const fn is_blank(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\r')
}

const fn is_separator(letter: char) -> bool {
    matches!(letter, '{' | '}' | '[' | ']' | ',' | ';' | ':' | '=' | '\n')
}

/// What a bare word means.
fn scalar(word: &str) -> Value {
    match word.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => return Value::Bool(true),
        "false" | "no" | "off" => return Value::Bool(false),
        _ => {}
    }
    let looks_like_a_number =
        word.strip_prefix('-').unwrap_or(word).starts_with(|letter: char| letter.is_ascii_digit());
    if looks_like_a_number && let Some(number) = sized(word) {
        return Value::Integer(number);
    }
    match word.parse() {
        Ok(number) if looks_like_a_number && word.contains('.') => Value::Float(number),
        _ => Value::Text(word.to_owned()),
    }
}
