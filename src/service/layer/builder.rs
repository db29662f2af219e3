//! The builder of a layer with a breaker of its own.

use std::fmt;

use super::{
    CircuitBreakerLayer,
    settings::{backpressure_setting, layer_settings},
};
use crate::{
    classify::ErrorsAsFailures,
    config::ConfigError,
    handle::{BreakerBuilder, breaker_settings},
    service::{debug::add_types, record_when::OnResponse, reject::RejectAsError},
};

/// Builds a [`CircuitBreakerLayer`] together with its breaker. Created by
/// [`CircuitBreakerLayer::builder`].
///
/// It has the settings of a [`BreakerBuilder`] and those of a [`CircuitBreakerLayer`].
#[must_use = "a builder does nothing until `build` is called"]
pub struct CircuitBreakerLayerBuilder<C = ErrorsAsFailures, R = RejectAsError, O = OnResponse> {
    breaker: BreakerBuilder,
    classify: C,
    reject: R,
    record_when: O,
}

impl CircuitBreakerLayerBuilder {
    pub(super) fn new(name: &str) -> Self {
        Self {
            breaker: BreakerBuilder::new(name),
            classify: ErrorsAsFailures,
            reject: RejectAsError,
            record_when: OnResponse,
        }
    }
}

/// The settings of the breaker.
impl<C, R, O> CircuitBreakerLayerBuilder<C, R, O> {
    breaker_settings!(.breaker);
}

layer_settings!(CircuitBreakerLayerBuilder);
backpressure_setting!(CircuitBreakerLayerBuilder);

impl<C, R, O> CircuitBreakerLayerBuilder<C, R, O> {
    /// Builds the breaker and the layer.
    ///
    /// # Errors
    ///
    /// One [`ConfigError`] that lists every fault of the name and the settings.
    pub fn build(self) -> Result<CircuitBreakerLayer<C, R, O>, ConfigError> {
        let Self { breaker, classify, reject, record_when } = self;
        Ok(CircuitBreakerLayer { breaker: breaker.build()?, classify, reject, record_when })
    }
}

impl<C, R, O> fmt::Debug for CircuitBreakerLayerBuilder<C, R, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("CircuitBreakerLayerBuilder");
        fields.field("breaker", &self.breaker);
        add_types(&mut fields, &self.classify, &self.reject, &self.record_when).finish()
    }
}
