use std::{fmt, path::PathBuf, str::FromStr};

use serde_json::Value;

use super::{
    fault::Faults,
    fields::{Displayed, Fields, OFF, join, only_field, quoted},
    redis_url::RedisUrl,
};

/// Where state is stored, as data: a configuration file says it under `store`, and the environment
/// variable `TOWER_BREAKER_STORE` as text.
///
/// | in a file | as text | store |
/// |---|---|---|
/// | `{"sled": "state"}` | `sled:state` | `SledStore` in the folder `state` |
/// | `{"redb": "state"}` | `redb:state` | `RedbStore` |
/// | `{"file": "state"}` | `file:state` | `FileStore` |
/// | `{"redis": "redis://host"}` | `redis://host` | `RedisStore` on this server, or one that sentinels or a cluster name |
/// | `{"tiered": {"near": .., "far": ..}}` | `tiered:NEAR,FAR` | `Tiered`, of two others |
/// | `"memory"` | `memory` | `MemoryStore` |
/// | `null`, or nothing | `off` | none |
///
/// In the text of a tiered store, a near folder is written with `%2C` for a comma and `%25` for a
/// percent sign. Neither store may be tiered itself.
///
/// A URL of Redis may hold a user and a password: `Display` and `Debug` leave them out, and errors
/// do not quote it.
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
    /// A `RedisStore` on the server of this URL (feature `redis`).
    Redis(RedisUrl),
    /// A `Tiered` store.
    #[non_exhaustive]
    Tiered {
        /// The near store.
        near: Box<Self>,
        /// The far store.
        far: Box<Self>,
    },
    /// A `MemoryStore`.
    Memory,
}

type Kind = (&'static str, fn(PathBuf) -> StoreConfig);

/// The kinds of stores in a folder.
const IN_FOLDERS: [Kind; 3] =
    [("sled", StoreConfig::Sled), ("redb", StoreConfig::Redb), ("file", StoreConfig::File)];

/// The fields of which the section of a file has one.
const KINDS: [&str; 5] = ["sled", "redb", "file", "redis", "tiered"];

const EXPECTED: &str = "`sled:FOLDER`, `redb:FOLDER`, `file:FOLDER`, `redis://HOST`, \
                        `tiered:NEAR,FAR`, `memory` or `off`";

impl StoreConfig {
    /// Reads the section of a file. `None`: no store.
    pub(super) fn read(value: &Value, path: &str, faults: &mut Faults) -> Option<Self> {
        match value {
            Value::Null => return None,
            Value::String(text) if text == OFF => return None,
            Value::String(text) if text == "memory" => return Some(Self::Memory),
            // It may be a URL with a password.
            Value::String(_) => {
                let known = quoted(&KINDS);
                let expected = format!(
                    "expected an object with one field of {known}, \"memory\" or \"off\"; found \
                     another string",
                );
                faults.add(path, expected);
                return None;
            }
            _ => {}
        }
        let (kind, folder) = only_field(value, path, &KINDS, faults)?;
        match kind {
            "redis" => return read_url(folder, &join(path, kind), faults),
            "tiered" => return read_tiered(folder, &join(path, kind), faults),
            _ => {}
        }
        let (_, store) = IN_FOLDERS.iter().find(|(name, _)| *name == kind)?;
        match folder.as_str() {
            Some(folder) if !folder.is_empty() => Some(store(folder.into())),
            _ => {
                faults.add(
                    join(path, kind),
                    format!("expected a folder, found {}", Displayed(folder)),
                );
                None
            }
        }
    }

    /// Reads the text of an environment variable. `None`: no store.
    pub(crate) fn from_text(text: &str) -> Result<Option<Self>, ParseStoreError> {
        if matches!(text.trim(), "" | "off") { Ok(None) } else { text.parse().map(Some) }
    }
}

impl FromStr for StoreConfig {
    type Err = ParseStoreError;

    /// White space around the text, and around a folder, does not count: a file that holds the
    /// text may end with a line feed.
    fn from_str(text: &str) -> Result<Self, ParseStoreError> {
        let text = text.trim();
        if text == "memory" {
            return Ok(Self::Memory);
        }
        if RedisUrl::is_one(text) {
            return Ok(Self::Redis(RedisUrl::new(text)));
        }
        if let Some((near, far)) =
            text.strip_prefix("tiered:").and_then(|both| both.split_once(','))
        {
            let near = if RedisUrl::is_one(near) { near.to_owned() } else { unescape(near) };
            let (near, far): (Self, Self) = (near.parse()?, far.parse()?);
            if [&near, &far].iter().any(|store| matches!(store, Self::Tiered { .. })) {
                let reason = "a tiered store cannot be part of another one";
                return Err(ParseStoreError(reason.to_owned()));
            }
            return Ok(Self::Tiered { near: Box::new(near), far: Box::new(far) });
        }
        let store = text.split_once(':').and_then(|(kind, folder)| {
            let (_, store) = IN_FOLDERS.iter().find(|(name, _)| *name == kind)?;
            let folder = folder.trim();
            (!folder.is_empty()).then_some((store, folder))
        });
        match store {
            Some((_, folder)) if folder.contains(char::is_control) => {
                let reason = "the name of the store's folder has a control character";
                Err(ParseStoreError(reason.to_owned()))
            }
            Some((store, folder)) => Ok(store(folder.into())),
            None => Err(ParseStoreError::unknown(text)),
        }
    }
}

impl fmt::Display for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sled(folder) => write!(f, "sled:{}", folder.display()),
            Self::Redb(folder) => write!(f, "redb:{}", folder.display()),
            Self::File(folder) => write!(f, "file:{}", folder.display()),
            Self::Redis(url) => url.fmt(f),
            Self::Tiered { near, far } => match &**near {
                Self::Redis(near) => write!(f, "tiered:{near},{far}"),
                near => write!(f, "tiered:{},{far}", escape(&near.to_string())),
            },
            Self::Memory => f.write_str("memory"),
        }
    }
}

