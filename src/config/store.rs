use std::{fmt, path::PathBuf, str::FromStr};

use serde_json::Value;

use super::{
    fault::Faults,
    fields::{Found, join, only_field},
};

/// Where state is stored, as data: a configuration file says it under `store`, and the environment
/// variable `TOWER_BREAKER_STORE` as text.
///
/// | in a file | as text | store |
/// |---|---|---|
/// | `{"sled": "state"}` | `sled:state` | `SledStore` in the folder `state` |
/// | `{"redb": "state"}` | `redb:state` | `RedbStore` |
/// | `{"file": "state"}` | `file:state` | `FileStore` |
/// | `"memory"` | `memory` | `MemoryStore` |
/// | `null`, or nothing | `off` | none |
///
/// ```
/// use tower_breaker::config::StoreConfig;
///
/// let store: StoreConfig = "sled:/var/lib/shop".parse()?;
/// assert_eq!(store, StoreConfig::Sled("/var/lib/shop".into()));
/// assert_eq!(store.to_string(), "sled:/var/lib/shop");
/// # Ok::<(), tower_breaker::config::ParseStoreError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreConfig {
    /// A `SledStore` in this folder (feature `sled`).
    Sled(PathBuf),
    /// A `RedbStore` in this folder (feature `redb`).
    Redb(PathBuf),
    /// A `FileStore` in this folder.
    File(PathBuf),
    /// A `MemoryStore`.
    Memory,
}

type Kind = (&'static str, fn(PathBuf) -> StoreConfig);

/// The kinds of stores in a folder.
const IN_FOLDERS: [Kind; 3] =
    [("sled", StoreConfig::Sled), ("redb", StoreConfig::Redb), ("file", StoreConfig::File)];

const EXPECTED: &str = "`sled:FOLDER`, `redb:FOLDER`, `file:FOLDER`, `memory` or `off`";

impl StoreConfig {
    /// Reads the section of a file. `None`: no store.
    pub(super) fn read(value: &Value, path: &str, faults: &mut Faults) -> Option<Self> {
        match value {
            Value::Null => return None,
            Value::String(text) if text == "memory" => return Some(Self::Memory),
            _ => {}
        }
        let (kind, folder) = only_field(value, path, &["sled", "redb", "file"], faults)?;
        let (_, store) = IN_FOLDERS.iter().find(|(name, _)| *name == kind)?;
        match folder.as_str() {
            Some(folder) if !folder.is_empty() => Some(store(folder.into())),
            _ => {
                faults.add(join(path, kind), format!("expected a folder, found {}", Found(folder)));
                None
            }
        }
    }

    /// Reads the text of an environment variable. `None`: no store.
    pub(crate) fn from_text(text: &str) -> Result<Option<Self>, ParseStoreError> {
        if matches!(text, "" | "off") { Ok(None) } else { text.parse().map(Some) }
    }
}

impl FromStr for StoreConfig {
    type Err = ParseStoreError;

    fn from_str(text: &str) -> Result<Self, ParseStoreError> {
        if text == "memory" {
            return Ok(Self::Memory);
        }
        let store = text.split_once(':').and_then(|(kind, folder)| {
            let (_, store) = IN_FOLDERS.iter().find(|(name, _)| *name == kind)?;
            (!folder.is_empty()).then(|| store(folder.into()))
        });
        store.ok_or_else(|| ParseStoreError(text.to_owned()))
    }
}

impl fmt::Display for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sled(folder) => write!(f, "sled:{}", folder.display()),
            Self::Redb(folder) => write!(f, "redb:{}", folder.display()),
            Self::File(folder) => write!(f, "file:{}", folder.display()),
            Self::Memory => f.write_str("memory"),
        }
    }
}

/// A text that names no store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseStoreError(String);

impl fmt::Display for ParseStoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown store {:?}; expected {EXPECTED}", self.0)
    }
}

impl std::error::Error for ParseStoreError {}
