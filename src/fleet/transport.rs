//! Commands to the server, on a connection of the fleet's thread.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use redis::{ConnectionLike, FromRedisValue as _, RedisError, RedisResult};

use super::{
    keys::Keys,
    pace::Pace,
    protocol::{command::FleetCommand, record::Micros},
    replica::{KEPT, PRESENCE},
    wire::{self, ReplyWithRemark},
};
use crate::{
    manual::Remark,
    store::{
        StoreError,
        redis::{Connection, Connector, Script, error_code, run, run_calls},
    },
};

/// A command about the breaker of this name.
pub(super) struct Addressed<'a> {
    pub(super) name: &'a str,
    pub(super) command: FleetCommand,
    /// What was said about the state in it.
    pub(super) remark: Option<Arc<Remark>>,
}

pub(super) struct Transport {
    pub(super) connection: Connection,
    pub(super) keys: Keys,
    command: Script,
    beat: Script,
    pub(super) timeout: Duration,
    pub(super) pace: Pace,
    /// How often commands about breakers were sent.
    #[cfg(test)]
    pub(super) round_trips: u64,
    /// The server's time, and when it was told.
    clock: Option<(Micros, Instant)>,
}

/// What a server says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Beat {
    /// The server's time.
    pub(super) now: Micros,
    /// Differs once the server has lost everything.
    pub(super) memory: String,
    /// The number of the newest news.
    pub(super) news: u64,
    /// How many replicas are present.
    pub(super) replicas: u64,
}

impl Transport {
    pub(super) fn new(connector: Arc<Connector>, keys: Keys, timeout: Duration) -> Self {
        Self {
            connection: Connection::beside(connector, keys.shard()),
            keys,
            command: Script::new(include_str!("redis/command.lua")),
            beat: Script::new(include_str!("redis/beat.lua")),
            timeout,
            pace: Pace::new(),
            #[cfg(test)]
            round_trips: 0,
            clock: None,
        }
    }

    /// How long until another attempt to connect makes sense.
    pub(super) fn pause(&self) -> Duration {
        self.connection.pause()
    }

    /// Says that the replica of this id is there.
    pub(super) fn beat(&mut self, id: &str) -> Result<Beat, StoreError> {
        let (script, keys) = (&self.beat, &self.keys);
        let fresh = wire::token(fastrand::u64(..));
        let times = [PRESENCE, KEPT].map(|time| micros(time).to_string());
        let reply = self.connection.call(|connection| {
            let replies = run(connection, |form, pipeline| {
                let keys = [keys.shard(), keys.replicas(), keys.news(), keys.questions()];
                let keys = keys.map(str::as_bytes);
                let arguments = [&*fresh, id, &*times[0], &*times[1]].map(str::as_bytes);
                pipeline.add_command(script.command(form, &keys, &arguments));
            })
            .map_err(|error| script.name_what_is_denied(error))?;
            let reply = replies.first().ok_or_else(|| wire::invalid("no answer"))?;
            <(Micros, String, u64, u64)>::from_redis_value_ref(reply).map_err(Into::into)
        });
        let (now, memory, news, replicas) = self.unless_broken(reply)?;
        self.clock = Some((now, Instant::now()));
        Ok(Beat { now, memory, news, replicas })
    }

    #[cfg(test)]
    pub(super) fn call(
        &mut self,
        name: &str,
        command: FleetCommand,
    ) -> Result<super::protocol::command::Answer, StoreError> {
        let answer = self.call_all(&[Addressed { name, command, remark: None }])?.pop();
        answer.ok_or_else(|| StoreError::Other("no answer".into()))?.map(|(answer, _)| answer)
    }

    /// Sends commands at once. The answers are in their order; the error of a single one is that of
    /// the breaker's own key, which holds what this fleet has not written.
    pub(super) fn call_all(
        &mut self,
        commands: &[Addressed<'_>],
    ) -> Result<Vec<Result<ReplyWithRemark, StoreError>>, StoreError> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        #[cfg(test)]
        {
            self.round_trips += 1;
        }
        let (deadline, sent_at) = (self.deadline().to_string(), Instant::now());
        let (script, keys) = (&self.command, &self.keys);
        let answers =
            self.connection.call(|connection| send(connection, script, keys, &deadline, commands));
        let answers = self.unless_broken(answers)?;
        self.pace.record(commands.len(), sent_at.elapsed());
        if let Some((last, _)) = answers.iter().flatten().last() {
            self.clock = Some((last.now, Instant::now()));
        }
        Ok(answers)
    }

    /// Until when the answers are waited for, by the server's clock; 0 while that is not known.
    pub(super) fn deadline(&self) -> Micros {
        let Some((then, told)) = self.clock else { return 0 };
        then + micros(told.elapsed()) + micros(self.timeout)
    }

    /// Pretends that the server said this time so long ago.
    #[cfg(test)]
    pub(super) fn pretend_told(&mut self, now: Micros, ago: Duration) {
        self.clock = Some((now, Instant::now().checked_sub(ago).unwrap()));
    }

    /// After an error it may be another server.
    pub(super) fn unless_broken<T>(
        &mut self,
        result: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if result.is_err() {
            (self.clock, self.pace) = (None, Pace::new());
        }
        result
    }
}

fn send(
    connection: &mut dyn ConnectionLike,
    script: &Script,
    keys: &Keys,
    deadline: &str,
    commands: &[Addressed<'_>],
) -> RedisResult<Vec<Result<ReplyWithRemark, StoreError>>> {
    let replies = run_calls(connection, commands, |form, Addressed { name, command, remark }| {
        let breaker = keys.breaker(name);
        let keys: [&[u8]; 3] =
            [breaker.as_bytes(), keys.shard().as_bytes(), keys.news().as_bytes()];
        let (kind, rest) = wire::arguments(command, remark.as_deref());
        let (number, token) = (command.seen.number.to_string(), wire::token(command.seen.token));
        let first = [kind, deadline, &number, &token, name].map(str::as_bytes);
        let arguments: Vec<&[u8]> =
            first.into_iter().chain(rest.iter().map(String::as_bytes)).collect();
        script.command(form, &keys, &arguments)
    })?;
    let answers = replies.into_iter().map(|reply| match reply.extract_error() {
        Ok(reply) => Ok(wire::answer(&reply).map_err(corrupt)),
        Err(error) if is_of_one_key(&error) => Ok(Err(corrupt(error))),
        Err(error) => Err(script.name_what_is_denied(error)),
    });
    answers.collect()
}

/// Whether the script failed on what the key holds, and not because an administrator has killed it.
pub(super) fn is_of_one_key(error: &RedisError) -> bool {
    match error_code(error) {
        Some("WRONGTYPE") => true,
        Some("ERR") => !error.to_string().contains("killed by user"),
        _ => false,
    }
}

fn corrupt(error: RedisError) -> StoreError {
    StoreError::Corrupt(error.into())
}

pub(super) fn micros(duration: Duration) -> Micros {
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}
