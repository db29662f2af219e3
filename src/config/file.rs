use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Map, Value};

use super::{
    fault::{ConfigError, Faults},
    fields::{Found, join, unknown_field},
    parse::parse_json,
    settings::Config,
};

/// The settings of many breakers: `defaults` for all, and `breakers.<name>` for one, which
/// override the defaults field by field.
///
/// ```
/// use std::time::Duration;
/// use tower_breaker::config::ConfigFile;
///
/// let file = ConfigFile::from_json(r#"{
///     "defaults": {"recovery_timeout": "30s", "success_threshold": 2},
///     "breakers": {"payments": {"recovery_timeout": "2m"}}
/// }"#)?;
/// assert_eq!(file.get("payments").recovery_timeout, Duration::from_secs(120));
/// assert_eq!(file.get("payments").success_threshold, 2);
/// assert_eq!(file.get("search").recovery_timeout, Duration::from_secs(30));
/// # Ok::<(), tower_breaker::ConfigError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConfigFile {
    defaults: Config,
    breakers: BTreeMap<String, Config>,
}

const SECTIONS: [&str; 2] = ["defaults", "breakers"];

impl ConfigFile {
    /// Reads the settings from JSON.
    ///
    /// # Errors
    ///
    /// One error that lists every fault of every breaker, with its path.
    pub fn from_json(json: &str) -> Result<Self, ConfigError> {
        Self::from_value(&parse_json(json)?)
    }

    /// Returns the settings of a breaker: its own if the file names it, otherwise the defaults.
    #[must_use]
    pub fn get(&self, name: &str) -> &Config {
        self.breakers.get(name).unwrap_or(&self.defaults)
    }

    /// Returns the names that the file lists under `breakers`, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.breakers.keys().map(String::as_str)
    }

    fn from_value(value: &Value) -> Result<Self, ConfigError> {
        let mut faults = Faults::default();
        let mut file = Self::default();
        let Value::Object(sections) = value else {
            let found = Found(value);
            faults.add(
                "",
                format!("expected an object with `defaults` and `breakers`, found {found}"),
            );
            return faults.into_result(file);
        };
        let empty = Value::Object(Map::new());
        let defaults = sections.get("defaults").unwrap_or(&empty);
        file.defaults = Config::read(defaults, "defaults", &mut faults);
        // A fault of the defaults is reported once, not for each breaker.
        let base = if faults.count() == 0 { defaults } else { &empty };
        match sections.get("breakers") {
            None => {}
            Some(Value::Object(breakers)) => {
                for (name, own) in breakers {
                    let path = join("breakers", name);
                    let config = Config::read(&overlay(base, own), &path, &mut faults);
                    file.breakers.insert(name.clone(), config);
                }
            }
            Some(value) => {
                let found = Found(value);
                faults.add(
                    "breakers",
                    format!("expected an object of settings by name, found {found}"),
                );
            }
        }
        for name in sections.keys().filter(|name| !SECTIONS.contains(&name.as_str())) {
            faults.add(join("", name), unknown_field(name, &SECTIONS));
        }
        faults.into_result(file)
    }
}

impl<'de> Deserialize<'de> for ConfigFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::from_value(&value).map_err(D::Error::custom)
    }
}

/// The fields of `own` over those of `defaults`. If either is not an object, the result is `own`,
/// and reading it reports the fault.
fn overlay(defaults: &Value, own: &Value) -> Value {
    match (defaults, own) {
        (Value::Object(defaults), Value::Object(own)) => {
            let mut merged = defaults.clone();
            merged.extend(own.clone());
            Value::Object(merged)
        }
        _ => own.clone(),
    }
}
