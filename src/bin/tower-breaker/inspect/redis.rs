//! Reads the store in a Redis server.

use tower_breaker::{
    StateStore,
    config::RedisUrl,
    store::{RedisStore, StoreError},
};

use super::{
    super::{arguments::Inspected, fault::Fault},
    content::{Content, StoreLocation},
};

pub(super) fn read(url: &str, inspected: &Inspected) -> Result<Content, Fault> {
    let mut builder = RedisStore::builder(url);
    if let Some(prefix) = &inspected.prefix {
        builder = builder.prefix(prefix);
    }
    if let Some(instance) = &inspected.instance {
        builder = builder.instance(instance);
    }
    let store = builder.open().map_err(fault)?;
    let entries = store.load_page(None, usize::MAX).map_err(fault)?;
    Ok(Content {
        place: StoreLocation::Server(RedisUrl::new(url)),
        kind: "redis",
        held: false,
        entries,
        store: Box::new(store),
        check: Box::new(|| Ok(())),
    })
}

fn fault(error: StoreError) -> Fault {
    match error {
        StoreError::Unavailable(cause) => Fault::Unreachable(cause.to_string()),
        StoreError::Misconfigured(cause) => Fault::Other(cause.to_string()),
        error => Fault::Other(error.to_string()),
    }
}
