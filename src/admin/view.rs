//! Breakers as JSON.

use std::time::SystemTime;

use serde::Serialize;

use super::{
    fleet::{self, FleetReach},
    id,
};
use crate::{
    breaker::status::BreakerStatus, config::Trip, event::Reason, handle::Breaker,
    health::StoreHealth, seconds::since_epoch, state::State,
};

/// A breaker as JSON. Times are in seconds since 1970.
#[derive(Debug, Serialize)]
pub(super) struct BreakerView {
    id: String,
    name: String,
    group: Option<String>,
    state: State,
    since: Option<f64>,
    until: Option<f64>,
    reason: Option<Reason>,
    note: Option<String>,
    by: Option<String>,
    consecutive_failures: u32,
    consecutive_opens: u32,
    /// The window of the first rate rule.
    window: Option<WindowView>,
    trip_on: Vec<Trip>,
    vital: bool,
    store: StoreView,
    fleet: Option<FleetReach>,
}

#[derive(Debug, Serialize)]
struct WindowView {
    calls: u64,
    failures: u64,
    slow_calls: u64,
}

#[derive(Debug, Serialize)]
struct StoreView {
    /// A word for programs.
    health: &'static str,
    /// A sentence for people.
    detail: String,
}

impl BreakerView {
    pub(super) fn of(breaker: &Breaker, group: Option<&str>, is_vital: bool) -> Self {
        let BreakerStatus { state, since, until, reason, remark, stats, config } = breaker.status();
        let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(str::to_owned);
        let has_window =
            config.trip_on.iter().any(|trip| !matches!(trip, Trip::ConsecutiveFailures(_)));
        Self {
            id: id::of_name(breaker.name()),
            name: breaker.name().to_owned(),
            group: group.map(str::to_owned),
            state,
            since: since.map(since_epoch),
            until: until.map(since_epoch),
            reason,
            note: remark.as_ref().and_then(|remark| text(&remark.note)),
            by: remark.as_ref().and_then(|remark| text(&remark.by)),
            consecutive_failures: stats.consecutive_failures(),
            consecutive_opens: stats.consecutive_opens(),
            window: has_window.then(|| WindowView {
                calls: stats.window_calls(),
                failures: stats.window_failures(),
                slow_calls: stats.window_slow_calls(),
            }),
            trip_on: config.trip_on.clone(),
            vital: is_vital,
            store: StoreView::of(&breaker.store_health()),
            fleet: fleet::reach(breaker),
        }
    }

    /// Whether every call is rejected.
    pub(super) fn is_rejecting(breaker: &Breaker) -> bool {
        matches!(breaker.state(), State::Open | State::ForcedOpen)
    }
}

impl StoreView {
    fn of(health: &StoreHealth) -> Self {
        let word = match health {
            StoreHealth::NoStore => "no_store",
            StoreHealth::Healthy => "healthy",
            StoreHealth::Repaired { .. } => "repaired",
            StoreHealth::Degraded { .. } => "degraded",
            StoreHealth::Superseded { .. } => "superseded",
        };
        Self { health: word, detail: health.to_string() }
    }
}

/// The time now, as in every answer: a client's clock may differ.
pub(super) fn now() -> f64 {
    since_epoch(SystemTime::now())
}
