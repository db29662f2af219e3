//! Reads the fields of an object, and notes what is wrong with them.

use std::{fmt, time::Duration};

use humantime_serde::re::humantime;
use serde_json::{Map, Value};

use super::fault::Faults;

/// What a field says that is off, for formats without `null`.
pub(super) const OFF: &str = "off";

/// The fields of an object.
pub(super) struct Fields<'a> {
    path: &'a str,
    values: &'a Map<String, Value>,
    /// The names that were read.
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(value: &'a Value, path: &'a str, faults: &mut Faults) -> Option<Self> {
        let Value::Object(values) = value else {
            faults.add(path, format!("expected an object, found {}", Displayed(value)));
            return None;
        };
        Some(Self { path, values, known: Vec::new() })
    }

    /// The value of a field, if it is there, and its path.
    pub(super) fn take(&mut self, name: &'static str) -> Option<(&'a Value, String)> {
        self.known.push(name);
        Some((self.values.get(name)?, join(self.path, name)))
    }

    /// Reads a field, if it is there. `null` is as if it were not.
    pub(super) fn read<T>(
        &mut self,
        name: &'static str,
        field: &mut T,
        read: Read<T>,
        faults: &mut Faults,
    ) {
        if let Some((value, path)) = self.take(name)
            && !value.is_null()
        {
            *field = read(value, &path, faults);
        }
    }

    /// Reads a field that may be off, if it is there: `null`, or `"off"`.
    pub(super) fn read_nullable<T>(
        &mut self,
        name: &'static str,
        field: &mut Option<T>,
        read: Read<T>,
        faults: &mut Faults,
    ) {
        if let Some((value, path)) = self.take(name) {
            let is_off = value.is_null() || value == OFF;
            *field = (!is_off).then(|| read(value, &path, faults));
        }
    }

    /// Reads a field that must be there.
    pub(super) fn require<T>(
        &mut self,
        name: &'static str,
        read: Read<T>,
        faults: &mut Faults,
    ) -> Option<T> {
        let Some((value, path)) = self.take(name) else {
            faults.add(join(self.path, name), "required field is missing");
            return None;
        };
        Some(read(value, &path, faults))
    }

    /// Reports the fields that were not read.
    pub(super) fn finish(self, faults: &mut Faults) {
        for name in self.values.keys().filter(|name| !self.known.contains(&name.as_str())) {
            faults.add(join(self.path, name), unknown_field(name, &self.known));
        }
    }
}

/// Reads an object whose missing fields have defaults.
pub(super) fn with_defaults<T: Default>(
    value: &Value,
    path: &str,
    faults: &mut Faults,
    read: impl FnOnce(&mut Fields<'_>, &mut T, &mut Faults),
) -> T {
    let mut object = T::default();
    if let Some(mut fields) = Fields::of(value, path, faults) {
        read(&mut fields, &mut object, faults);
        fields.finish(faults);
    }
    object
}

/// Reads the value at a path. Where it cannot, it adds a fault, and returns a value that causes no
/// other.
type Read<T> = fn(&Value, &str, &mut Faults) -> T;

pub(super) fn count(value: &Value, path: &str, faults: &mut Faults) -> u32 {
    let count = value.as_u64().and_then(|count| u32::try_from(count).ok());
    count.unwrap_or_else(|| {
        let (max, found) = (u32::MAX, Displayed(value));
        faults.add(path, format!("expected a whole number, at most {max}, found {found}"));
        1
    })
}

pub(super) fn number(value: &Value, path: &str, faults: &mut Faults) -> f64 {
    value.as_f64().unwrap_or_else(|| {
        faults.add(path, format!("expected a number, found {}", Displayed(value)));
        1.0
    })
}

pub(super) fn duration(value: &Value, path: &str, faults: &mut Faults) -> Duration {
    let parsed = value.as_str().and_then(|text| humantime::parse_duration(text).ok());
    parsed.unwrap_or_else(|| {
        let found = Displayed(value);
        let message = format!(r#"expected a duration such as "60s" or "1m 30s", found {found}"#);
        faults.add(path, message);
        Duration::from_nanos(1)
    })
}

/// The name and the value of an object's only field, which must be one of `known`.
pub(super) fn only_field<'a>(
    value: &'a Value,
    path: &str,
    known: &[&'static str],
    faults: &mut Faults,
) -> Option<(&'static str, &'a Value)> {
    let mut fields = value.as_object().into_iter().flatten();
    let (Some((name, value)), None) = (fields.next(), fields.next()) else {
        let (known, found) = (quoted(known), Displayed(value));
        faults.add(path, format!("expected an object with one field of {known}, found {found}"));
        return None;
    };
    let Some(name) = known.iter().find(|known| *known == name) else {
        faults.add(join(path, name), unknown_field(name, known));
        return None;
    };
    Some((name, value))
}

/// `field` below `path`. What is not a plain name is quoted, as a breaker's name may hold anything.
pub(crate) fn join(path: &str, field: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if field.is_empty() || !field.bytes().all(is_plain) {
        format!("{path}[{field:?}]")
    } else if path.is_empty() {
        field.to_owned()
    } else {
        format!("{path}.{field}")
    }
}

pub(super) fn unknown_field(name: &str, known: &[&str]) -> String {
    format!("unknown field `{}`; expected one of {}", name.escape_debug(), quoted(known))
}

pub(super) fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// A value as a message shows it: short.
pub(super) struct Displayed<'a>(pub(super) &'a Value);

impl fmt::Display for Displayed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 40;
        match self.0 {
            Value::Array(_) => f.write_str("a list"),
            Value::Object(fields) => write!(f, "an object with {} fields", fields.len()),
            Value::String(text) if text.chars().nth(LONGEST).is_some() => {
                let start: String = text.chars().take(LONGEST).collect();
                write!(f, "{start:?}...")
            }
            value => value.fmt(f),
        }
    }
}
