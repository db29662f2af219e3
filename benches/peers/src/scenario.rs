use std::time::Duration;

use crate::{FAIL, HEALTHY, SLOW, SLOWER_THAN, Seen};

/// How many requests are made in a row; a measurement repeats them.
pub const PATTERN: usize = 1000;

/// The requests of a scenario.
pub type Requests = [u64; PATTERN];

/// When the breaker opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// After five consecutive failures.
    Consecutive,
    /// When half of the last 100 calls have failed.
    CountWindow,
    /// When half of the last 100 calls were slow.
    SlowCalls,
    /// When half of the calls of the last ten seconds have failed.
    TimeWindow,
}

/// A rule, and the calls that the breaker receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenario {
    /// The rule.
    pub rule: Rule,
    /// One in this many calls fails, or is slow; 0 if none is.
    one_in: usize,
    /// Whether the circuit is open.
    pub open: bool,
    /// The title in the table.
    pub title: &'static str,
    /// The name on the command line.
    pub key: &'static str,
}

const fn closed(rule: Rule, one_in: usize, key: &'static str, title: &'static str) -> Scenario {
    Scenario { rule, one_in, open: false, title, key }
}

impl Scenario {
    /// A count window, and no call fails.
    pub const COUNT: Self =
        closed(Rule::CountWindow, 0, "count", "closed, healthy, count window of 100");

    /// All scenarios, in the order of the table.
    pub const ALL: [Self; 14] = [
        closed(Rule::Consecutive, 0, "consecutive", "closed, healthy, 5 consecutive failures"),
        closed(Rule::Consecutive, 1000, "consecutive-1-in-1000", "the same, 1 in 1,000 failing"),
        closed(Rule::Consecutive, 100, "consecutive-1-in-100", "the same, 1 in 100 failing"),
        closed(Rule::Consecutive, 10, "consecutive-1-in-10", "the same, 1 in 10 failing"),
        Self::COUNT,
        closed(Rule::CountWindow, 1000, "count-1-in-1000", "the same, 1 in 1,000 failing"),
        closed(Rule::CountWindow, 100, "count-1-in-100", "the same, 1 in 100 failing"),
        closed(Rule::CountWindow, 10, "count-1-in-10", "the same, 1 in 10 failing"),
        closed(Rule::TimeWindow, 0, "time", "closed, healthy, time window of 10 s"),
        closed(Rule::TimeWindow, 1000, "time-1-in-1000", "the same, 1 in 1,000 failing"),
        closed(Rule::TimeWindow, 100, "time-1-in-100", "the same, 1 in 100 failing"),
        closed(Rule::SlowCalls, 0, "slow", "closed, healthy, slow-call rule"),
        closed(Rule::SlowCalls, 100, "slow-1-in-100", "the same, 1 in 100 slow"),
        Self {
            rule: Rule::Consecutive,
            one_in: 0,
            open: true,
            title: "open, rejected as an error",
            key: "open",
        },
    ];

    /// What takes longer is a slow call. Where none is slow on purpose, none is by chance: a thread
    /// that loses its processor for a moment must not make another scenario of it.
    #[must_use]
    pub const fn slower_than(self) -> Duration {
        if self.one_in == 0 { Duration::from_secs(60) } else { SLOWER_THAN }
    }

    /// The requests, made repeatedly.
    #[must_use]
    pub const fn requests(self) -> Requests {
        let mut requests = [HEALTHY; PATTERN];
        if self.one_in > 0 {
            let mut last = self.one_in;
            while last <= PATTERN {
                requests[last - 1] = if self.has_slow_calls() { SLOW } else { FAIL };
                last += self.one_in;
            }
        }
        requests
    }

    const fn has_slow_calls(self) -> bool {
        matches!(self.rule, Rule::SlowCalls)
    }

    /// The expected results of the requests through a breaker, made `times` times.
    #[must_use]
    pub const fn expected(self, times: u64) -> Seen {
        let all = times * PATTERN as u64;
        if self.open {
            return Seen { answered: 0, failed: 0, rejected: all };
        }
        if self.one_in == 0 || self.has_slow_calls() {
            return Seen { answered: all, failed: 0, rejected: 0 };
        }
        let failed = all / self.one_in as u64;
        Seen { answered: all - failed, failed, rejected: 0 }
    }

    /// The expected results without a breaker.
    #[must_use]
    pub const fn expected_bare(self, times: u64) -> Seen {
        Self { open: false, ..self }.expected(times)
    }
}
