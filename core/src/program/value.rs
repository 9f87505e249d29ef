//! JSON values as CEL values, borrowed and in a fixed order.
//!
//! Converting a whole input into the `cel` crate's own maps would cost more than evaluating, and those maps iterate in
//! random order. Here an object stays where it is: a field is looked up when it is asked for, and its keys come out
//! sorted, because `serde_json`'s map is a B-tree.

use super::ProgramError;
use cel::ExecutionError;
use cel::common::traits::{Container, Indexer, Iterable, Iterator as CelIterator, Sizer};
use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelNull, CelString, CelUInt, Kind, MAP_TYPE, Type,
};
use cel::common::value::{CowVal, Val};
use serde_json::{Map, Number, Value};
use std::sync::OnceLock;

/// Deepest nesting of a program's output. Inputs are bounded by the JSON parser.
const DEPTH_MAX: usize = 64;

/// A JSON value as a CEL value that borrows it.
pub(super) fn to_cel<'v>(value: &'v Value) -> Box<dyn Val + 'v> {
    match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(value) => Box::new(CelBool::from(*value)),
        Value::Number(number) => {
            if let Some(int) = number.as_i64() {
                Box::new(CelInt::from(int))
            } else if let Some(uint) = number.as_u64() {
                Box::new(CelUInt::from(uint))
            } else {
                Box::new(CelDouble::from(number.as_f64().unwrap_or_default()))
            }
        }
        Value::String(text) => Box::new(CelString::from(text.as_str())),
        Value::Array(items) => Box::new(CelList::from(items.iter().map(to_cel).collect::<Vec<_>>())),
        Value::Object(fields) => Box::new(JsonMap::new(fields)),
    }
}

/// A JSON object as a CEL map.
#[derive(Debug)]
struct JsonMap<'v> {
    fields: &'v Map<String, Value>,
    // Iterating lends the keys out, so they must live in the value; most maps are never iterated.
    keys: OnceLock<Vec<CelString<'v>>>,
}

impl<'v> JsonMap<'v> {
    fn new(fields: &'v Map<String, Value>) -> Self {
        Self { fields, keys: OnceLock::new() }
    }
}

