use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Map, Value};

use super::{
    Config, ConfigError,
    fault::{Faults, join, parse_json},
};

/// The settings of many breakers: `defaults`, and `breakers.<name>` that override them field by
/// field.
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

impl ConfigFile {
    /// Reads the settings from JSON.
    ///
    /// # Errors
    ///
    /// One error that lists every fault of every breaker, each with its path.
    pub fn from_json(json: &str) -> Result<Self, ConfigError> {
        Self::from_value(&parse_json(json)?)
    }

    /// The settings of the breaker of that name: its own over the defaults, or the defaults.
    #[must_use]
    pub fn get(&self, name: &str) -> &Config {
        self.breakers.get(name).unwrap_or(&self.defaults)
    }

    /// The names that have settings of their own, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.breakers.keys().map(String::as_str)
    }

    fn from_value(value: &Value) -> Result<Self, ConfigError> {
        let mut faults = Faults::default();
        let mut file = Self::default();
        let Value::Object(sections) = value else {
            faults.add("", "must be an object with the fields defaults and breakers");
            return faults.into_result(file);
        };
        let empty = Value::Object(Map::new());
        let defaults = sections.get("defaults").unwrap_or(&empty);
        file.defaults = Config::read(defaults, "defaults", &mut faults);
        // A fault of the defaults is listed once, not once for each breaker.
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
            Some(_) => faults.add("breakers", "must be an object of settings by name"),
        }
        for name in sections.keys() {
            if name != "defaults" && name != "breakers" {
                faults.add(name, "is no known field; known are defaults, breakers");
            }
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

/// The fields of `own` over those of `defaults`. Where either is no object, `own` stands alone
/// and its reader says so.
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
