//! Values under keys.

use std::time::{Duration, Instant};

use redis::{Cmd, ConnectionLike, RedisResult, Value};

use super::{
    index::{GONE, Index, PAGE, life, longest as longest_of},
    index_life::IndexLife,
    kept::{Kept, LOOK, Stored},
    own::Own,
    script::{self, Form, Script},
    seen::{Seen, end},
    server::Server,
};
use crate::store::{entry::SaveEntry, error::StoreError};

/// What lives for less than this while something is saved may be gone by then.
const SAVE_TIME: Duration = Duration::from_secs(5);

/// Saves a snapshot whose state has not changed, unless another process has saved one that bars
/// calls, or was set by hand, for longer: that knows more than this one. The third argument is the
/// end of the one that this process has seen last, which may be replaced.
const SAVE_UNLESS_BARRED: &str = "\
local function ends(text)
  local is_json, snapshot = pcall(cjson.decode, text)
  if not is_json or type(snapshot) ~= 'table' then return 0 end
  local state = snapshot.state
  if state == 'open' then return tonumber(snapshot.open_until) or 0 end
  if state == 'forced_open' or state == 'disabled' or state == 'metrics_only' then
    return tonumber(snapshot.manual_until) or math.huge
  end
  return 0
end
local stored = redis.call('GET', KEYS[1])
if stored then
  local time = redis.call('TIME')
  local until_stored = ends(stored)
  if until_stored > tonumber(time[1]) + tonumber(time[2]) / 1000000
    and until_stored > ends(ARGV[1])
    and not (ARGV[3] ~= '' and string.sub(stored, -#ARGV[3]) == ARGV[3]) then
    return '0'
  end
end
if ARGV[2] == '0' then
  redis.call('SET', KEYS[1], ARGV[1])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return '1'";

/// Removes a value if it ends like this: another process may have replaced it.
const DELETE_IF_SAME: &str = "\
local stored = redis.call('GET', KEYS[1])
if stored and string.sub(stored, -#ARGV[1]) ~= ARGV[1] then return '0' end
redis.call('DEL', KEYS[1])
return '1'";

/// The values of a store.
pub(super) struct Values {
    unless_barred: Script,
    delete_if_same: Script,
    look: Script,
    seen: Seen,
    own: Own,
    kept: Kept,
    index: IndexLife,
}

impl Values {
    pub(super) fn new() -> Self {
        Self {
            unless_barred: Script::new(SAVE_UNLESS_BARRED),
            delete_if_same: Script::new(DELETE_IF_SAME),
            look: Script::new(LOOK),
            seen: Seen::default(),
            own: Own::default(),
            kept: Kept::default(),
            index: IndexLife::default(),
        }
    }

    pub(super) fn load(&self, server: &Server, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let named = server.keys.value(key);
        let value: Option<Vec<u8>> =
            server.call(|connection| redis::cmd("GET").arg(&named).query(connection))?;
        if let Some(value) = &value {
            self.seen.note(key, value);
            self.index.note_read(Instant::now());
        }
        Ok(value)
    }

    /// It does not count as having seen the values: most are not those of this process's breakers,
    /// and one that is restored from here saves a state that bars calls for as long.
    pub(super) fn load_page(
        server: &Server,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        with_index(server, |index| {
            server.call(|connection| read_page(connection, index, after, limit))
        })
    }

    pub(super) fn save(&self, server: &Server, entries: &[SaveEntry]) -> Result<(), StoreError> {
        let saved = self.save_in_parts(server, entries).and_then(|()| self.verify_kept(server));
        self.forget_kept_after(saved)
    }

    fn save_in_parts(&self, server: &Server, entries: &[SaveEntry]) -> Result<(), StoreError> {
        for entries in entries.chunks(PAGE) {
            let longest = longest_of(entries.iter().map(|entry| life(entry.ttl)));
            // The index lives for no less than what was saved before.
            let was_expected = self.index.is_expected(Instant::now() + SAVE_TIME);
            let written = with_index(server, |index| {
                server.write(
                    &self.unless_barred,
                    |form, pipeline| {
                        for entry in entries {
                            let key = (index.named)(&entry.key);
                            pipeline.add_command(self.command(form, &key, entry));
                        }
                    },
                    |form, pipeline| {
                        let keys = entries.iter().map(|entry| entry.key.as_str());
                        index.add(form, pipeline, longest, keys);
                    },
                )
            })?;
            let mut lives = Vec::new();
            for (entry, reply) in entries.iter().zip(written.saved) {
                if !is_refused(&reply) {
                    self.seen.note(&entry.key, &entry.value);
                    self.own.note(&entry.key, &entry.value);
                    self.kept.note(&entry.key, &entry.value, life(entry.ttl));
                    lives.push(life(entry.ttl));
                }
            }
            if !lives.is_empty() {
                self.index.note_saved(longest_of(lives.into_iter()), Instant::now());
            }
            if was_expected && !written.had_index {
                return Err(self.lose_index(server));
            }
        }
        Ok(())
    }

    /// Whether what was saved is still there.
    pub(super) fn verify(&self, server: &Server) -> Result<(), StoreError> {
        self.forget_kept_after(server.verify().and_then(|()| self.verify_kept(server)))
    }

    /// Whether what this process has saved forever, and the index, are still there, which is
    /// looked at now and then: neither is saved again before it expires, so nothing else would
    /// notice that the server has evicted it.
    fn verify_kept(&self, server: &Server) -> Result<(), StoreError> {
        if self.index.is_due(Instant::now()) {
            let index = server.keys.value_index();
            let left: i64 =
                server.call(|connection| redis::cmd("PTTL").arg(index).query(connection))?;
            if left == GONE && self.index.is_expected(Instant::now()) {
                return Err(self.lose_index(server));
            }
        }
        let Some(kept) = self.kept.due(Instant::now()) else { return Ok(()) };
        let mut lost = None;
        for kept in kept.chunks(PAGE) {
            let replies = server.call(|connection| {
                script::run(connection, |form, pipeline| {
                    for (key, end) in kept {
                        let key = server.keys.value(key);
                        pipeline.add_command(self.look.command(form, &[key.as_bytes()], &[end]));
                    }
                })
                .map_err(|error| self.look.name_what_is_denied(error))
            })?;
            let found: Vec<_> = replies.iter().map(found).collect();
            lost = lost.or(self.kept.conclude(kept, &found));
        }
        let lost = lost.map(|key| server.has_lost(&format!("{key:?} was evicted or deleted")));
        lost.map_or(Ok(()), Err)
    }

    /// After an outage, everything that is still valid is saved again. What is not may be gone
    /// without being missed.
    fn forget_kept_after(&self, result: Result<(), StoreError>) -> Result<(), StoreError> {
        if matches!(result, Err(StoreError::Unavailable(_))) {
            self.kept.forget_all();
        }
        result
    }

    fn lose_index(&self, server: &Server) -> StoreError {
        self.index.forget();
        server.lose("its index was evicted or deleted")
    }

    pub(super) fn delete(&self, server: &Server, keys: &[String]) -> Result<(), StoreError> {
        for keys in keys.chunks(PAGE) {
            with_index(server, |index| {
                server.call(|connection| {
                    let mut pipeline = redis::pipe();
                    for key in keys {
                        pipeline.cmd("DEL").arg((index.named)(key)).ignore();
                    }
                    pipeline.exec(connection)?;
                    index.remove_gone(connection, keys)
                })
            })?;
            for key in keys {
                self.forget(key);
            }
        }
        Ok(())
    }

    /// Removes those values that this process was the last to save.
    pub(super) fn discard(&self, server: &Server, keys: &[String]) -> Result<(), StoreError> {
        let known: Vec<_> = keys.iter().filter(|key| self.own.knows(key)).cloned().collect();
        for keys in known.chunks(PAGE) {
            with_index(server, |index| {
                server.call(|connection| {
                    let gone = self.delete_own(connection, index, keys)?;
                    index.remove_gone(connection, &gone)
                })
            })?;
            for key in keys {
                self.forget(key);
            }
        }
        Ok(())
    }

    /// Returns the keys under which nothing is left.
    fn delete_own(
        &self,
        connection: &mut dyn ConnectionLike,
        index: &Index<'_>,
        keys: &[String],
    ) -> RedisResult<Vec<String>> {
        let values = load_each(connection, index, keys)?;
        let (mut own, mut gone) = (Vec::new(), Vec::new());
        for (key, value) in keys.iter().zip(values) {
            match value {
                None => gone.push(key.clone()),
                Some(value) if self.own.is_last(key, &value) => own.push((key, value)),
                Some(_) => {}
            }
        }
        let replies = script::run(connection, |form, pipeline| {
            for (key, value) in &own {
                let key = (index.named)(key);
                let keys = [key.as_bytes()];
                pipeline.add_command(self.delete_if_same.command(form, &keys, &[end(value)]));
            }
        })
        .map_err(|error| self.delete_if_same.name_what_is_denied(error))?;
        let deleted = own.iter().zip(replies).filter(|(_, reply)| !is_refused(reply));
        gone.extend(deleted.map(|((key, _), _)| (*key).clone()));
        Ok(gone)
    }

    fn forget(&self, key: &str) {
        self.index.forget();
        self.seen.forget(key);
        self.own.forget(key);
        self.kept.forget(key);
    }

    fn command(&self, form: Form, key: &str, entry: &SaveEntry) -> Cmd {
        let ttl = life(entry.ttl).map(|ttl| ttl.to_string());
        if !entry.state_changed {
            let seen = self.seen.end_of(&entry.key);
            let ttl = ttl.as_deref().unwrap_or("0");
            let args = [&*entry.value, ttl.as_bytes(), &*seen];
            return self.unless_barred.command(form, &[key.as_bytes()], &args);
        }
        let mut command = redis::cmd("SET");
        command.arg(key).arg(&entry.value);
        if let Some(ttl) = ttl {
            command.arg("PX").arg(ttl);
        }
        command
    }
}

fn read_page(
    connection: &mut dyn ConnectionLike,
    index: &Index<'_>,
    after: Option<&str>,
    limit: usize,
) -> RedisResult<Vec<(String, Vec<u8>)>> {
    let (mut page, mut gone) = (Vec::new(), Vec::new());
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
    index.try_remove_gone(connection, &gone)?;
    Ok(page)
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

fn found(reply: &Value) -> Stored {
    let Value::BulkString(bytes) = reply else { return Stored::Same };
    Stored::from_reply(bytes)
}

/// Whether a script has changed nothing.
fn is_refused(reply: &Value) -> bool {
    matches!(reply, Value::BulkString(bytes) if bytes == b"0")
}

fn with_index<T>(server: &Server, job: impl FnOnce(&Index<'_>) -> T) -> T {
    let named = |key: &str| server.keys.value(key);
    job(&Index { key: &server.keys.value_index(), named: &named, add: &server.add })
}
