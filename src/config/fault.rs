use std::fmt;

/// Everything that is wrong with a configuration, in one error.
///
/// ```
/// use tower_breaker::Config;
///
/// let error = Config::from_json(r#"{"recovery_timeout": "0s", "succes_threshold": 2}"#)
///     .unwrap_err();
/// assert_eq!(error.faults().len(), 2);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    faults: Vec<Fault>,
}

/// One thing that is wrong, where, and what is allowed there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    path: String,
    message: String,
}

impl ConfigError {
    /// The faults, in the order of the configuration's fields.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }
}

impl Fault {
    /// Where: `trip_on[1].failure_rate.threshold`, say. Empty for the configuration as a whole.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong there and what is allowed.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.faults.as_slice() {
            [fault] => write!(f, "the circuit breaker's configuration is wrong: {fault}"),
            faults => {
                write!(
                    f,
                    "the circuit breaker's configuration is wrong in {} places:",
                    faults.len()
                )?;
                faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// Collects faults while a configuration is read or checked.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    /// Adds a fault, unless its place is listed already: one fault often brings another.
    pub(crate) fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        let path = path.into();
        if self.0.iter().all(|fault| fault.path != path) {
            let message = message.into();
            self.0.push(Fault { path, message });
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn into_result<T>(self, value: T) -> Result<T, ConfigError> {
        if self.0.is_empty() { Ok(value) } else { Err(ConfigError { faults: self.0 }) }
    }
}

/// The value of a JSON text; that it is none is a fault of the whole.
pub(crate) fn parse_json(json: &str) -> Result<serde_json::Value, ConfigError> {
    serde_json::from_str(json).map_err(|error| {
        let message = format!("is not JSON: {error}");
        ConfigError { faults: vec![Fault { path: String::new(), message }] }
    })
}

/// `field` below `path`.
pub(crate) fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}
