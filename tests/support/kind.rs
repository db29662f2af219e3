//! The kinds of stores that keep their content over restarts.

use std::{path::Path, sync::Arc};

use tower_breaker::{FileStore, SledStore, StateStore, store::RedbStore};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sled,
    File,
    Redb,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Sled, Self::File, Self::Redb];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sled => "sled",
            Self::File => "file",
            Self::Redb => "redb",
        }
    }

    pub(crate) fn named(name: &str) -> Self {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == name);
        found.unwrap_or_else(|| panic!("unknown kind of store: {name}"))
    }

    pub(crate) fn open(self, folder: &Path) -> Arc<dyn StateStore> {
        match self {
            Self::Sled => Arc::new(SledStore::open(folder).expect("the folder is not a file")),
            Self::File => Arc::new(FileStore::open(folder).expect("the folder is not a file")),
            Self::Redb => Arc::new(RedbStore::open(folder).expect("the folder is not a file")),
        }
    }
}
