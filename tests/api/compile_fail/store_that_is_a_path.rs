//! A store has to be opened, which checks its folder.
//!
//! E0277: StateStore
//! says: is not a store

use tower_breaker::{Breaker, FileStore};

fn main() {
    let builder = Breaker::builder("stored");
    #[cfg(feature = "wrong")]
    let builder = builder.store("state");
    #[cfg(not(feature = "wrong"))]
    let builder = builder.store(FileStore::open("state").unwrap());
    drop(builder);
}
