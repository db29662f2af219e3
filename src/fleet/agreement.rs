//! How many replicas must have tripped before all open.

/// How many replicas of a fleet must have tripped before the circuit of all opens.
///
/// A replica that tripped is open at once in any case. Its vote counts for as long as its own open
/// time runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreement {
    replicas: u32,
}

impl Agreement {
    /// One replica opens the circuit of all. The default.
    #[must_use]
    pub const fn any() -> Self {
        Self { replicas: 1 }
    }

    /// This many different replicas must have tripped. A replica whose own network to the
    /// dependency is broken then rejects its own calls, and the others keep serving. At least 1.
    ///
    /// With [`FleetCounts::Shared`](super::FleetCounts::Shared), a replica trips by the calls of
    /// all only if those in its own window meet the rate too.
    #[must_use]
    pub const fn replicas(replicas: u32) -> Self {
        Self { replicas: if replicas == 0 { 1 } else { replicas } }
    }

    pub(super) const fn quorum(self) -> u32 {
        self.replicas
    }
}

impl Default for Agreement {
    fn default() -> Self {
        Self::any()
    }
}
