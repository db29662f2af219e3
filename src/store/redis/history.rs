//! Histories: for each, a sorted set whose members all have score 0.
//!
//! A member is the id of a record in 20 digits, the token of the process that wrote it, and the
//! record. So members are in the order of their ids, and a process that writes a record again
//! replaces its own. An id that another process has taken is passed over: the record gets the next.

use redis::{Value, from_redis_value};

use super::{
    index::{Index, Life, PAGE, life, longest},
    random::random,
    script::{self, Form, Script},
    server::Server,
};
use crate::store::{error::StoreError, history_store::HistoryRecord};

const DIGITS: usize = 20;
const TOKEN: usize = 12;
const NEW: &str = "n";
const MOVED: &str = "m";

/// Adds records, and returns the places of those whose ids are taken.
///
/// One that is equal is there already: an earlier attempt added it, perhaps in another process.
/// A new record replaces the one of its id that this process wrote before. A moved one, whose id is
/// not its own, replaces none. A full server refuses the first command that takes memory, but none
/// after one that has written: so what takes memory comes first.
const APPEND: &str = "\
local mode, token, ttl = ARGV[1], ARGV[2], ARGV[3]
local taken = {}
for i = 4, #ARGV, 2 do
  local id, member = ARGV[i], ARGV[i] .. token .. ARGV[i + 1]
  local own, is_there, is_taken = nil, false, false
  for _, found in ipairs(redis.call('ZRANGEBYLEX', KEYS[1], '[' .. id, '(' .. id .. '\\255')) do
    if found == member or string.sub(found, 33) == ARGV[i + 1] then
      is_there = true
    elseif mode == 'n' and string.sub(found, 21, 32) == token then
      own = found
    else
      is_taken = true
    end
  end
  if is_taken and not is_there then
    taken[#taken + 1] = string.format('%d', (i - 4) / 2)
  else
    if not is_there then redis.call('ZADD', KEYS[1], '0', member) end
    if own then redis.call('ZREM', KEYS[1], own) end
  end
end
if ttl ~= '0' then redis.call('PEXPIRE', KEYS[1], ttl) end
return taken";

/// Removes the records of a process, and returns whether any other is left.
const DISCARD: &str = "\
for _, found in ipairs(redis.call('ZRANGEBYLEX', KEYS[1], '-', '+')) do
  if string.sub(found, 21, 32) == ARGV[1] then redis.call('ZREM', KEYS[1], found) end
end
return redis.call('EXISTS', KEYS[1])";

/// What appends records, and removes them.
pub(super) struct Appender {
    script: Script,
    discard: Script,
    /// Tells the records of this process from those of others.
    token: String,
}

impl Appender {
    pub(super) fn new() -> Self {
        let token = format!("{:0TOKEN$x}", random() & ((1 << (4 * TOKEN)) - 1));
        Self { script: Script::new(APPEND), discard: Script::new(DISCARD), token }
    }

    /// Removes the records that this process has appended.
    pub(super) fn discard(&self, server: &Server, key: &str) -> Result<(), StoreError> {
        with_index(server, |index| {
            server.call(|connection| {
                let named = (index.named)(key);
                let keys = [named.as_bytes()];
                let replies = script::run(connection, |form, pipeline| {
                    let command = self.discard.command(form, &keys, &[self.token.as_bytes()]);
                    pipeline.add_command(command);
                })
                .map_err(|error| self.discard.name_what_is_denied(error))?;
                let is_left = replies.first().is_some_and(|reply| *reply == Value::Int(1));
                if is_left { Ok(()) } else { index.remove_gone(connection, &[key.to_owned()]) }
            })
        })
    }

    pub(super) fn append(
        &self,
        server: &Server,
        histories: &[(String, Vec<HistoryRecord>)],
    ) -> Result<(), StoreError> {
        let histories: Vec<_> =
            histories.iter().filter(|(_, records)| !records.is_empty()).collect();
        for histories in histories.chunks(PAGE) {
            let taken = self.append_each(server, histories, NEW)?;
            let pairs = histories.iter().zip(taken);
            for ((key, records), taken) in pairs.filter(|(_, taken)| !taken.is_empty()) {
                for place in taken {
                    if let Some(record) = records.get(place) {
                        self.append_moved(server, key, record)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Appends a record under the first id after its own that is free.
    fn append_moved(
        &self,
        server: &Server,
        key: &str,
        record: &HistoryRecord,
    ) -> Result<(), StoreError> {
        const ATTEMPTS: usize = 100;
        let mut moved = (key.to_owned(), vec![record.clone()]);
        for _ in 0..ATTEMPTS {
            let record = &mut moved.1[0];
            record.id = record.id.saturating_add(1);
            if self.append_each(server, &[&moved], MOVED)?.iter().all(Vec::is_empty) {
                return Ok(());
            }
        }
        Err(StoreError::Other("no free id for a record of a history".into()))
    }

    /// Returns the places of the records whose ids are taken, for each history.
    fn append_each(
        &self,
        server: &Server,
        histories: &[&(String, Vec<HistoryRecord>)],
        mode: &str,
    ) -> Result<Vec<Vec<usize>>, StoreError> {
        with_index(server, |index| {
            let written = server.write(
                &self.script,
                |form, pipeline| {
                    for (key, records) in histories.iter().copied() {
                        let key = (index.named)(key);
                        pipeline.add_command(self.command(form, mode, &key, records));
                    }
                },
                |form, pipeline| {
                    let life = longest(histories.iter().map(|(_, records)| life_of(records)));
                    let keys = histories.iter().map(|(key, _)| key.as_str());
                    index.add(form, pipeline, life, keys);
                },
            )?;
            Ok(written.saved.into_iter().map(places).collect())
        })
    }

    fn command(&self, form: Form, mode: &str, key: &str, records: &[HistoryRecord]) -> redis::Cmd {
        let ids: Vec<_> = records.iter().map(|record| digits(record.id)).collect();
        let ttl = life_of(records).unwrap_or(0).to_string();
        let mut args = vec![mode.as_bytes(), self.token.as_bytes(), ttl.as_bytes()];
        for (id, record) in ids.iter().zip(records) {
            args.extend([id.as_bytes(), &record.bytes]);
        }
        self.script.command(form, &[key.as_bytes()], &args)
    }
}

pub(super) fn load_newest(
    server: &Server,
    key: &str,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<HistoryRecord>, StoreError> {
    let newest = before.map_or_else(|| "+".to_owned(), |id| format!("({}", digits(id)));
    // A negative count means all.
    let limit = i64::try_from(limit).unwrap_or(-1);
    if limit == 0 {
        return Ok(Vec::new());
    }
    let members: Vec<Vec<u8>> = server.call(|connection| {
        redis::cmd("ZREVRANGEBYLEX")
            .arg(&[&*server.keys.history(key), &newest, "-", "LIMIT", "0"])
            .arg(limit)
            .query(connection)
    })?;
    Ok(members.iter().filter_map(|member| record(member)).collect())
}

pub(super) fn keys(
    server: &Server,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<String>, StoreError> {
    with_index(server, |index| {
        server.call(|connection| {
            let mut keys = Vec::new();
            let mut gone = Vec::new();
            let mut after = after.map(str::to_owned);
            while keys.len() < limit {
                let asked = (limit - keys.len()).min(PAGE);
                let members = index.page(connection, after.as_deref(), asked)?;
                let is_last = members.len() < asked;
                after = members.last().cloned();
                let mut pipeline = redis::pipe();
                for member in &members {
                    pipeline.cmd("EXISTS").arg((index.named)(member));
                }
                let exist: Vec<bool> =
                    if members.is_empty() { Vec::new() } else { pipeline.query(connection)? };
                for (member, exists) in members.into_iter().zip(exist) {
                    if exists { keys.push(member) } else { gone.push(member) }
                }
                if is_last {
                    break;
                }
            }
            index.try_remove_gone(connection, &gone)?;
            Ok(keys)
        })
    })
}

pub(super) fn trim(
    server: &Server,
    key: &str,
    older_than: u64,
    keep: usize,
) -> Result<(), StoreError> {
    let oldest = format!("({}", digits(older_than));
    // The rank of the newest record to remove, counted from the newest of all.
    let keep = i64::try_from(keep).unwrap_or(i64::MAX - 1);
    with_index(server, |index| {
        server.call(|connection| {
            let named = (index.named)(key);
            let (exists,): (bool,) = redis::pipe()
                .cmd("ZREMRANGEBYLEX")
                .arg(&[&*named, "-", &oldest])
                .ignore()
                .cmd("ZREMRANGEBYRANK")
                .arg(&named)
                .arg(0)
                .arg(-keep - 1)
                .ignore()
                .cmd("EXISTS")
                .arg(&named)
                .query(connection)?;
            if exists { Ok(()) } else { index.remove_gone(connection, &[key.to_owned()]) }
        })
    })
}

/// How long a history lives with these new records.
fn life_of(records: &[HistoryRecord]) -> Life {
    life(records.iter().filter_map(|record| record.ttl).max())
}

fn digits(id: u64) -> String {
    format!("{id:0DIGITS$}")
}

/// `None` for what this crate did not write.
fn record(member: &[u8]) -> Option<HistoryRecord> {
    let id = std::str::from_utf8(member.get(..DIGITS)?).ok()?.parse().ok()?;
    Some(HistoryRecord::new(id, member.get(DIGITS + TOKEN..)?))
}

fn places(reply: Value) -> Vec<usize> {
    let places: Vec<String> = from_redis_value(reply).unwrap_or_default();
    places.iter().filter_map(|place| place.parse().ok()).collect()
}

fn with_index<T>(server: &Server, job: impl FnOnce(&Index<'_>) -> T) -> T {
    let named = |key: &str| server.keys.history(key);
    job(&Index { key: &server.keys.history_index(), named: &named, add: &server.add })
}
