//! Values under keys.

use std::time::Duration;

use redis::{ConnectionLike, RedisResult};

use super::{
    index::{Index, PAGE},
    server::Server,
};
use crate::store::{entry::SaveEntry, error::StoreError};

/// What lives longer does not expire: Redis refuses times that are too far away.
const LONGEST_TTL: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

pub(super) fn load(server: &Server, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let key = server.keys.value(key);
    server.call(|connection| redis::cmd("GET").arg(&key).query(connection))
}

pub(super) fn load_page(
    server: &Server,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
    with_index(server, |index| {
        server.call(|connection| {
            let mut page = Vec::new();
            let mut gone = Vec::new();
            let mut after = after.map(str::to_owned);
            while page.len() < limit {
                let asked = (limit - page.len()).min(PAGE);
                let members = index.page(connection, after.as_deref(), asked)?;
                let is_last = members.len() < asked;
                after = members.last().cloned();
                let values = load_each(connection, index, &members)?;
                for (member, value) in members.into_iter().zip(values) {
                    match value {
                        Some(value) => page.push((member, value)),
                        // It has expired.
                        None => gone.push(member),
                    }
                }
                if is_last {
                    break;
                }
            }
            index.remove_gone(connection, &gone)?;
            Ok(page)
        })
    })
}

pub(super) fn save(server: &Server, entries: &[SaveEntry]) -> Result<(), StoreError> {
    for entries in entries.chunks(PAGE) {
        with_index(server, |index| {
            server.write(|_, pipeline| {
                for SaveEntry { key, value, ttl } in entries {
                    pipeline.cmd("SET").arg((index.named)(key)).arg(value);
                    if let Some(ttl) = ttl.filter(|ttl| *ttl < LONGEST_TTL) {
                        // Zero is refused.
                        pipeline.arg("PX").arg(ttl.as_millis().max(1).to_string());
                    }
                }
                index.add(pipeline, entries.iter().map(|entry| entry.key.as_str()));
            })
        })?;
    }
    Ok(())
}

pub(super) fn delete(server: &Server, key: &str) -> Result<(), StoreError> {
    with_index(server, |index| {
        server.call(|connection| {
            redis::cmd("DEL").arg((index.named)(key)).exec(connection)?;
            index.remove_gone(connection, &[key.to_owned()])
        })
    })
}

fn load_each(
    connection: &mut dyn ConnectionLike,
    index: &Index<'_>,
    members: &[String],
) -> RedisResult<Vec<Option<Vec<u8>>>> {
    if members.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<_> = members.iter().map(|member| (index.named)(member)).collect();
    redis::cmd("MGET").arg(keys).query(connection)
}

fn with_index<T>(server: &Server, job: impl FnOnce(&Index<'_>) -> T) -> T {
    let named = |key: &str| server.keys.value(key);
    job(&Index { key: &server.keys.value_index(), named: &named })
}
