//! The set of all keys of one kind: a shared server is never scanned for them.
//!
//! It is a sorted set whose members all have score 0, so that they are in the order of their bytes
//! and are read in pages. A key is added after what it names was written, and removed once that is
//! gone. The set itself expires with the last of what it names, so that nothing is left of an
//! instance or a service that is given up.

use std::time::Duration;

use redis::{ConnectionLike, Pipeline, RedisResult, Value};

use super::{
    failure::code,
    script::{self, Form, Script},
};

/// The most members that one command reads.
pub(super) const PAGE: usize = 1024;

/// What lives longer does not expire: Redis refuses times that are too far away.
const LONGEST_TTL: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// What `PTTL` says of a key that is not there.
pub(super) const GONE: i64 = -2;

/// Adds members, none of which lives for longer than the first argument says, in milliseconds; 0:
/// forever. The set lives for as long as what it names. Returns 2 if it was not there.
const ADD: &str = "\
local left, ttl = redis.call('PTTL', KEYS[1]), tonumber(ARGV[1])
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], '0', ARGV[i]) end
if ttl == 0 then
  if left >= 0 then redis.call('PERSIST', KEYS[1]) end
elseif left == -2 or (left >= 0 and left < ttl) then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
if left == -2 then return '2' end
return '1'";

/// How long something lives, in milliseconds; `None` forever.
pub(super) type Life = Option<u64>;

pub(super) fn life(ttl: Option<Duration>) -> Life {
    // Redis refuses zero.
    let ttl = ttl.filter(|ttl| *ttl < LONGEST_TTL)?.as_millis().max(1);
    u64::try_from(ttl).ok()
}

/// The longest of these.
pub(super) fn longest(mut lives: impl Iterator<Item = Life>) -> Life {
    lives.try_fold(1, |longest, life| Some(longest.max(life?)))
}

/// The script that adds members.
pub(super) fn add_script() -> Script {
    Script::new(ADD)
}

/// Whether the reply to an addition says that the set was not there.
pub(super) fn says_it_was_gone(reply: &Value) -> bool {
    matches!(reply, Value::BulkString(bytes) if bytes == b"2")
}

/// An index, and how its members become keys of what they name.
pub(super) struct Index<'a> {
    pub(super) key: &'a str,
    pub(super) named: &'a dyn Fn(&str) -> String,
    pub(super) add: &'a Script,
}

impl Index<'_> {
    /// Adds members, none of which lives for longer than this.
    pub(super) fn add<'a>(
        &self,
        form: Form,
        pipeline: &mut Pipeline,
        life: Life,
        members: impl Iterator<Item = &'a str>,
    ) {
        let life = life.unwrap_or(0).to_string();
        let mut arguments = vec![life.as_bytes()];
        for member in members {
            arguments.push(member.as_bytes());
        }
        pipeline.add_command(self.add.command(form, &[self.key.as_bytes()], &arguments));
    }

    /// The members after this one, up to a limit.
    pub(super) fn page(
        &self,
        connection: &mut dyn ConnectionLike,
        after: Option<&str>,
        limit: usize,
    ) -> RedisResult<Vec<String>> {
        let start = after.map_or_else(|| "-".to_owned(), |after| format!("({after}"));
        redis::cmd("ZRANGEBYLEX")
            .arg(&[self.key, &start, "+", "LIMIT", "0"])
            .arg(limit.min(PAGE))
            .query(connection)
    }

    /// [Removes](Self::remove_gone) them for a reader, which may not be allowed to, or read a
    /// replica: then the members remain.
    pub(super) fn try_remove_gone(
        &self,
        connection: &mut dyn ConnectionLike,
        members: &[String],
    ) -> RedisResult<()> {
        match self.remove_gone(connection, members) {
            Err(error) if matches!(code(&error), Some("NOPERM" | "READONLY")) => Ok(()),
            result => result,
        }
    }

    /// Removes members whose keys are gone.
    ///
    /// Another process may write such a key at the same time. It writes the key first and adds the
    /// member after that; here, the member is removed first, and the key looked for after that. So
    /// whichever comes later adds the member.
    pub(super) fn remove_gone(
        &self,
        connection: &mut dyn ConnectionLike,
        members: &[String],
    ) -> RedisResult<()> {
        if members.is_empty() {
            return Ok(());
        }
        // By itself: in a cluster, the keys may be on other nodes, which do not wait for this one.
        redis::cmd("ZREM").arg(self.key).arg(members).exec(connection)?;
        let mut pipeline = redis::pipe();
        for member in members {
            pipeline.cmd("PTTL").arg((self.named)(member));
        }
        let left: Vec<i64> = pipeline.query(connection)?;
        let there: Vec<_> = members.iter().zip(left).filter(|(_, left)| *left != GONE).collect();
        if there.is_empty() {
            return Ok(());
        }
        // Negative: forever.
        let life = longest(there.iter().map(|(_, left)| u64::try_from(*left).ok()));
        script::run(connection, |form, pipeline| {
            self.add(form, pipeline, life, there.iter().map(|(member, _)| member.as_str()));
        })
        .map_err(|error| self.add.name_what_is_denied(error))
        .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lives_for_ever_lives_longest() {
        let lives = |lives: &[Life]| longest(lives.iter().copied());
        assert_eq!(lives(&[Some(3), Some(7), Some(5)]), Some(7));
        assert_eq!(lives(&[Some(3), None, Some(5)]), None);
        assert_eq!(life(Some(Duration::ZERO)), Some(1));
        assert_eq!(life(Some(Duration::MAX)), None);
        assert_eq!(life(None), None);
    }
}
