use crate::{FAIL, HEALTHY, Seen};

/// A rule, and the calls that the breaker receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Opens after five consecutive failures; no call fails.
    Consecutive,
    /// Opens when half of the last 100 calls have failed; no call fails.
    CountWindow,
    /// The same rule; every tenth call fails.
    OneInTen,
    /// Opens when half of the last 100 calls took longer than a second; no call does.
    SlowCalls,
    /// Opens when half of the calls of the last ten seconds have failed; no call fails.
    TimeWindow,
    /// The circuit is open.
    Open,
}

impl Scenario {
    /// All scenarios, in the order of the table.
    pub const ALL: [Self; 6] = [
        Self::Consecutive,
        Self::CountWindow,
        Self::OneInTen,
        Self::SlowCalls,
        Self::TimeWindow,
        Self::Open,
    ];

    /// The title in the table.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Consecutive => "closed, healthy, 5 consecutive failures",
            Self::CountWindow => "closed, healthy, count window of 100",
            Self::OneInTen => "closed, one call in ten failing, count window of 100",
            Self::SlowCalls => "closed, healthy, slow-call rule",
            Self::TimeWindow => "closed, healthy, time window of 10 s",
            Self::Open => "open, rejected as an error",
        }
    }

    /// The name on the command line.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Consecutive => "consecutive",
            Self::CountWindow => "count",
            Self::OneInTen => "one-in-ten",
            Self::SlowCalls => "slow",
            Self::TimeWindow => "time",
            Self::Open => "open",
        }
    }

    /// Ten requests, made repeatedly.
    #[must_use]
    pub const fn requests(self) -> [u64; 10] {
        let mut requests = [HEALTHY; 10];
        if let Self::OneInTen = self {
            requests[9] = FAIL;
        }
        requests
    }

    /// The expected results of ten requests through a breaker, `times` times.
    #[must_use]
    pub const fn expected(self, times: u64) -> Seen {
        match self {
            Self::OneInTen => Seen { answered: 9 * times, failed: times, rejected: 0 },
            Self::Open => Seen { answered: 0, failed: 0, rejected: 10 * times },
            _ => Seen { answered: 10 * times, failed: 0, rejected: 0 },
        }
    }

    /// The expected results without a breaker.
    #[must_use]
    pub const fn expected_bare(self, times: u64) -> Seen {
        match self {
            Self::Open => Self::Consecutive.expected(times),
            _ => self.expected(times),
        }
    }
}
