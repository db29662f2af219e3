//! The set of all keys of one kind: a shared server is never scanned for them.
//!
//! It is a sorted set whose members all have score 0, so that they are in the order of their bytes
//! and are read in pages. A key is added after what it names was written, and removed once that is
//! gone.

use redis::{ConnectionLike, Pipeline, RedisResult};

use super::failure::code;

/// The most members that one command reads.
pub(super) const PAGE: usize = 1024;

/// An index, and how its members become keys of what they name.
pub(super) struct Index<'a> {
    pub(super) key: &'a str,
    pub(super) named: &'a dyn Fn(&str) -> String,
}

impl Index<'_> {
    /// Adds members.
    pub(super) fn add<'a>(&self, pipeline: &mut Pipeline, members: impl Iterator<Item = &'a str>) {
        let mut command = redis::cmd("ZADD");
        command.arg(self.key);
        for member in members {
            command.arg("0").arg(member);
        }
        pipeline.add_command(command);
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

    /// The same for a reader, which may not be allowed to, or read a replica: the members remain.
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
            pipeline.cmd("EXISTS").arg((self.named)(member));
        }
        let exist: Vec<bool> = pipeline.query(connection)?;
        let mut there = members.iter().zip(exist).filter(|(_, exists)| *exists).peekable();
        if there.peek().is_none() {
            return Ok(());
        }
        let mut pipeline = redis::pipe();
        self.add(&mut pipeline, there.map(|(member, _)| member.as_str()));
        pipeline.exec(connection)
    }
}
