//! The breakers, each as a `tower::Service` over the same inner service, set up as its own
//! documentation says.

mod failsafe;
mod ours;
mod recloser;
mod tower_resilience;

use tower::Service;

use crate::{Down, Inner, Scenario, drive, failures_until_rejected};

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Candidate {
    /// The inner service alone.
    Bare,
    /// tower-breaker.
    Ours,
    /// tower-resilience-circuitbreaker.
    TowerResilience,
    /// recloser in a service that calls the inner one only when the breaker lets it.
    Recloser,
    /// failsafe, likewise.
    Failsafe,
    /// recloser without a box: the inner service is called even when the circuit is open, and
    /// its future thrown away.
    RecloserEager,
    /// failsafe, likewise.
    FailsafeEager,
}

impl Candidate {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 7] = [
        Self::Bare,
        Self::Ours,
        Self::TowerResilience,
        Self::Recloser,
        Self::Failsafe,
        Self::RecloserEager,
        Self::FailsafeEager,
    ];

    /// On a command line.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Ours => "tower-breaker",
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
    /// Whether the breaker, not the inner service, is where the error is from.
    fn is_rejection(error: &Self::Error) -> bool;
}

impl<const COUNTED: bool> CandidateService for Inner<COUNTED> {
    fn is_rejection(Down: &Down) -> bool {
        false
    }
}

/// Does something with a service whose type only the candidate knows.
pub trait Visitor {
    /// What comes of it.
    type Output;

    /// Does it.
    fn visit<S: CandidateService>(self, service: S) -> Self::Output;
}

/// Sets a candidate up for a scenario (windows full, or open) and hands it to the visitor.
/// `None` if it has nothing of the kind.
pub fn visit<const COUNTED: bool, V: Visitor>(
    candidate: Candidate,
    scenario: Scenario,
    visitor: V,
) -> Option<V::Output> {
    let inner = Inner::<COUNTED>;
    let visitor = Prepare { scenario, visitor };
    match candidate {
        Candidate::Bare => Some(visitor.visitor.visit(inner)),
        Candidate::Ours => Some(visitor.visit(ours::service(scenario, inner))),
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

/// How often a closed breaker has met the ten requests of its scenario before the visit: that is
/// more calls than any count window holds.
pub const PREPARED: u64 = 1000;

/// Fills the windows, or opens the circuit, before the visit.
struct Prepare<V> {
    scenario: Scenario,
    visitor: V,
}

impl<V: Visitor> Visitor for Prepare<V> {
    type Output = V::Output;

    fn visit<S: CandidateService>(self, mut service: S) -> V::Output {
        if self.scenario == Scenario::Open {
            failures_until_rejected(&mut service, 1000).expect("every circuit opens");
        } else {
            drive(&mut service, &self.scenario.requests(), PREPARED);
        }
        self.visitor.visit(service)
    }
}