fn read_url(value: &Value, path: &str, faults: &mut Faults) -> Option<StoreConfig> {
    match value.as_str() {
        Some(url) if RedisUrl::is_one(url) => Some(StoreConfig::Redis(RedisUrl::new(url))),
        // What was found may hold a password.
        _ => {
            let expected = "expected a URL that begins with `redis://`, `redis+sentinel://`, \
                            `redis+cluster://` (each with `rediss` for TLS), or `unix://`";
            faults.add(path.to_owned(), expected.to_owned());
            None
        }
    }
}

fn read_tiered(value: &Value, path: &str, faults: &mut Faults) -> Option<StoreConfig> {
    let mut fields = Fields::of(value, path, faults)?;
    let mut both = ["near", "far"].map(|name| {
        let Some((value, path)) = fields.take(name) else {
            faults.add(join(path, name), "missing: a tiered store needs both".to_owned());
            return None;
        };
        if matches!(value, Value::Null) || value.get("tiered").is_some() {
            faults.add(path, "expected another store than a tiered one".to_owned());
            return None;
        }
        StoreConfig::read(value, &path, faults)
    });
    fields.finish(faults);
    let (near, far) = (Box::new(both[0].take()?), Box::new(both[1].take()?));
    Some(StoreConfig::Tiered { near, far })
}

fn escape(text: &str) -> String {
    text.replace('%', "%25").replace(',', "%2C")
}

fn unescape(text: &str) -> String {
    text.replace("%2C", ",").replace("%25", "%")
}

/// A text that names no store.
#[derive(Clone, PartialEq, Eq)]
pub struct ParseStoreError(String);

impl ParseStoreError {
    /// Names what stands before the first colon. The rest may be a URL with a password, misspelled.
    fn unknown(text: &str) -> Self {
        const LONGEST: usize = 20;
        let kind = text.split_once(':').map_or(text, |(kind, _)| kind);
        let is_plain =
            kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-_".contains(&byte));
        let quoted =
            if is_plain && kind.len() <= LONGEST { format!(" {kind:?}") } else { String::new() };
        Self(format!("unknown store{quoted}; expected {EXPECTED}"))
    }
}

impl fmt::Debug for ParseStoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ParseStoreError").field(&self.0).finish()
    }
}

impl fmt::Display for ParseStoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ParseStoreError {}
