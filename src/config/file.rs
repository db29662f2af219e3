use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Map, Value};

#[cfg(feature = "toml")]
use super::read::read_toml;
use super::{
    fault::{ConfigError, Faults},
    fields::{Displayed, join, unknown_field},
    parse::NULLABLE,
    read::{read, read_json},
    settings::Config,
    store::StoreConfig,
    validate::check_name,
};

/// The settings of many breakers: `defaults` for all, and `breakers.<name>` for one, which
/// override the defaults field by field at every depth. And `store`, which says where the state is
/// stored: see [`StoreConfig`] and [`open_store`](Self::open_store).
///
/// A list and an object that is one of several, such as a window, are replaced as a whole. `null`
/// turns off what can be off, and otherwise unsets a field: it is as if it were not there, and
/// takes back what the defaults have set. In TOML, which has no `null`, `"off"` turns off what can
/// be off; so it does in JSON. A field that is there twice is an error, and so is a number that is
/// not finite.
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
    store: Option<StoreConfig>,
}

const RECOVERY_TIMEOUT: &str = "recovery_timeout";
const SECTIONS: [&str; 3] = ["defaults", "breakers", "store"];

impl ConfigFile {
    /// Reads the settings from JSON.
    ///
    /// # Errors
    ///
    /// One error that lists every fault of every breaker, with its path.
    pub fn from_json(json: &str) -> Result<Self, ConfigError> {
        Self::from_value(read_json(json)?)
    }

    /// Reads the settings from TOML.
    ///
    /// ```
    /// use tower_breaker::{Trip, config::ConfigFile};
    ///
    /// let file = ConfigFile::from_toml(r#"
    ///     store = { sled = "state" }
    ///
    ///     [defaults]
    ///     recovery_timeout = "30s"
    ///
    ///     [[breakers.payments.trip_on]]
    ///     consecutive_failures = 3
    /// "#)?;
    /// assert_eq!(file.get("payments").trip_on, [Trip::consecutive_failures(3)]);
    /// # Ok::<(), tower_breaker::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`from_json`](Self::from_json).
    #[cfg(feature = "toml")]
    #[cfg_attr(docsrs, doc(cfg(feature = "toml")))]
    pub fn from_toml(toml: &str) -> Result<Self, ConfigError> {
        Self::from_value(read_toml(toml)?)
    }

    /// Returns the settings of a breaker: its own if the file names it, otherwise the defaults.
    #[must_use]
    pub fn get(&self, name: &str) -> &Config {
        self.breakers.get(name).unwrap_or(&self.defaults)
    }

    /// Returns the settings of breakers that the file does not name.
    #[must_use]
    pub fn defaults(&self) -> &Config {
        &self.defaults
    }

    /// Returns the names that the file lists under `breakers`, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.breakers.keys().map(String::as_str)
    }

    /// Returns where the file says that state is stored. `None`: it does not say, or it says
    /// `null`.
    #[must_use]
    pub fn store(&self) -> Option<&StoreConfig> {
        self.store.as_ref()
    }

    fn from_value((value, mut faults): (Value, Faults)) -> Result<Self, ConfigError> {
        let mut file = Self::default();
        let Value::Object(sections) = &value else {
            let found = Displayed(&value);
            faults.add(
                "",
                format!(
                    "expected an object with any of `defaults`, `breakers` and `store`, found \
                     {found}"
                ),
            );
            return faults.into_result(file);
        };
        let empty = Value::Object(Map::new());
        let defaults = sections.get("defaults").filter(|it| !it.is_null()).unwrap_or(&empty);
        file.defaults = Config::read(defaults, "defaults", &mut faults);
        let base = &without_faults(defaults, "defaults", &faults);
        match sections.get("breakers") {
            None | Some(Value::Null) => {}
            Some(Value::Object(breakers)) => {
                for (name, own) in breakers {
                    let path = join("breakers", name);
                    check_name(name, &path, &mut faults);
                    let own = if own.is_null() { &empty } else { own };
                    let config = Config::read(&settings(base, own), &path, &mut faults);
                    file.breakers.insert(name.clone(), config);
                }
            }
            Some(value) => {
                let found = Displayed(value);
                faults.add(
                    "breakers",
                    format!("expected an object of settings by name, found {found}"),
                );
            }
        }
        if let Some(store) = sections.get("store") {
            file.store = StoreConfig::read(store, "store", &mut faults);
        }
        for name in sections.keys().filter(|name| !SECTIONS.contains(&name.as_str())) {
            faults.add(join("", name), unknown_field(name, &SECTIONS));
        }
        faults.into_result(file)
    }
}

impl<'de> Deserialize<'de> for ConfigFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_value(read(deserializer)?).map_err(D::Error::custom)
    }
}

/// The fields that have no fault. A fault of the defaults is reported once, not for each breaker,
/// and causes no other there.
fn without_faults(settings: &Value, path: &str, faults: &Faults) -> Value {
    let Value::Object(fields) = settings else { return Value::Object(Map::new()) };
    let mut sound = fields.clone();
    sound.retain(|name, _| !faults.are_at(&join(path, name)));
    if fields.contains_key(RECOVERY_TIMEOUT) && !sound.contains_key(RECOVERY_TIMEOUT) {
        // A backoff is compared with it.
        sound.insert(RECOVERY_TIMEOUT.to_owned(), "1ns".into());
    }
    Value::Object(sound)
}

/// The settings of a breaker: its own fields over the defaults.
fn settings(defaults: &Value, own: &Value) -> Value {
    overlay(defaults, own, &NULLABLE)
}

/// The fields of `own` over those of `defaults`, at every depth. A `null` removes a field of the
/// defaults that is not `nullable`; one that they have not set is read as if it were not there. If
/// `own` is not an object, it is returned as it is, and reading it reports the fault.
fn overlay(defaults: &Value, own: &Value, nullable: &[&str]) -> Value {
    let Value::Object(own) = own else { return own.clone() };
    let mut merged = defaults.as_object().cloned().unwrap_or_default();
    for (name, value) in own {
        let base = merged.remove(name);
        if value.is_null() && base.is_some() && !nullable.contains(&name.as_str()) {
            continue;
        }
        // No field below these can be off.
        merged.insert(name.clone(), overlay(&base.unwrap_or_default(), value, &[]));
    }
    Value::Object(merged)
}
