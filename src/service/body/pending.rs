//! Classifies the end of a body, and passes the outcome to the open call.

use std::error::Error as StdError;

use bytes::Buf;
use http::HeaderMap;
use http_body::Frame;

use super::{length::Length, open_call::OpenCall};
use crate::{
    breaker::Permit,
    classify::{BodyFailure, ClassifyEos},
    outcome::Outcome,
    service::inner_call,
};

/// A call whose outcome depends on the rest of its body.
pub(super) struct PendingOutcome<W> {
    call: OpenCall,
    eos: W,
    expected: Length,
    received: u64,
}

impl<W: ClassifyEos> PendingOutcome<W> {
    pub(super) fn new(call: OpenCall, eos: W, expected: Length) -> Self {
        Self { call, eos, expected, received: 0 }
    }

    pub(super) fn permit(&mut self) -> &mut Permit {
        self.call.permit()
    }

    /// Counts a frame. Returns whether it is the last one that matters; `ended` is what the body
    /// reports itself.
    pub(super) fn receive<D: Buf>(&mut self, frame: &Frame<D>, ended: bool) -> bool {
        let data = frame.data_ref().filter(|data| data.has_remaining());
        let length = data.map_or(0, |data| data.remaining() as u64);
        self.received = self.received.saturating_add(length);
        let is_last = frame.is_trailers() || ended || self.is_complete();
        if let Some(data) = data
            && !is_last
        {
            self.call.receive(data);
        }
        is_last
    }

    /// Whether everything that matters has arrived.
    pub(super) fn is_complete(&self) -> bool {
        self.expected.is_reached(self.received) && !self.eos.awaits_trailers()
    }

    /// Whether the breaker has recorded the call, a probe whose stream has proved alive.
    pub(super) fn is_settled(&self) -> bool {
        self.call.is_settled()
    }

    /// Records the success of a stream that has proved alive.
    pub(super) fn succeed(self) {
        self.call.record(Outcome::Success);
    }

    /// Records the outcome of a response that has no body to wait for.
    pub(super) fn end_without_body(self) {
        self.settle(|eos| eos.classify_eos(None));
    }

    /// Records the outcome of a body that has ended. If the classifier awaits trailers, they
    /// outweigh a length that was missed.
    pub(super) fn end(self, trailers: Option<&HeaderMap>) {
        let trailers_decide = trailers.is_some() && self.eos.awaits_trailers();
        if self.expected.is_missed(self.received) && !trailers_decide {
            self.fail(BodyFailure::EndedEarly);
        } else {
            self.settle(|eos| eos.classify_eos(trailers));
        }
    }

    /// Records the outcome of a body that has returned an error: this one, if its type is known.
    pub(super) fn fail_with(self, error: Option<&(dyn StdError + 'static)>) {
        match error {
            Some(error) => self.settle(|eos| eos.classify_error(error)),
            None => self.fail(BodyFailure::Error),
        }
    }

    pub(super) fn fail(self, failure: BodyFailure) {
        self.settle(|eos| eos.classify_failure(failure));
    }

    /// Classifies the end of the call, and records it. If the classifier panics, the call is a
    /// failure, and the panic propagates.
    #[inline]
    fn settle(self, classify: impl FnOnce(W) -> Outcome) {
        let Self { mut call, eos, .. } = self;
        let outcome = inner_call::fail_on_panic(call.permit(), || classify(eos));
        call.record(outcome);
    }
}
