//! The kinds of stores that keep their content over restarts.

use std::{fs, path::Path, sync::Arc};

use super::redis::{PORT, RedisServer};

use tower_breaker::{
    FileStore, SledStore, StateStore,
    store::{RedbStore, RedisStore},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sled,
    File,
    Redb,
    /// In a server whose port is in a file beside or above the folder.
    Redis,
}

impl Kind {
    /// Those in a folder.
    pub(crate) const ALL: [Self; 3] = [Self::Sled, Self::File, Self::Redb];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sled => "sled",
            Self::File => "file",
            Self::Redb => "redb",
            Self::Redis => "redis",
        }
    }

    pub(crate) fn named(name: &str) -> Self {
        let found = Self::ALL.into_iter().chain([Self::Redis]).find(|kind| kind.name() == name);
        found.unwrap_or_else(|| panic!("unknown kind of store: {name}"))
    }

    pub(crate) fn open(self, folder: &Path) -> Arc<dyn StateStore> {
        match self {
            Self::Sled => Arc::new(SledStore::open(folder).expect("the folder is not a file")),
            Self::File => Arc::new(FileStore::open(folder).expect("the folder is not a file")),
            Self::Redb => Arc::new(RedbStore::open(folder).expect("the folder is not a file")),
            Self::Redis => Arc::new(RedisStore::open(&server_of(folder)).expect("a valid URL")),
        }
    }
}

/// A folder for a store of any kind, and its server if it is in one.
pub(crate) enum Around {
    Folder(tempfile::TempDir),
    Server(RedisServer),
}

impl Around {
    /// `None`: the server cannot be started here. A server keeps what it holds when it is killed.
    pub(crate) fn of(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Redis => RedisServer::start_with(&["--appendonly", "yes"]).map(Self::Server),
            Kind::Sled | Kind::File | Kind::Redb => {
                Some(Self::Folder(tempfile::tempdir().unwrap()))
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Folder(folder) => folder.path(),
            Self::Server(server) => server.folder(),
        }
    }
}

fn server_of(folder: &Path) -> String {
    let port = folder.ancestors().find_map(|at| fs::read_to_string(at.join(PORT)).ok());
    format!("redis://127.0.0.1:{}", port.expect("a server for the folder"))
}
