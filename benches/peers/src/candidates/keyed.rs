use std::borrow::Cow;

use tower::Layer;
use tower_breaker::{
    Config, Error, KeyedBreakers, KeyedCircuitBreakerLayer,
    classify::ErrorsAsFailures,
    config::CallMetrics,
    keyed::{ExtractKey, KeyedCircuitBreaker},
    record_when::OnResponse,
    reject::RejectAsError,
};

use crate::{CandidateService, Down, Inner, Rule, Scenario};

type Service<const COUNTED: bool> =
    KeyedCircuitBreaker<Inner<COUNTED>, Host, ErrorsAsFailures, RejectAsError, OnResponse>;

/// The key of every request.
#[derive(Clone)]
pub(super) struct Host(&'static str);

impl ExtractKey<u64> for Host {
    #[inline]
    fn extract_key<'a>(&self, _: &'a u64) -> Option<Cow<'a, str>> {
        Some(self.0.into())
    }
}

const SHORT: Host = Host("api.example.com:8443");

pub(super) fn new_key<const COUNTED: bool>(
    scenario: Scenario,
    inner: Inner<COUNTED>,
) -> Option<Service<COUNTED>> {
    service(scenario, inner, Settings::default(), SHORT)
}

pub(super) fn long_key<const COUNTED: bool>(
    scenario: Scenario,
    inner: Inner<COUNTED>,
) -> Option<Service<COUNTED>> {
    let settings = Settings::default();
    service(scenario, inner, settings, Host("a-rather-long-name-of-a-host.eu-west-1.example.com"))
}

pub(super) fn known_key<const COUNTED: bool>(
    scenario: Scenario,
    inner: Inner<COUNTED>,
) -> Option<Service<COUNTED>> {
    with_breaker(scenario, inner, Settings::default())
}

pub(super) fn limited<const COUNTED: bool>(
    scenario: Scenario,
    inner: Inner<COUNTED>,
) -> Option<Service<COUNTED>> {
    with_breaker(scenario, inner, Settings { max_open_ratio: Some(0.5), ..Settings::default() })
}

/// A key with a breaker, whose calls are counted.
#[cfg(feature = "metrics")]
pub(super) fn metered<const COUNTED: bool>(
    scenario: Scenario,
    inner: Inner<COUNTED>,
) -> Option<Service<COUNTED>> {
    let call_metrics = CallMetrics::Counts;
    with_breaker(scenario, inner, Settings { call_metrics, ..Settings::default() })
}

#[derive(Clone, Copy)]
struct Settings {
    max_open_ratio: Option<f64>,
    call_metrics: CallMetrics,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_open_ratio: None, call_metrics: CallMetrics::Off }
    }
}

fn with_breaker<const COUNTED: bool>(
    scenario: Scenario,
    inner: Inner<COUNTED>,
    settings: Settings,
) -> Option<Service<COUNTED>> {
    let service = service(scenario, inner, settings, SHORT)?;
    drop(service.breakers().get_or_create(SHORT.0));
    Some(service)
}

/// Only under the default rule: with others, every key has a breaker.
fn service<const COUNTED: bool>(
    scenario: Scenario,
    inner: Inner<COUNTED>,
    settings: Settings,
    host: Host,
) -> Option<Service<COUNTED>> {
    if scenario.rule != Rule::Consecutive {
        return None;
    }
    let mut config = Config::default();
    config.call_metrics = settings.call_metrics;
    let mut builder = KeyedBreakers::builder("upstream").config(config);
    if let Some(ratio) = settings.max_open_ratio {
        builder = builder.max_open_ratio(ratio);
    }
    let breakers = builder.build().expect("the settings are valid");
    Some(KeyedCircuitBreakerLayer::new(breakers, host).layer(inner))
}

impl<const COUNTED: bool> CandidateService for Service<COUNTED> {
    fn is_rejection(error: &Error<Down>) -> bool {
        error.rejected().is_some()
    }
}
