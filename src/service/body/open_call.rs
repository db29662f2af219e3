//! Records the outcome of a call whose response has begun.

use std::time::Duration;

use bytes::Buf;

use super::awaited::Awaited;
use crate::{
    breaker::{Permit, probes::StreamProof},
    outcome::Outcome,
};

/// A call whose response has begun and is not recorded yet.
///
/// Dropped while it is unanswered, it is abandoned. After that, it counts as nothing, except that a
/// probe whose stream has proved alive is a success.
pub(super) struct OpenCall {
    permit: Permit,
    /// How long the call took, in nanoseconds, if its time was measured until the head of the
    /// response; otherwise [`NOT_MEASURED`].
    elapsed: u64,
    /// What is to come until the dependency has answered.
    awaited: Awaited,
    /// Of a probe, whose stream need not end to succeed.
    probe: Option<Box<ProbeStream>>,
}

const NOT_MEASURED: u64 = u64::MAX;

struct ProbeStream {
    alive_after: Duration,
    /// Once the first data has arrived. From then on, the breaker watches the time.
    proof: Option<StreamProof>,
}

impl OpenCall {
    pub(super) fn new(
        permit: Permit,
        elapsed: Option<Duration>,
        awaited: Awaited,
        alive_after: Duration,
    ) -> Self {
        let probe = permit.is_probe().then(|| Box::new(ProbeStream { alive_after, proof: None }));
        let nanos = |elapsed: Duration| u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX - 1);
        Self { permit, elapsed: elapsed.map_or(NOT_MEASURED, nanos), awaited, probe }
    }

    pub(super) fn permit(&mut self) -> &mut Permit {
        &mut self.permit
    }

    /// Called when data arrives, and the body goes on.
    pub(super) fn receive(&mut self, data: &impl Buf) {
        self.awaited = self.awaited.after(data);
        if self.awaited != Awaited::Nothing {
            return;
        }
        let elapsed = self.elapsed();
        if let Some(probe) = &mut self.probe
            && probe.proof.is_none()
        {
            probe.proof = Some(self.permit.begin_stream(probe.alive_after, elapsed));
        }
    }

    /// Whether the breaker has recorded the call: it is a probe whose stream has proved alive.
    pub(super) fn is_settled(&self) -> bool {
        self.proof().is_some_and(StreamProof::is_given)
    }

    /// Whether the stream has proved alive by now, also where nothing has noticed yet.
    fn has_proved_alive(&self) -> bool {
        self.proof().is_some_and(|proof| self.permit.has_proved_alive(proof))
    }

    fn proof(&self) -> Option<&StreamProof> {
        self.probe.as_ref()?.proof.as_ref()
    }

    fn elapsed(&self) -> Option<Duration> {
        (self.elapsed != NOT_MEASURED).then(|| Duration::from_nanos(self.elapsed))
    }

    /// Records how the call has ended. A stream that had proved alive before is a success, however
    /// it ended.
    pub(super) fn record(mut self, outcome: Outcome) {
        let outcome = if self.has_proved_alive() { Outcome::Success } else { outcome };
        // Its drop need not ask again.
        self.probe = None;
        self.record_in_place(outcome);
    }

    fn record_in_place(&mut self, outcome: Outcome) {
        let elapsed = self.elapsed();
        self.permit.record_in_place(outcome, elapsed);
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        // Otherwise the permit itself is dropped as the permit of an abandoned call.
        if self.awaited == Awaited::Nothing {
            if self.has_proved_alive() {
                self.record_in_place(Outcome::Success);
            } else {
                self.permit.cancel_in_place();
            }
        }
    }
}
