use serde::Serialize;

/// What is counted of the calls of a breaker for [metrics](crate::Config::call_metrics). In files,
/// `"off"`, `"counts"` or `"durations"`.
///
/// Without the feature `metrics`, nothing is counted whatever this says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CallMetrics {
    /// Nothing is counted, and nothing reported.
    Off,
    /// Calls are counted.
    #[default]
    Counts,
    /// Calls are counted and measured: the histogram `circuit_breaker_call_duration_seconds` has
    /// the duration of each call. This needs the time twice a call, takes a read-modify-write on a
    /// counter that all threads share, and up to 20 KiB a breaker.
    Durations,
}

impl CallMetrics {
    const ALL: [(&'static str, Self); 3] =
        [("off", Self::Off), ("counts", Self::Counts), ("durations", Self::Durations)];

    pub(super) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, it)| it)
    }

    pub(super) const fn names() -> [&'static str; 3] {
        [Self::ALL[0].0, Self::ALL[1].0, Self::ALL[2].0]
    }
}
