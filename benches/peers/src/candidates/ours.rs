use std::time::Duration;

use tower::Layer;
use tower_breaker::{
    CircuitBreaker, CircuitBreakerLayer, CircuitBreakerLayerBuilder, Error, Trip, Window,
    config::CallMetrics,
};

use crate::{CandidateService, Down, Inner, Rule, Scenario};

pub(super) fn service<const COUNTED: bool>(
    scenario: Scenario,
    inner: Inner<COUNTED>,
) -> CircuitBreaker<Inner<COUNTED>> {
    let builder = builder(scenario).call_metrics(CallMetrics::Off);
    builder.build().expect("the settings are valid").layer(inner)
}

/// The same with its calls counted.
#[cfg(feature = "metrics")]
pub(super) fn metered<const COUNTED: bool>(
    scenario: Scenario,
    inner: Inner<COUNTED>,
) -> CircuitBreaker<Inner<COUNTED>> {
    builder(scenario).build().expect("the settings are valid").layer(inner)
}

fn builder(scenario: Scenario) -> CircuitBreakerLayerBuilder {
    let rule = match scenario.rule {
        Rule::Consecutive => Trip::consecutive_failures(5),
        Rule::CountWindow => Trip::failure_rate(0.5, Window::calls(100)),
        Rule::SlowCalls => Trip::slow_call_rate(0.5, scenario.slower_than(), Window::calls(100)),
        Rule::TimeWindow => Trip::failure_rate(0.5, Window::time(Duration::from_secs(10))),
    };
    CircuitBreakerLayer::builder("payments")
        .trip_on(rule)
        .recovery_timeout(Duration::from_secs(24 * 3600))
}

impl<const COUNTED: bool> CandidateService for CircuitBreaker<Inner<COUNTED>> {
    fn is_rejection(error: &Error<Down>) -> bool {
        error.rejected().is_some()
    }
}
