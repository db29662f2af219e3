use std::time::Duration;

use tower::Layer;
use tower_resilience_circuitbreaker::{
    CircuitBreaker, CircuitBreakerError, CircuitBreakerLayer, DefaultClassifier, SlidingWindowType,
};

use crate::{CandidateService, Down, Inner, Rule, Scenario};

pub(super) type Service<const COUNTED: bool> = CircuitBreaker<Inner<COUNTED>, DefaultClassifier>;

pub(super) fn service<const COUNTED: bool>(
    scenario: Scenario,
    inner: Inner<COUNTED>,
) -> Service<COUNTED> {
    let builder = CircuitBreakerLayer::builder()
        .name("payments")
        .wait_duration_in_open(Duration::from_secs(24 * 3600));
    let builder = match scenario.rule {
        Rule::Consecutive => builder.consecutive_failures(5),
        Rule::CountWindow => builder.failure_rate_threshold(0.5).sliding_window_size(100),
        Rule::SlowCalls => builder
            .failure_rate_threshold(1.0)
            .slow_call_duration_threshold(scenario.slower_than())
            .slow_call_rate_threshold(0.5)
            .sliding_window_size(100),
        Rule::TimeWindow => builder
            .failure_rate_threshold(0.5)
            .sliding_window_type(SlidingWindowType::TimeBased)
            .sliding_window_duration(Duration::from_secs(10))
            .minimum_number_of_calls(20),
    };
    builder.build().expect("the settings are valid").layer(inner)
}

impl<const COUNTED: bool> CandidateService for Service<COUNTED> {
    fn is_rejection(error: &CircuitBreakerError<Down>) -> bool {
        error.is_circuit_open()
    }
}
