//! The counts of breakers on their way to the server.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use redis::{FromRedisValue as _, RedisError, Value};

use super::{
    protocol::{
        counts::{RuleKey, Tally},
        fence::Fence,
        record::Micros,
    },
    transport::{Transport, micros},
    wire,
};
use crate::store::{
    StoreError,
    redis::{Script, run},
};

/// How long calls that were counted wait for others, to be sent together.
const INTERVAL: Duration = Duration::from_millis(100);

/// The breakers whose calls were counted since their counts were last sent.
#[derive(Default)]
pub(super) struct Counting {
    ids: BTreeSet<u64>,
    due: Option<Instant>,
}

impl Counting {
    pub(super) fn add(&mut self, id: u64) {
        self.ids.insert(id);
        self.due.get_or_insert_with(|| Instant::now() + INTERVAL);
    }

    pub(super) fn next_moment(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn take(&mut self) -> Vec<u64> {
        self.due = None;
        std::mem::take(&mut self.ids).into_iter().collect()
    }
}

/// What was counted of one breaker.
pub(super) struct Batch<'a> {
    pub(super) name: &'a str,
    pub(super) seen: Fence,
    pub(super) rules: &'a [(RuleKey, Tally)],
}

/// What the server says to a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Counted {
    /// What all replicas have counted, for each rule, and when the server began to count.
    Sums { begun: Micros, sums: Vec<Tally> },
    /// It came too late.
    Late,
    /// It belongs to another state than the server's.
    Stale,
    /// The key holds something else.
    Broken,
}

impl Transport {
    /// Sends batches at once. The answers, in their order, and the server's time.
    pub(super) fn count(
        &mut self,
        batches: &[Batch<'_>],
    ) -> Result<(Vec<Counted>, Micros), StoreError> {
        let script = Script::new(include_str!("redis/counts.lua"));
        let windows = batches.iter().flat_map(|batch| batch.rules).map(|(rule, _)| rule.window);
        let kept = windows.max().unwrap_or_default() / 1000 + micros(2 * INTERVAL) / 1000;
        let mut arguments = vec![self.deadline().to_string(), kept.to_string()];
        let mut names = Vec::new();
        for Batch { name, seen, rules } in batches {
            names.extend([self.keys.breaker(name), self.keys.counts(name)]);
            arguments.extend([seen.number.to_string(), wire::token(seen.token)]);
            arguments.push(rules.len().to_string());
            for (rule, Tally { calls, bad }) in *rules {
                arguments.push(rule.name());
                arguments.extend([rule.width(), *calls, *bad].map(|number| number.to_string()));
            }
        }
        let names: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
        let arguments: Vec<&[u8]> = arguments.iter().map(String::as_bytes).collect();
        let answers = self.connection.call(|connection| {
            // Alone in its pipeline, so it is not executed twice.
            let replies = run(connection, |form, pipeline| {
                pipeline.add_command(script.command(form, &names, &arguments));
            })
            .map_err(|error| script.name_what_is_denied(error))?;
            let reply = replies.first().ok_or_else(|| wire::invalid("no answer"))?;
            let (now, answers) = <(Micros, Vec<Value>)>::from_redis_value_ref(reply)?;
            let answers: Result<Vec<Counted>, RedisError> = answers.iter().map(parse).collect();
            answers.map(|answers| (answers, now))
        });
        self.unless_broken(answers)
    }
}

fn parse(answer: &Value) -> Result<Counted, RedisError> {
    let fields = Vec::<String>::from_redis_value_ref(answer)?;
    let invalid = || wire::invalid("the counts of a fleet's script");
    let (status, sums) = fields.split_first().ok_or_else(invalid)?;
    match status.as_str() {
        "counted" => {
            let numbers: Result<Vec<u64>, _> = sums.iter().map(|sum| sum.parse()).collect();
            let numbers = numbers.map_err(|_| invalid())?;
            let (begun, sums) = numbers.split_first().ok_or_else(invalid)?;
            if sums.len() % 2 != 0 {
                return Err(invalid());
            }
            let sums = sums.chunks_exact(2).map(|sum| Tally { calls: sum[0], bad: sum[1] });
            Ok(Counted::Sums { begun: *begun, sums: sums.collect() })
        }
        "late" => Ok(Counted::Late),
        "stale" => Ok(Counted::Stale),
        "broken" => Ok(Counted::Broken),
        _ => Err(invalid()),
    }
}
