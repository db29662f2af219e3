use crate::{FAIL, HEALTHY, Seen};

/// What a breaker is set to, and what it meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Opens at five failures in a row; none fails.
    Consecutive,
    /// Opens at half of the last 100 calls; none fails.
    CountWindow,
    /// The same, and every tenth call fails.
    OneInTen,
    /// Opens when half of the last 100 calls took longer than a second; none does.
    SlowCalls,
    /// Opens at half of the calls of the last ten seconds; none fails.
    TimeWindow,
    /// The circuit is open.
    Open,
}

impl Scenario {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 6] = [
        Self::Consecutive,
        Self::CountWindow,
        Self::OneInTen,
        Self::SlowCalls,
        Self::TimeWindow,
        Self::Open,
    ];

    /// In the table.
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

    /// On a command line.
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

    /// Ten requests, to be made again and again.
    #[must_use]
    pub const fn requests(self) -> [u64; 10] {
        let mut requests = [HEALTHY; 10];
        if let Self::OneInTen = self {
            requests[9] = FAIL;
        }
        requests
    }

    /// What must come of ten requests behind a breaker, `times` times.
    #[must_use]
    pub const fn expected(self, times: u64) -> Seen {
        match self {
            Self::OneInTen => Seen { answered: 9 * times, failed: times, rejected: 0 },
            Self::Open => Seen { answered: 0, failed: 0, rejected: 10 * times },
            _ => Seen { answered: 10 * times, failed: 0, rejected: 0 },
        }
    }

    /// The same without a breaker.
    #[must_use]
    pub const fn expected_bare(self, times: u64) -> Seen {
        match self {
            Self::Open => Self::Consecutive.expected(times),
            _ => self.expected(times),
        }
    }
}
