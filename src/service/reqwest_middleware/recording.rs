//! How both middlewares record a call.

use std::{
    any::type_name_of_val,
    fmt,
    future::{Future, poll_fn},
    pin::pin,
};

use reqwest::{Request, Response};
use reqwest_middleware::Error;

use crate::{
    breaker::Permit,
    classify::{CloneClassifier, ServerErrorsAsFailures},
    service::{
        body::{OnBodyEnd, SetOnBodyEnd},
        inner_call,
        record_when::{Exempt, OnResponse, RecordWhen},
    },
};

/// What an outcome is, and when it is known.
pub(super) struct Recording<C = ServerErrorsAsFailures, O = OnResponse> {
    pub(super) classify: C,
    pub(super) record_when: O,
}

impl Recording {
    pub(super) fn new() -> Self {
        Self { classify: ServerErrorsAsFailures, record_when: OnResponse }
    }
}

impl<C, O> Recording<C, O> {
    pub(super) fn classify<D>(self, classify: D) -> Recording<D, O> {
        Recording { classify, record_when: self.record_when }
    }

    pub(super) fn on_body_end(self, on_body_end: OnBodyEnd) -> Recording<C, O::Output>
    where
        O: SetOnBodyEnd,
    {
        let record_when = self.record_when.set_on_body_end(on_body_end);
        Recording { classify: self.classify, record_when }
    }

    pub(super) fn exempt<F: Fn(&Request) -> bool>(
        self,
        is_exempt: F,
    ) -> Recording<C, Exempt<O, F>> {
        let record_when = Exempt::new(self.record_when, is_exempt);
        Recording { classify: self.classify, record_when }
    }

    /// Sends a request that a breaker has admitted, and records the outcome by this classifier.
    pub(super) async fn send<D, F>(
        &self,
        mut permit: Permit,
        classify: D,
        begin: impl FnOnce() -> F,
    ) -> Result<Response, Error>
    where
        F: Future<Output = Result<Response, Error>>,
        O: RecordWhen<D, Response, Error, Response = Response>,
    {
        // The next middleware may do a part of its work before it returns the future.
        let mut sent = pin!(inner_call::start(&permit, begin));
        let result = poll_fn(|cx| inner_call::run(&mut permit, || sent.as_mut().poll(cx))).await;
        inner_call::end(&mut permit, |permit| self.record_when.record(&classify, result, permit))
    }

    /// Adds the fields that both middlewares have.
    pub(super) fn finish_debug(&self, mut fields: fmt::DebugStruct<'_, '_>) -> fmt::Result {
        fields
            .field("classify", &format_args!("{}", type_name_of_val(&self.classify)))
            .field("record_when", &format_args!("{}", type_name_of_val(&self.record_when)))
            .finish()
    }
}

impl<C: CloneClassifier, O: Clone> Clone for Recording<C, O> {
    fn clone(&self) -> Self {
        let record_when = self.record_when.clone();
        Self { classify: self.classify.clone_classifier(), record_when }
    }
}
