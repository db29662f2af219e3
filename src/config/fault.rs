use std::{error::Error, fmt};

/// All faults of a configuration, in one error.
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

/// One fault of a configuration: where it is, and what is allowed there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    path: String,
    message: String,
}

impl ConfigError {
    /// Returns the faults, in the order of the configuration's fields.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }
}

impl Fault {
    /// Returns the path of the faulty value, for example `trip_on[1].failure_rate.threshold`. It
    /// is empty for the configuration as a whole.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns what is wrong with the value, and what is allowed.
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
        f.write_str("invalid circuit breaker configuration")?;
        match self.faults.as_slice() {
            [fault] => write!(f, ": {fault}"),
            faults => {
                write!(f, " ({} faults):", faults.len())?;
                faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
            }
        }
    }
}

impl Error for ConfigError {}

/// Collects faults while a configuration is read or validated.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    /// Adds a fault, unless one with this path exists: one fault often causes another.
    pub(crate) fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        let path = path.into();
        if self.0.iter().all(|fault| fault.path != path) {
            let message = message.into();
            self.0.push(Fault { path, message });
        }
    }

    /// Whether there is a fault at this path, or in a part of what is there.
    pub(super) fn are_at(&self, path: &str) -> bool {
        let is_at = |fault: &Fault| {
            let rest = fault.path.strip_prefix(path);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        self.0.iter().any(is_at)
    }

    pub(super) fn into_error(self) -> ConfigError {
        ConfigError { faults: self.0 }
    }

    pub(crate) fn into_result<T>(self, value: T) -> Result<T, ConfigError> {
        if self.0.is_empty() { Ok(value) } else { Err(self.into_error()) }
    }
}
