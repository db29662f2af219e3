//! Commands and answers as the scripts read and write them.

use std::sync::Arc;

use redis::{FromRedisValue as _, RedisResult, Value};

use super::{
    protocol::{
        command::{Answer, FleetCommand, Request, Status, Verdict, Voter},
        fence::Fence,
        record::{Micros, Record},
    },
    remark_text,
};
use crate::{manual::Remark, state::State};

/// The name of a command, and what it needs. A state that was set by hand takes with it what was
/// said about that.
pub(super) fn arguments(
    command: &FleetCommand,
    remark: Option<&Remark>,
) -> (&'static str, Vec<String>) {
    let said = || remark.map_or(String::new(), remark_text::write);
    let optional =
        |number: Option<Micros>| number.map_or(String::new(), |number| number.to_string());
    match command.request {
        Request::Join(record) => {
            let Record { fence, state, until, opens, by_hand } = record;
            let arguments = vec![
                fence.number.to_string(),
                token(fence.token),
                state.as_str().to_owned(),
                optional(until),
                opens.to_string(),
                u8::from(by_hand).to_string(),
                said(),
            ];
            ("join", arguments)
        }
        Request::Vote { voter, token: fresh, open_for, opens, quorum } => {
            let numbers = [open_for.to_string(), opens.to_string(), quorum.to_string()];
            let Voter { replica, breaker } = voter;
            let voter = format!("{}:{}", token(replica), token(breaker));
            ("vote", [voter, token(fresh)].into_iter().chain(numbers).collect())
        }
        Request::Set { token: fresh, state, lasts, opens } => {
            let state = state.as_str().to_owned();
            ("set", vec![token(fresh), state, optional(lasts), opens.to_string(), said()])
        }
        Request::Lease { lease, lasts, max } => {
            ("lease", vec![token(lease), lasts.to_string(), max.to_string()])
        }
        Request::Recovered { token: fresh } => ("recovered", vec![token(fresh)]),
        Request::Release { lease } => ("release", vec![token(lease)]),
        Request::Limit { left } => ("limit", vec![left.to_string()]),
        Request::Result(result) => {
            let verdict = match result.verdict {
                Verdict::Good => "good",
                Verdict::Bad => "bad",
                Verdict::TimedOut => "timed_out",
            };
            let arguments = vec![
                token(result.token),
                token(result.lease),
                verdict.to_owned(),
                result.needed.to_string(),
                optional(result.rate.map(Micros::from)),
                result.open_for.to_string(),
                result.opens.to_string(),
                result.serial.to_string(),
            ];
            ("result", arguments)
        }
    }
}

/// A token as text, always with all of its digits.
pub(super) fn token(token: u64) -> String {
    format!("{token:016x}")
}

/// An answer, and what was said about the state in it.
pub(super) type ReplyWithRemark = (Answer, Option<Arc<Remark>>);

/// Reads the reply of the script.
pub(super) fn answer(reply: &Value) -> RedisResult<ReplyWithRemark> {
    let fields = Vec::<String>::from_redis_value_ref(reply)?;
    parse_answer(&fields).ok_or_else(|| invalid("the answer of a fleet's script"))
}

fn parse_answer(fields: &[String]) -> Option<ReplyWithRemark> {
    let [status, time, now, record @ ..] = fields else { return None };
    let time = time.parse().ok()?;
    let status = match status.as_str() {
        "done" => Status::Done,
        "granted" => Status::Granted { is_wanted: time == 1 },
        "counted" => Status::Counted,
        "stale" => Status::Stale,
        "behind" => Status::Behind,
        "denied" => Status::Denied { until: time },
        "void" => Status::Void,
        "late" => Status::Late,
        _ => return None,
    };
    let [number, token, state, until, opens, by_hand, remark] = record else { return None };
    let record = parse_record([number, token, state, until, opens, by_hand])?;
    Some((Answer { status, record, now: now.parse().ok()? }, remark_text::read(remark)))
}

/// Reads a record: its number, token, state, end, step of the backoff, and 1 if it was set by hand.
pub(super) fn parse_record(
    [number, token, state, until, opens, by_hand]: [&str; 6],
) -> Option<Record> {
    let fence = Fence { number: number.parse().ok()?, token: u64::from_str_radix(token, 16).ok()? };
    let state = match state {
        "closed" => State::Closed,
        "open" => State::Open,
        "forced_open" => State::ForcedOpen,
        "disabled" => State::Disabled,
        "metrics_only" => State::MetricsOnly,
        _ => return None,
    };
    let until = Some(until.parse().ok()?).filter(|until| *until != 0);
    Some(Record { fence, state, until, opens: opens.parse().ok()?, by_hand: by_hand == "1" })
}

pub(super) fn invalid(what: &'static str) -> redis::RedisError {
    (redis::ErrorKind::UnexpectedReturnType, what).into()
}
