//! Requests that bypass the breaker.

use std::{any::type_name, fmt};

use super::{AppliesTo, RecordWhen, sealed::Sealed};
use crate::{breaker::Permit, outcome::Outcome};

/// Lets requests bypass the breaker. Created by
/// [`exempt`](crate::CircuitBreakerLayer::exempt).
#[derive(Clone, Copy)]
pub struct Exempt<O, F> {
    record_when: O,
    is_exempt: F,
}

impl<O, F> Exempt<O, F> {
    pub(crate) fn new(record_when: O, is_exempt: F) -> Self {
        Self { record_when, is_exempt }
    }

    /// The same requests with another setting.
    #[cfg(feature = "http")]
    pub(in crate::service) fn map<P>(self, map: impl FnOnce(O) -> P) -> Exempt<P, F> {
        Exempt { record_when: map(self.record_when), is_exempt: self.is_exempt }
    }
}

impl<O, F> Sealed for Exempt<O, F> {}

impl<O: AppliesTo<Request>, F: Fn(&Request) -> bool, Request> AppliesTo<Request> for Exempt<O, F> {
    const PASSES_WHILE_OPEN: bool = true;

    #[inline]
    fn applies_to(&self, request: &Request) -> bool {
        !(self.is_exempt)(request) && self.record_when.applies_to(request)
    }
}

impl<O: RecordWhen<C, T, E>, F, C, T, E> RecordWhen<C, T, E> for Exempt<O, F> {
    type Response = O::Response;

    const IS_KNOWN_WITH_RESPONSE: bool = O::IS_KNOWN_WITH_RESPONSE;

    #[inline]
    fn record(
        &self,
        classify: &C,
        result: Result<T, E>,
        permit: &mut Permit,
    ) -> Result<O::Response, E> {
        self.record_when.record(classify, result, permit)
    }

    #[inline]
    fn pass_unrecorded(response: T) -> O::Response {
        O::pass_unrecorded(response)
    }

    #[inline]
    fn outcome_of_response(&self, classify: &C, result: &Result<T, E>) -> Option<Outcome> {
        self.record_when.outcome_of_response(classify, result)
    }
}

impl<O: fmt::Debug, F> fmt::Debug for Exempt<O, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exempt")
            .field("record_when", &self.record_when)
            .field("is_exempt", &format_args!("{}", type_name::<F>()))
            .finish()
    }
}
