use std::time::SystemTime;

/// How a breaker's store is doing. Traffic does not depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreHealth {
    /// There is none: the state is in memory only.
    NoStore,
    /// What was saved last was saved well.
    Healthy,
    /// It does not do what it is asked. The breaker goes on in memory, and the newest state is
    /// saved as soon as the store does.
    #[non_exhaustive]
    Degraded {
        /// Since when.
        since: SystemTime,
        /// What it says, or that it says nothing.
        reason: String,
        /// How many breakers of this store have something to save.
        pending: usize,
    },
}
