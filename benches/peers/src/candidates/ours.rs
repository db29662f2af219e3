use std::time::Duration;

use tower::Layer;
use tower_breaker::{CircuitBreaker, CircuitBreakerLayer, Error, Trip, Window};

use crate::{CandidateService, Down, Inner, Rule, SLOWER_THAN, Scenario};

pub(super) fn service<const COUNTED: bool>(
    scenario: Scenario,
    inner: Inner<COUNTED>,
) -> CircuitBreaker<Inner<COUNTED>> {
    let rule = match scenario.rule {
        Rule::Consecutive => Trip::consecutive_failures(5),
        Rule::CountWindow => Trip::failure_rate(0.5, Window::calls(100)),
        Rule::SlowCalls => Trip::slow_call_rate(0.5, SLOWER_THAN, Window::calls(100)),
        Rule::TimeWindow => Trip::failure_rate(0.5, Window::time(Duration::from_secs(10))),
    };
    let layer = CircuitBreakerLayer::builder("payments")
        .trip_on(rule)
        .recovery_timeout(Duration::from_secs(24 * 3600))
        .build();
    layer.expect("the settings are valid").layer(inner)
}

impl<const COUNTED: bool> CandidateService for CircuitBreaker<Inner<COUNTED>> {
    fn is_rejection(error: &Error<Down>) -> bool {
        error.rejected().is_some()
    }
}