impl Val for JsonMap<'_> {
    fn get_type(&self) -> &Type {
        <Self as Val>::cel_type()
    }
    fn cel_type() -> &'static Type {
        static TYPE: Type = MAP_TYPE;
        &TYPE
    }
    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }
    fn as_indexer<'b, 'w>(&'b self) -> Option<&'b (dyn Indexer + 'w)>
    where
        Self: 'w,
    {
        Some(self)
    }
    fn as_iterable<'b, 'w>(&'b self) -> Option<&'b (dyn Iterable + 'w)>
    where
        Self: 'w,
    {
        Some(self)
    }
    fn as_sizer(&self) -> Option<&dyn Sizer> {
        Some(self)
    }
    fn equals(&self, other: &dyn Val) -> bool {
        // Map literals may not be compared (see `expr`), so the other side is a borrowed object too.
        let (Some(keys), Some(values), Some(size)) =
            (other.as_container(), other.as_indexer(), other.as_sizer())
        else {
            return false;
        };
        usize::try_from(*size.size().inner()) == Ok(self.fields.len())
            && self.fields.iter().all(|(key, value)| {
                let key = CelString::from(key.as_str());
                keys.contains(&key) == Ok(true)
                    && values.get(&key).is_ok_and(|theirs| to_cel(value).equals(theirs.as_ref()))
            })
    }
    fn clone_as_boxed<'w>(&self) -> Box<dyn Val + 'w>
    where
        Self: 'w,
    {
        Box::new(JsonMap::new(self.fields))
    }
}

fn text_key(key: &dyn Val) -> Option<&str> {
    key.downcast_ref::<CelString>().map(CelString::inner)
}

impl Container for JsonMap<'_> {
    fn contains(&self, key: &dyn Val) -> Result<bool, ExecutionError> {
        Ok(text_key(key).is_some_and(|key| self.fields.contains_key(key)))
    }
}

impl Indexer for JsonMap<'_> {
    fn get<'b, 'w>(&'b self, key: &dyn Val) -> Result<CowVal<'b, 'w>, ExecutionError>
    where
        Self: 'w,
    {
        let key = text_key(key).ok_or_else(|| ExecutionError::UnexpectedType {
            got: key.get_type().name().to_owned(),
            want: "string".to_owned(),
        })?;
        match self.fields.get(key) {
            Some(value) => Ok(CowVal::Owned(to_cel(value))),
            None => Err(ExecutionError::no_such_key(key)),
        }
    }
    fn steal<'w>(self: Box<Self>, key: &dyn Val) -> Result<Box<dyn Val + 'w>, ExecutionError>
    where
        Self: 'w,
    {
        self.get(key).map(CowVal::into_owned)
    }
}

impl Sizer for JsonMap<'_> {
    fn size(&self) -> CelInt {
        CelInt::from(i64::try_from(self.fields.len()).unwrap_or(i64::MAX))
    }
}

impl Iterable for JsonMap<'_> {
    fn iter<'b, 'w>(&'b self) -> Box<dyn CelIterator<'b, 'w> + 'b>
    where
        Self: 'w,
    {
        let keys =
            self.keys.get_or_init(|| self.fields.keys().map(|key| CelString::from(key.as_str())).collect());
        Box::new(Keys { keys: keys.iter() })
    }
}

struct Keys<'b, 'v> {
    keys: std::slice::Iter<'b, CelString<'v>>,
}

impl<'b, 'v: 'w, 'w> CelIterator<'b, 'w> for Keys<'b, 'v> {
    fn next(&mut self) -> Option<&'b (dyn Val + 'w)> {
        self.keys.next().map(|key| key as &(dyn Val + 'w))
    }
}

/// A CEL value as JSON, objects sorted by key.
///
/// # Errors
/// When JSON has no such value (bytes, types, NaN), or it nests too deep.
pub(super) fn from_cel(value: &dyn Val) -> Result<Value, ProgramError> {
    convert(value, 0)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the evaluator's kinds may grow; JSON's do not")]
fn convert(value: &dyn Val, depth: usize) -> Result<Value, ProgramError> {
    if depth > DEPTH_MAX {
        return Err(ProgramError::Output { detail: format!("nests deeper than {DEPTH_MAX}") });
    }
    let no_json = |what: &str| ProgramError::Output { detail: format!("{what} has no JSON form") };
    match value.get_type().kind() {
        Kind::NullType => Ok(Value::Null),
        Kind::Boolean => Ok(Value::Bool(value.downcast_ref::<CelBool>().is_some_and(|b| *b.inner()))),
        Kind::Int => {
            let int = value.downcast_ref::<CelInt>().ok_or_else(|| no_json("a foreign integer"))?;
            Ok(Value::Number((*int.inner()).into()))
        }
        Kind::UInt => {
            let uint = value.downcast_ref::<CelUInt>().ok_or_else(|| no_json("a foreign integer"))?;
            Ok(Value::Number((*uint.inner()).into()))
        }
        Kind::Double => {
            let double = value.downcast_ref::<CelDouble>().ok_or_else(|| no_json("a foreign number"))?;
            let number = Number::from_f64(*double.inner()).ok_or_else(|| no_json("NaN or an infinity"))?;
            Ok(Value::Number(number))
        }
        Kind::String => {
            let text = text_key(value).ok_or_else(|| no_json("a foreign string"))?;
            Ok(Value::String(text.to_owned()))
        }
        Kind::List => {
            let list = value.as_iterable().ok_or_else(|| no_json("a foreign list"))?;
            let mut out = Vec::new();
            let mut items = list.iter();
            while let Some(item) = items.next() {
                out.push(convert(item, depth + 1)?);
            }
            Ok(Value::Array(out))
        }
        Kind::Map => {
            if let Some(map) = value.downcast_ref::<CelMap>() {
                let mut out = Map::new();
                for (key, value) in map.inner() {
                    let key = text_key(key.inner()).ok_or_else(|| no_json("a key that is not a string"))?;
                    out.insert(key.to_owned(), convert(value.as_ref(), depth + 1)?);
                }
                return Ok(Value::Object(out));
            }
            let (Some(keys), Some(values)) = (value.as_iterable(), value.as_indexer()) else {
                return Err(no_json("a foreign map"));
            };
            let mut out = Map::new();
            let mut keys = keys.iter();
            while let Some(key) = keys.next() {
                let item =
                    values.get(key).map_err(|error| ProgramError::Output { detail: error.to_string() })?;
                let key = text_key(key).ok_or_else(|| no_json("a key that is not a string"))?;
                out.insert(key.to_owned(), convert(item.as_ref(), depth + 1)?);
            }
            Ok(Value::Object(out))
        }
        kind => Err(no_json(&format!("a value of kind {kind:?}"))),
    }
}

/// What the size of an input contributes to the cost of evaluating over it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Extent {
    /// Elements of the largest list or object.
    pub(super) elements_max: u64,
    /// Bytes of all text.
    pub(super) text_bytes: u64,
}

impl Extent {
    /// Takes another input into account.
    pub(super) fn include(&mut self, other: Self) {
        self.elements_max = self.elements_max.max(other.elements_max);
        self.text_bytes = self.text_bytes.saturating_add(other.text_bytes);
    }

    /// Measures a JSON value.
    pub(super) fn of_json(value: &Value) -> Self {
        let mut extent = Self::default();
        extent.add_json(value);
        extent
    }

    fn add_json(&mut self, value: &Value) {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
            Value::String(text) => self.text_bytes += text.len() as u64,
            Value::Array(items) => {
                self.elements_max = self.elements_max.max(items.len() as u64);
                items.iter().for_each(|item| self.add_json(item));
            }
            Value::Object(fields) => {
                self.elements_max = self.elements_max.max(fields.len() as u64);
                for (key, item) in fields {
                    self.text_bytes += key.len() as u64;
                    self.add_json(item);
                }
            }
        }
    }

    /// Measures what a step computed. Objects inside are the input's own and already measured.
    pub(super) fn of_cel(value: &dyn Val) -> Self {
        let mut extent = Self::default();
        extent.add_cel(value);
        extent
    }

    fn add_cel(&mut self, value: &dyn Val) {
        if let Some(text) = text_key(value) {
            self.text_bytes += text.len() as u64;
        } else if let Some(list) = value.downcast_ref::<CelList>() {
            self.elements_max = self.elements_max.max(list.inner().len() as u64);
            list.inner().iter().for_each(|item| self.add_cel(item.as_ref()));
        }
    }
}
