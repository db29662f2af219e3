//! What a replica asks of the server, and what the server answers.

use super::{
    fence::Fence,
    record::{Micros, Record},
};
use crate::state::State;

/// A request of one replica about one breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FleetCommand {
    /// The highest fence that the replica knows.
    pub(crate) seen: Fence,
    pub(crate) request: Request,
}

/// Times are what is left of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Request {
    /// Tells the server a record that it may not know, with what is left of its time, and asks for
    /// the newest.
    Join(Record),
    /// This replica has tripped.
    Vote { voter: Voter, token: u64, open_for: Micros, opens: u32, quorum: u32 },
    /// An operator has set a state. `Closed` is a reset.
    Set { token: u64, state: State, lasts: Option<Micros>, opens: u32 },
    /// Asks for the permission to make one probe at a time, or for more time for it.
    Lease { lease: u64, lasts: Micros, max: u32 },
    /// Gives a lease back.
    Release { lease: u64 },
    /// A probe has ended with a result.
    Result(ProbeResult),
    /// A probe of this replica, made while it was alone, has closed a circuit that is half-open in
    /// the state it has seen.
    Recovered { token: u64 },
    /// The state that the replica has seen has no more than this left, by the replica's clock. The
    /// server's has gone back or ahead.
    Limit { left: Micros },
}

/// Whose vote it is. Those of one replica count once; each breaker takes back its own alone, since
/// another of the same name may live in the replica, or in its successor under the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Voter {
    pub(crate) replica: u64,
    pub(crate) breaker: u64,
}

#[cfg(test)]
impl Voter {
    /// That of the only breaker of this replica.
    pub(crate) const fn of(replica: u64) -> Self {
        Self { replica, breaker: 1 }
    }
}

/// The result of a probe under a lease, and by what it is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ProbeResult {
    pub(crate) token: u64,
    pub(crate) lease: u64,
    /// The results under a lease are numbered. One that is sent again, because its answer was lost,
    /// must not count twice.
    pub(crate) serial: u64,
    pub(crate) verdict: Verdict,
    /// The number of results that decides.
    pub(crate) needed: u32,
    /// The share of bad results, in millionths, at which the circuit opens again. Without it, one
    /// bad result suffices.
    pub(crate) rate: Option<u32>,
    /// If it opens again: for how long, and the step of the backoff.
    pub(crate) open_for: Micros,
    pub(crate) opens: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Verdict {
    Good,
    Bad,
    /// It took too long: the circuit opens, whatever other probes say.
    TimedOut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Answer {
    pub(crate) status: Status,
    /// The state that the server has now, with times on its clock. [`Record::NONE`] if it has none.
    pub(crate) record: Record,
    /// The server's time.
    pub(crate) now: Micros,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Status {
    /// The command is carried out, and the record is the state that follows.
    Done,
    /// The lease is granted or renewed. Other replicas may want it more than one that does not use
    /// it.
    Granted { is_wanted: bool },
    /// The vote or the result is counted, and decides nothing yet.
    Counted,
    /// The server has a newer state than the caller has seen. Nothing was changed.
    Stale,
    /// The server has forgotten the state that the command is about. Nothing was changed.
    Behind,
    /// There is no lease until then, by the server's clock.
    Denied { until: Micros },
    /// The lease has expired, or the circuit is not half-open. Nothing was changed.
    Void,
    /// The command arrived after its deadline. Nothing was changed.
    Late,
}
