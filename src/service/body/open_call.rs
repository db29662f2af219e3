use std::{
    task::Context,
    time::{Duration, Instant},
};

use bytes::Buf;

use super::answer::Answer;
use crate::{breaker::Permit, outcome::Outcome, timer::Timer};

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
    answer: Answer,
    /// Of a probe, whose stream need not end to succeed.
    probe: Option<Box<ProbeStream>>,
}

const NOT_MEASURED: u64 = u64::MAX;

/// How long the stream of a probe has been alive.
struct ProbeStream {
    alive_after: Duration,
    /// When the first data arrived.
    began: Option<Instant>,
    timer: Timer,
}

impl OpenCall {
    pub(super) fn new(
        permit: Permit,
        elapsed: Option<Duration>,
        answer: Answer,
        alive_after: Duration,
    ) -> Self {
        let probe = permit.is_probe().then(|| {
            // Every probe may need it, and tokio's timers panic in a runtime without them.
            let timer = Timer::on_system_time();
            Box::new(ProbeStream { alive_after, began: None, timer })
        });
        let nanos = |elapsed: Duration| u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX - 1);
        Self { permit, elapsed: elapsed.map_or(NOT_MEASURED, nanos), answer, probe }
    }

    pub(super) fn permit(&mut self) -> &mut Permit {
        &mut self.permit
    }

    /// Called when data arrives.
    pub(super) fn receive(&mut self, data: &impl Buf) {
        self.answer = self.answer.after(data);
        if self.answer != Answer::Complete {
            return;
        }
        if let Some(probe) = &mut self.probe {
            probe.began.get_or_insert_with(Instant::now);
        }
    }

    pub(super) fn has_proved_alive(&self) -> bool {
        self.probe.as_ref().is_some_and(|probe| probe.left() == Some(Duration::ZERO))
    }

    /// The same, but if time is left, the task is woken at its end.
    pub(super) fn poll_proved_alive(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(probe) = &mut self.probe else { return false };
        let Some(left) = probe.left() else { return false };
        if !probe.timer.is_set() {
            probe.timer.set(left);
        }
        probe.timer.poll(cx).is_ready() || left.is_zero()
    }

    pub(super) fn record(mut self, outcome: Outcome) {
        self.record_in_place(outcome);
    }

    fn record_in_place(&mut self, outcome: Outcome) {
        let elapsed = (self.elapsed != NOT_MEASURED).then(|| Duration::from_nanos(self.elapsed));
        self.permit.record_in_place(outcome, elapsed);
    }
}

impl ProbeStream {
    /// What is left until the stream has proved alive; `None` before its first data.
    fn left(&self) -> Option<Duration> {
        Some(self.alive_after.saturating_sub(self.began?.elapsed()))
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        // Otherwise the permit itself is dropped as the permit of an abandoned call.
        if self.answer == Answer::Complete {
            if self.has_proved_alive() && !std::thread::panicking() {
                self.record_in_place(Outcome::Success);
            } else {
                self.permit.cancel_in_place();
            }
        }
    }
}
