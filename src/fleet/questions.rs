//! Who is there, and what the replicas say about a breaker: what goes through the server for it.
//!
//! Nothing of it is kept. An operator's question is an entry of a short stream that all replicas
//! read, and each answers into a hash that expires.

use std::{collections::HashMap, time::Duration};

use redis::FromRedisValue as _;

use super::{
    protocol::record::Micros,
    transport::{Transport, micros},
    wire,
};
use crate::store::{
    StoreError,
    redis::{Script, run},
};

/// How long answers are kept for the replica that asked.
const ANSWERS_KEPT: Duration = Duration::from_secs(10);
/// About how many questions are kept for replicas that are late.
const QUESTIONS: usize = 100;

/// The replicas of a fleet, at this time of the server's.
pub(super) struct Present {
    pub(super) now: Micros,
    /// Each one's id, and when it was last heard of.
    pub(super) replicas: Vec<(String, Micros)>,
}

impl Transport {
    pub(super) fn replicas(&mut self) -> Result<Present, StoreError> {
        let script = Script::new(include_str!("redis/replicas.lua"));
        let Self { connection, keys, .. } = self;
        let reply = connection.call(|connection| {
            let replies = run(connection, |form, pipeline| {
                pipeline.add_command(script.command(form, &[keys.replicas().as_bytes()], &[]));
            })
            .map_err(|error| script.name_what_is_denied(error))?;
            let reply = replies.first().ok_or_else(|| wire::invalid("no answer"))?;
            Vec::<String>::from_redis_value_ref(reply).map_err(Into::into)
        });
        let reply = self.unless_broken(reply)?;
        let number = |text: &String| text.parse().unwrap_or(0);
        let now = reply.first().map_or(0, number);
        let pairs = reply.get(1..).unwrap_or_default().chunks_exact(2);
        let replicas = pairs.map(|pair| (pair[0].clone(), number(&pair[1]))).collect();
        Ok(Present { now, replicas })
    }

    /// The replica is no longer there.
    pub(super) fn leave(&mut self, id: &str) -> Result<(), StoreError> {
        let Self { connection, keys, .. } = self;
        let left = connection
            .call(|connection| redis::cmd("ZREM").arg(keys.replicas()).arg(id).exec(connection));
        self.unless_broken(left)
    }

    /// Asks all replicas about the breaker of this name.
    pub(super) fn ask(&mut self, question: u64, name: &str) -> Result<(), StoreError> {
        let Self { connection, keys, .. } = self;
        let asked = connection.call(|connection| {
            let mut command = redis::cmd("XADD");
            command.arg(keys.questions()).arg("MAXLEN").arg("~").arg(QUESTIONS).arg("*");
            command.arg("q").arg(wire::token(question)).arg("b").arg(name);
            command.exec(connection)
        });
        self.unless_broken(asked)
    }

    /// Answers a question. An empty text says that there is no such breaker here.
    pub(super) fn answer(&mut self, question: u64, id: &str, text: &str) -> Result<(), StoreError> {
        let Self { connection, keys, .. } = self;
        let key = keys.answers(question);
        let kept = micros(ANSWERS_KEPT) / 1000;
        let answered = connection.call(|connection| {
            let mut pipeline = redis::pipe();
            pipeline.cmd("HSET").arg(&key).arg(id).arg(text);
            pipeline.cmd("PEXPIRE").arg(&key).arg(kept);
            pipeline.exec(connection)
        });
        self.unless_broken(answered)
    }

    pub(super) fn count_answers(&mut self, question: u64) -> Result<usize, StoreError> {
        let Self { connection, keys, .. } = self;
        let key = keys.answers(question);
        let count = connection.call(|connection| redis::cmd("HLEN").arg(&key).query(connection));
        self.unless_broken(count)
    }

    pub(super) fn answers(&mut self, question: u64) -> Result<HashMap<String, String>, StoreError> {
        let Self { connection, keys, .. } = self;
        let key = keys.answers(question);
        let answers =
            connection.call(|connection| redis::cmd("HGETALL").arg(&key).query(connection));
        self.unless_broken(answers)
    }
}
