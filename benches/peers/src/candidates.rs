//! The breakers, each as a `tower::Service` over the same inner service, configured as its own
//! documentation recommends.

mod clock_and_write;
mod failsafe;
#[cfg(feature = "keyed")]
mod keyed;
mod ours;
mod recloser;
mod tower_resilience;

use tower::Service;

use crate::{Down, Inner, Scenario, drive, failures_until_rejected};

/// The services that are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Candidate {
    /// The inner service alone.
    Bare,
    /// The inner service, a read of the clock and a write, where the rule is on a time window.
    ClockAndWrite,
    /// tower-breaker, which counts no calls for metrics.
    Ours,
    /// tower-breaker with its calls counted for metrics.
    #[cfg(feature = "metrics")]
    Metered,
    /// tower-breaker with a breaker for each key, and a key that has none yet.
    #[cfg(feature = "keyed")]
    Keyed,
    /// The same with a key that is too long for its inline representation.
    #[cfg(feature = "keyed")]
    KeyedLong,
    /// The same with a key that has a breaker.
    #[cfg(feature = "keyed")]
    KeyedKnown,
    /// The same with `max_open_ratio`.
    #[cfg(feature = "keyed")]
    KeyedLimited,
    /// A key that has a breaker, with its calls counted for metrics.
    #[cfg(all(feature = "keyed", feature = "metrics"))]
    KeyedMetered,
    /// tower-resilience-circuitbreaker.
    TowerResilience,
    /// recloser, in a service that calls the inner service only when the breaker admits the call.
    Recloser,
    /// failsafe, in the same kind of service.
    Failsafe,
    /// recloser without a box: the inner service is called even while the circuit is open, and
    /// its future is dropped.
    RecloserEager,
    /// failsafe without a box.
    FailsafeEager,
}

const COUNT: usize = 8
    + cfg!(feature = "metrics") as usize
    + 4 * cfg!(feature = "keyed") as usize
    + cfg!(all(feature = "keyed", feature = "metrics")) as usize;

impl Candidate {
    /// All candidates, in the order of the table.
    pub const ALL: [Self; COUNT] = [
        Self::Bare,
        Self::ClockAndWrite,
        Self::Ours,
        #[cfg(feature = "metrics")]
        Self::Metered,
        #[cfg(feature = "keyed")]
        Self::Keyed,
        #[cfg(feature = "keyed")]
        Self::KeyedLong,
        #[cfg(feature = "keyed")]
        Self::KeyedKnown,
        #[cfg(feature = "keyed")]
        Self::KeyedLimited,
        #[cfg(all(feature = "keyed", feature = "metrics"))]
        Self::KeyedMetered,
        Self::TowerResilience,
        Self::Recloser,
        Self::Failsafe,
        Self::RecloserEager,
        Self::FailsafeEager,
    ];

    /// The name on the command line.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::ClockAndWrite => "clock-and-write",
            Self::Ours => "tower-breaker",
            #[cfg(feature = "metrics")]
            Self::Metered => "tower-breaker-metrics",
            #[cfg(feature = "keyed")]
            Self::Keyed => "tower-breaker-keyed",
            #[cfg(feature = "keyed")]
            Self::KeyedLong => "tower-breaker-keyed-long",
            #[cfg(feature = "keyed")]
            Self::KeyedKnown => "tower-breaker-keyed-known",
            #[cfg(feature = "keyed")]
            Self::KeyedLimited => "tower-breaker-keyed-limited",
            #[cfg(all(feature = "keyed", feature = "metrics"))]
            Self::KeyedMetered => "tower-breaker-keyed-metrics",
            Self::TowerResilience => "tower-resilience",
            Self::Recloser => "recloser",
            Self::Failsafe => "failsafe",
            Self::RecloserEager => "recloser-eager",
            Self::FailsafeEager => "failsafe-eager",
        }
    }
}

/// A service that can be measured. Clones share one breaker.
pub trait CandidateService: Service<u64, Response = u64> + Clone + Send {
    /// Whether the error comes from the breaker, not from the inner service.
    fn is_rejection(error: &Self::Error) -> bool;
}

impl<const COUNTED: bool> CandidateService for Inner<COUNTED> {
    fn is_rejection(Down: &Down) -> bool {
        false
    }
}

/// An operation on a service whose concrete type depends on the candidate.
pub trait Visitor {
    /// The result of the operation.
    type Output;

    /// Runs the operation.
    fn visit<S: CandidateService>(self, service: S) -> Self::Output;
}

/// Prepares a candidate for a scenario (windows full, or circuit open) and passes it to the
/// visitor. Returns `None` if the candidate has no such rule.
pub fn visit<const COUNTED: bool, V: Visitor>(
    candidate: Candidate,
    scenario: Scenario,
    visitor: V,
) -> Option<V::Output> {
    let inner = Inner::<COUNTED>;
    let visitor = Prepare { scenario, visitor };
    match candidate {
        Candidate::Bare => Some(visitor.visitor.visit(inner)),
        Candidate::ClockAndWrite => {
            clock_and_write::service(scenario, inner).map(|service| visitor.visitor.visit(service))
        }
        Candidate::Ours => Some(visitor.visit(ours::service(scenario, inner))),
        #[cfg(feature = "metrics")]
        Candidate::Metered => Some(visitor.visit(ours::metered(scenario, inner))),
        #[cfg(feature = "keyed")]
        Candidate::Keyed => keyed::new_key(scenario, inner).map(|service| visitor.visit(service)),
        #[cfg(feature = "keyed")]
        Candidate::KeyedLong => {
            keyed::long_key(scenario, inner).map(|service| visitor.visit(service))
        }
        #[cfg(feature = "keyed")]
        Candidate::KeyedKnown => {
            keyed::known_key(scenario, inner).map(|service| visitor.visit(service))
        }
        #[cfg(feature = "keyed")]
        Candidate::KeyedLimited => {
            keyed::limited(scenario, inner).map(|service| visitor.visit(service))
        }
        #[cfg(all(feature = "keyed", feature = "metrics"))]
        Candidate::KeyedMetered => {
            keyed::metered(scenario, inner).map(|service| visitor.visit(service))
        }
        Candidate::TowerResilience => {
            Some(visitor.visit(tower_resilience::service(scenario, inner)))
        }
        Candidate::Recloser => {
            recloser::breaker(scenario).map(|b| visitor.visit(recloser::Lazy::new(b, inner)))
        }
        Candidate::RecloserEager => {
            recloser::breaker(scenario).map(|b| visitor.visit(recloser::Eager::new(b, inner)))
        }
        Candidate::Failsafe => failsafe::lazy(scenario, inner, visitor),
        Candidate::FailsafeEager => failsafe::eager(scenario, inner, visitor),
    }
}

/// How often the requests of a scenario are made before the visit: more calls than any count window
/// holds.
pub const PREPARED: u64 = 10;

/// Fills the windows, or opens the circuit, before the visit.
struct Prepare<V> {
    scenario: Scenario,
    visitor: V,
}

impl<V: Visitor> Visitor for Prepare<V> {
    type Output = V::Output;

    fn visit<S: CandidateService>(self, mut service: S) -> V::Output {
        if self.scenario.open {
            failures_until_rejected(&mut service, 1000).expect("every circuit opens");
        } else {
            drive(&mut service, &self.scenario.requests(), PREPARED);
        }
        self.visitor.visit(service)
    }
}
