use std::fmt;

use serde::{Deserialize, Serialize};

/// The state of a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum State {
    /// Calls go through and are recorded.
    Closed,
    /// Calls are rejected until the open time is over.
    Open,
    /// A few calls go through as probes; the others are rejected.
    HalfOpen,
    /// Calls are rejected. Set by hand, for a time or until it is changed by hand.
    ForcedOpen,
    /// Calls go through and are not recorded. Set by hand.
    Disabled,
    /// Calls go through and are recorded, and nothing opens the circuit. Set by hand.
    MetricsOnly,
}

impl State {
    /// The name of this state in snapshots, logs and metrics: `half_open`, for instance.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::ForcedOpen => "forced_open",
            Self::Disabled => "disabled",
            Self::MetricsOnly => "metrics_only",
        }
    }

    /// Whether the state is set by hand. It stays for the time that was given with it, or until it
    /// is changed by hand.
    #[must_use]
    pub const fn is_manual(self) -> bool {
        matches!(self, Self::ForcedOpen | Self::Disabled | Self::MetricsOnly)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
