//! Reads a file's values from any self-describing format, and notes what their form does not
//! allow: a field that is there twice, and a number that is not finite.
//!
//! `serde_json::Value` would keep the last of two fields, and read NaN as `null`, which unsets a
//! field.

use std::{cell::RefCell, fmt};

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

use super::{
    fault::{ConfigError, Faults},
    fields::join,
};

/// The only field of a number, in formats that keep its digits.
const DIGITS: &str = "$serde_json::private::Number";

/// The only field of a date in TOML, whose value is a text.
const DATE: &str = "$__toml_private_datetime";

/// Reads a value and the faults of its form.
pub(super) fn read<'de, D: Deserializer<'de>>(from: D) -> Result<(Value, Faults), D::Error> {
    let faults = RefCell::default();
    let value = Reader { path: &Path::Root, faults: &faults }.deserialize(from)?;
    Ok((value, faults.into_inner()))
}

pub(super) fn read_json(json: &str) -> Result<(Value, Faults), ConfigError> {
    let mut from = serde_json::Deserializer::from_str(json);
    let read = read(&mut from).and_then(|read| from.end().map(|()| read));
    read.map_err(|error| invalid("JSON", &error))
}

#[cfg(feature = "toml")]
pub(super) fn read_toml(toml: &str) -> Result<(Value, Faults), ConfigError> {
    toml::Deserializer::parse(toml).and_then(read).map_err(|error| {
        // Its `Display` quotes the line, which may hold a password.
        let message = error.message();
        let place = error.span().map(|span| place(toml, span.start));
        invalid("TOML", &format_args!("{message}{}", place.unwrap_or_default()))
    })
}

/// Where a byte is, as messages of `serde_json` write it.
#[cfg(feature = "toml")]
fn place(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let (line, start) = match before.rfind('\n') {
        None => (1, 0),
        Some(end) => (before.matches('\n').count() + 1, end + 1),
    };
    let column = before[start..].chars().count() + 1;
    format!(" at line {line} column {column}")
}

/// The error of a text that is not of its format.
fn invalid(format: &str, error: &dyn fmt::Display) -> ConfigError {
    let mut faults = Faults::default();
    faults.add("", format!("invalid {format}: {error}"));
    faults.into_error()
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    path: &'a Path<'a>,
    faults: &'a RefCell<Faults>,
}

/// Where a value is. It is only written out for a fault.
enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl Path<'_> {
    fn written(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Field(parent, name) => join(&parent.written(), name),
            Self::Item(parent, index) => format!("{}[{index}]", parent.written()),
        }
    }
}

impl Reader<'_> {
    fn fault(&self, message: impl Into<String>) {
        self.faults.borrow_mut().add(self.path.written(), message);
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of a configuration")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value);
        if number.is_none() {
            self.fault(format!("expected a finite number, found {value}"));
        }
        Ok(number.map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        self.deserialize(from)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        self.deserialize(from)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let path = Path::Item(self.path, list.len());
            let Some(item) = items.next_element_seed(Reader { path: &path, ..self })? else {
                return Ok(list.into());
            };
            list.push(item);
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            if name == DIGITS {
                let digits: String = fields.next_value()?;
                return digits.parse().map(Value::Number).map_err(A::Error::custom);
            }
            if name == DATE {
                return fields.next_value_seed(self);
            }
            let path = Path::Field(self.path, &name);
            let reader = Reader { path: &path, ..self };
            let value = fields.next_value_seed(reader)?;
            if object.contains_key(&name) {
                reader.fault("duplicate field; remove one of them");
            } else {
                object.insert(name, value);
            }
        }
        Ok(object.into())
    }
}
