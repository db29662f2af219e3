//! A store in a Redis server.
//!
//! From the bottom up; a file imports only files above it in this list.
//!
//! | file | holds |
//! |---|---|
//! | `random` | random numbers that processes do not share |
//! | `credentials`, `address` | who connects, and where to |
//! | `certificates` | which servers a client trusts by TLS |
//! | `failure` | what errors of Redis mean |
//! | `connector`, `settings` | how to connect, and the settings of that |
//! | `sentinel`, `cluster` | which server to connect to |
//! | `connection`, `script` | commands and scripts |
//! | `keys`, `index` | keys in Redis; sets of them |
//! | `server` | one server, and whether it still holds what was saved |
//! | `seen`, `own`, `kept`, `index_life`, `values`, `history` | what is stored |
//! | `store`, `builder` | the store |

mod address;
mod builder;
#[cfg(feature = "redis-tls")]
mod certificates;
mod cluster;
mod connection;
mod connector;
mod credentials;
mod failure;
mod history;
mod index;
mod index_life;
mod kept;
mod keys;
mod own;
mod random;
mod script;
mod seen;
mod sentinel;
mod server;
mod settings;
mod store;
mod values;

#[cfg(test)]
pub(crate) use self::keys::Keys as StoreKeys;
pub use self::{builder::RedisStoreBuilder, credentials::RedisCredentials, store::RedisStore};
pub(crate) use self::{
    connection::{Connection, RECONNECT_PAUSE},
    connector::Connector,
    failure::code as error_code,
    random::random,
    script::{Script, run, run_calls},
    settings::{ConnectionSettings, connection_settings},
};
