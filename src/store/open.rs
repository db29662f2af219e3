//! Opens the store that a configuration names.

use std::{
    env,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, Weak},
};

use super::{
    error::StoreError, file::FileStore, memory::MemoryStore, path::absolute_folder,
    state_store::StateStore, tiered::Tiered,
};
use crate::{
    config::{ConfigFile, RedisUrl, StoreConfig},
    process::{EachProcess, Process},
};

/// The environment variable that names a store, instead of a file.
const VARIABLE: &str = "TOWER_BREAKER_STORE";

/// The stores that were opened and are in use, parts of others among them. A folder can be opened
/// once.
static OPEN: EachProcess<Opened> = EachProcess::new([const { Mutex::new(Opened(Vec::new())) }; 4]);

struct Opened(Vec<OpenStore>);

struct OpenStore {
    config: StoreConfig,
    store: Weak<dyn StateStore>,
    /// A process that is forked from this one opens it anew.
    process: Process,
}

impl StoreConfig {
    /// Reads the environment variable `TOWER_BREAKER_STORE`. The outer `None`: it is not set. The
    /// inner one: it says `off`, or nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError::Misconfigured`] if it names no store.
    pub fn from_env() -> Result<Option<Option<Self>>, StoreError> {
        let misconfigured =
            |reason: String| StoreError::Misconfigured(format!("{VARIABLE}: {reason}").into());
        let Some(text) = env::var_os(VARIABLE) else { return Ok(None) };
        let text = text.to_str().ok_or_else(|| misconfigured("it is not UTF-8".to_owned()))?;
        Self::from_text(text).map(Some).map_err(|error| misconfigured(error.to_string()))
    }

    /// Opens the store, or returns the one that is open already: a folder belongs to one store,
    /// also if one configuration has it as a part of a tiered store, or by a symbolic link.
    ///
    /// Breakers of one name are [one state](crate::BreakerBuilder::store) where their store is the
    /// same, and a tiered store is another one than its parts. So name the store in the same way
    /// for all breakers of a name: alone and as a part of a tiered store, each would save over the
    /// other.
    ///
    /// # Errors
    ///
    /// [`StoreError::Misconfigured`] if the path can never work, if both parts of a tiered store
    /// are the same, or if the crate was built without the feature of the store.
    pub fn open(&self) -> Result<Arc<dyn StateStore>, StoreError> {
        let config = self.absolute()?;
        match OPEN.claim() {
            Some(mut open) => open.open(&config),
            None => Opened(Vec::new()).open(&config),
        }
    }

    /// This configuration with absolute paths.
    fn absolute(&self) -> Result<Self, StoreError> {
        Ok(match self {
            Self::Sled(folder) => Self::Sled(absolute_folder(folder)?),
            Self::Redb(folder) => Self::Redb(absolute_folder(folder)?),
            Self::File(folder) => Self::File(absolute_folder(folder)?),
            Self::Redis(url) => Self::Redis(url.clone()),
            Self::Tiered { near, far } => {
                Self::Tiered { near: Box::new(near.absolute()?), far: Box::new(far.absolute()?) }
            }
            Self::Memory => Self::Memory,
        })
    }

    /// The folder of the store and all of its parents without symbolic links, if they exist. By
    /// then the store has created them: a folder is opened by its first use.
    fn resolved(&self) -> Self {
        let resolve = |folder: &PathBuf| folder.canonicalize().unwrap_or_else(|_| folder.clone());
        match self {
            Self::Sled(folder) => Self::Sled(resolve(folder)),
            Self::Redb(folder) => Self::Redb(resolve(folder)),
            Self::File(folder) => Self::File(resolve(folder)),
            Self::Tiered { near, far } => {
                Self::Tiered { near: Box::new(near.resolved()), far: Box::new(far.resolved()) }
            }
            Self::Redis(_) | Self::Memory => self.clone(),
        }
    }
}

