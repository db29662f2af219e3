use std::time::Duration;

use bytes::Buf;
use http::HeaderMap;
use http_body::Frame;

use super::length::Length;
use crate::{
    breaker::Permit,
    classify::{BodyFailure, ClassifyEos},
    outcome::Outcome,
};

/// A call whose outcome depends on the rest of its body. Dropped, it counts as cancelled.
pub(super) struct PendingOutcome<W> {
    permit: Permit,
    eos: W,
    /// How long the call took, if its time was measured until the head of the response.
    elapsed: Option<Duration>,
    expected: Length,
    received: u64,
}

impl<W: ClassifyEos> PendingOutcome<W> {
    pub(super) fn new(permit: Permit, eos: W, elapsed: Option<Duration>, expected: Length) -> Self {
        Self { permit, eos, elapsed, expected, received: 0 }
    }

    /// Counts a frame. Returns whether it is the last one that matters; `ended` is what the body
    /// reports itself.
    pub(super) fn receive<D: Buf>(&mut self, frame: &Frame<D>, ended: bool) -> bool {
        if let Some(data) = frame.data_ref() {
            self.received = self.received.saturating_add(data.remaining() as u64);
        }
        frame.is_trailers() || ended || self.is_complete()
    }

    /// Whether everything that matters has arrived.
    pub(super) fn is_complete(&self) -> bool {
        self.expected.is_reached(self.received) && !self.eos.awaits_trailers()
    }

    /// Records the outcome of a response that has no body to wait for.
    pub(super) fn end_without_body(self) {
        self.record(|eos| eos.classify_eos(None));
    }

    /// Records the outcome of a body that has ended. If the classifier awaits trailers, they
    /// outweigh a length that was missed.
    pub(super) fn end(self, trailers: Option<&HeaderMap>) {
        let trailers_decide = trailers.is_some() && self.eos.awaits_trailers();
        if self.expected.is_missed(self.received) && !trailers_decide {
            self.fail(BodyFailure::EndedEarly);
        } else {
            self.record(|eos| eos.classify_eos(trailers));
        }
    }

    pub(super) fn fail(self, failure: BodyFailure) {
        self.record(|eos| eos.classify_failure(failure));
    }

    fn record(mut self, classify: impl FnOnce(W) -> Outcome) {
        self.permit.record_in_place(classify(self.eos), self.elapsed);
    }
}
