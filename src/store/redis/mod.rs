//! A store in a Redis server.
//!
//! From the bottom up; a file imports only files above it in this list.
//!
//! | file | holds |
//! |---|---|
//! | `credentials`, `address` | who connects, and where to |
//! | `failure` | what errors of Redis mean |
//! | `connection`, `script` | commands and scripts |
//! | `keys`, `server` | keys in Redis; one server, and whether it still holds what was saved |
//! | `index`, `seen`, `own`, `values`, `history` | what is stored |
//! | `store`, `builder` | the store |

mod address;
mod builder;
mod connection;
mod credentials;
mod failure;
mod history;
mod index;
mod keys;
mod own;
mod script;
mod seen;
mod server;
mod store;
mod values;

pub use self::{builder::RedisStoreBuilder, credentials::RedisCredentials, store::RedisStore};
pub(crate) use self::{
    connection::{Connection, Connector},
    script::{Script, run, run_each},
};