impl Opened {
    /// Returns the store that is open already, or opens it.
    fn open(&mut self, config: &StoreConfig) -> Result<Arc<dyn StateStore>, StoreError> {
        let process = Process::current();
        self.0.retain(|open| open.store.strong_count() > 0 && open.process == process);
        // What a path leads to may have changed since.
        let wanted = config.resolved();
        let found = self.0.iter().find(|open| open.config.resolved() == wanted);
        if let Some(store) = found.and_then(|open| open.store.upgrade()) {
            return Ok(store);
        }
        let store = self.open_anew(config)?;
        let (config, weak) = (config.clone(), Arc::downgrade(&store));
        self.0.push(OpenStore { config, store: weak, process });
        Ok(store)
    }

    fn open_anew(&mut self, config: &StoreConfig) -> Result<Arc<dyn StateStore>, StoreError> {
        Ok(match config {
            StoreConfig::Sled(folder) => open_sled(folder)?,
            StoreConfig::Redb(folder) => open_redb(folder)?,
            StoreConfig::File(folder) => Arc::new(FileStore::open(folder)?),
            StoreConfig::Redis(url) => open_redis(url)?,
            StoreConfig::Tiered { near, far } => {
                let (near, far) = (self.open_part(near)?, self.open_part(far)?);
                if Arc::ptr_eq(&near, &far) {
                    let reason = "the near and the far store of a tiered store are the same: the \
                                  far one has to survive the loss of the near one";
                    return Err(StoreError::Misconfigured(reason.into()));
                }
                Arc::new(Tiered::of(near, far))
            }
            StoreConfig::Memory => Arc::new(MemoryStore::new()),
        })
    }

    /// Memory has no name by which two parts could be the same.
    fn open_part(&mut self, config: &StoreConfig) -> Result<Arc<dyn StateStore>, StoreError> {
        match config {
            StoreConfig::Memory => self.open_anew(config),
            _ => self.open(config),
        }
    }
}

impl ConfigFile {
    /// Opens the store that the environment variable `TOWER_BREAKER_STORE` names, or, if it is not
    /// set, the file. `None`: neither names one, and state is in memory only.
    ///
    /// Breakers that are built with what this returns share one store.
    ///
    /// ```
    /// use tower_breaker::{Breaker, config::ConfigFile};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let folder = dir.path().join("state").display().to_string();
    /// let json = r#"{"store": {"file": "state"}}"#;
    /// # let json = json.replace("state", &folder);
    /// let file = ConfigFile::from_json(&json)?;
    /// let mut builder = Breaker::builder("payments").config(file.get("payments").clone());
    /// if let Some(store) = file.open_store()? {
    ///     builder = builder.store(store);
    /// }
    /// let breaker = builder.build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`StoreError::Misconfigured`] as for [`StoreConfig::open`], and if the variable names no
    /// store.
    pub fn open_store(&self) -> Result<Option<Arc<dyn StateStore>>, StoreError> {
        let config = StoreConfig::from_env()?.unwrap_or_else(|| self.store().cloned());
        config.map(|config| config.open()).transpose()
    }
}

#[cfg(feature = "sled")]
fn open_sled(folder: &Path) -> Result<Arc<dyn StateStore>, StoreError> {
    Ok(Arc::new(super::sled::SledStore::open(folder)?))
}

#[cfg(not(feature = "sled"))]
fn open_sled(_: &Path) -> Result<Arc<dyn StateStore>, StoreError> {
    Err(without_feature("sled"))
}

#[cfg(feature = "redb")]
fn open_redb(folder: &Path) -> Result<Arc<dyn StateStore>, StoreError> {
    Ok(Arc::new(super::redb::RedbStore::open(folder)?))
}

#[cfg(not(feature = "redb"))]
fn open_redb(_: &Path) -> Result<Arc<dyn StateStore>, StoreError> {
    Err(without_feature("redb"))
}

#[cfg(feature = "redis")]
fn open_redis(url: &RedisUrl) -> Result<Arc<dyn StateStore>, StoreError> {
    Ok(Arc::new(super::redis::RedisStore::open(url.secret())?))
}

#[cfg(not(feature = "redis"))]
fn open_redis(_: &RedisUrl) -> Result<Arc<dyn StateStore>, StoreError> {
    Err(without_feature("redis"))
}

#[cfg(not(all(feature = "sled", feature = "redb", feature = "redis")))]
fn without_feature(name: &str) -> StoreError {
    let reason = format!("the store {name} needs the feature `{name}` of tower-breaker");
    StoreError::Misconfigured(reason.into())
}
