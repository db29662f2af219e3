//! The task that makes the checks of one breaker.

use std::{
    future::Future,
    pin::{Pin, pin},
    time::Duration,
};

use tokio::{
    sync::broadcast::{self, error::RecvError},
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

use super::{
    bounded::{self, Panicked},
    settings::Settings,
    streak::Streak,
};
use crate::{
    breaker::Permit,
    clock::LONGEST_SLEEP,
    error::BoxError,
    event::Event,
    handle::{Breaker, WeakBreaker},
    state::State,
    sync::log,
};

/// The running checks of a breaker. They end when this is dropped, or with the breaker.
#[derive(Debug)]
#[must_use = "the checks end when this is dropped; `detach` lets them run as long as the breaker"]
pub struct HealthCheckTask {
    /// `None` once the task is detached.
    task: Option<JoinHandle<()>>,
}

impl HealthCheckTask {
    pub(super) fn start<F, Fut, T, E>(task: Task<F>) -> Self
    where
        F: FnMut() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: 'static,
        E: Into<BoxError> + 'static,
    {
        Self { task: Some(tokio::spawn(task.run())) }
    }

    /// Lets the checks run for as long as the breaker exists.
    pub fn detach(mut self) {
        self.task = None;
    }

    /// Whether the checks have ended, because the breaker is gone or the runtime has shut down.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.task.as_ref().is_some_and(JoinHandle::is_finished)
    }
}

impl Drop for HealthCheckTask {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

pub(super) struct Task<F> {
    check: F,
    settings: Settings,
    /// The task keeps no breaker alive.
    breaker: WeakBreaker,
    events: broadcast::Receiver<Event>,
    streak: Streak,
    /// When the next check of the schedule starts.
    due: Instant,
}

/// What the task does next.
enum Next {
    /// A check, with the permit of a probe where the circuit has one.
    Check(Option<Permit>),
    /// Nothing until this time, or until an event.
    WaitUntil(Instant),
    /// Nothing until an event.
    WaitForEvent,
}

/// How often a check that is due asks for a probe's slot.
const SLOT_RETRY: Duration = Duration::from_millis(100);

/// The time until a check takes the slot of the first probe; `None` unless the circuit is open.
fn until_probe(breaker: &Breaker) -> Option<Duration> {
    let lead = (breaker.config().recovery_timeout / 10).min(Duration::from_millis(100));
    Some(breaker.open_time_left()?.saturating_sub(lead))
}

/// Waits for the end of a check. If the open time ends meanwhile, the check becomes the probe, so
/// that no other call does.
async fn finish<T>(
    mut check: Pin<&mut impl Future<Output = T>>,
    mut permit: Option<Permit>,
    breaker: &WeakBreaker,
) -> (Option<Permit>, T) {
    while permit.is_none() {
        let left = breaker.upgrade().and_then(|breaker| {
            let left = until_probe(&breaker)?;
            if left.is_zero() {
                permit = breaker.acquire_early().ok();
            }
            Some(left)
        });
        let left = left.filter(|left| !left.is_zero()).unwrap_or(LONGEST_SLEEP);
        if let Ok(result) = timeout(left.min(LONGEST_SLEEP), check.as_mut()).await {
            return (permit, result);
        }
    }
    (permit, check.await)
}

impl<F> Task<F> {
    pub(super) fn new(check: F, settings: Settings, breaker: &Breaker) -> Self {
        // Before the state is read, so that no change of it is missed.
        let events = breaker.subscribe();
        let state = breaker.state();
        let first = match state {
            State::HalfOpen => Duration::ZERO,
            State::Closed => settings.first_interval(),
            _ => settings.next_interval(),
        };
        Self {
            check,
            settings,
            breaker: breaker.downgrade(),
            events,
            streak: Streak::new(state),
            due: Instant::now() + first,
        }
    }

    /// `None` once the breaker is gone.
    fn next(&mut self) -> Option<Next> {
        let breaker = self.breaker.upgrade()?;
        let now = Instant::now();
        let state = breaker.state();
        if self.streak.enters(state) {
            let after = match state {
                State::HalfOpen => Duration::ZERO,
                _ => self.settings.next_interval(),
            };
            self.due = now + after;
        }
        Some(match state {
            State::Closed if self.settings.always => self.when_due(now, || Some(None)),
            State::Open => self.while_open(&breaker, now),
            State::HalfOpen => self.when_due(now, || breaker.acquire_for_check().ok().map(Some)),
            _ => Next::WaitForEvent,
        })
    }

    /// A check, if it is due and the circuit admits it.
    fn when_due(&mut self, now: Instant, admit: impl FnOnce() -> Option<Option<Permit>>) -> Next {
        if now < self.due {
            return Next::WaitUntil(self.due);
        }
        if let Some(permit) = admit() {
            return Next::Check(permit);
        }
        // Other probes are in flight, or the lease of a shared breaker is on its way.
        self.due = now + self.settings.interval.min(SLOT_RETRY);
        Next::WaitUntil(self.due)
    }

    fn while_open(&mut self, breaker: &Breaker, now: Instant) -> Next {
        let left = until_probe(breaker).unwrap_or_default();
        if left.is_zero() {
            let end = breaker.acquire_early();
            return end
                .map_or(Next::WaitUntil(now + LONGEST_SLEEP), |permit| Next::Check(Some(permit)));
        }
        // The breaker's clock says how much is left, and may be ahead of tokio's.
        let end = now + left.min(LONGEST_SLEEP);
        if !self.settings.recover_early {
            return Next::WaitUntil(end);
        }
        match self.when_due(now, || Some(None)) {
            Next::WaitUntil(due) => Next::WaitUntil(due.min(end)),
            next => next,
        }
    }

    /// Waits until that time or for an event. `false` once the breaker is gone.
    async fn wait(&mut self, until: Option<Instant>) -> bool {
        let event = match until {
            None => self.events.recv().await,
            Some(until) => match timeout_at(until, self.events.recv()).await {
                Ok(event) => event,
                Err(_) => return true,
            },
        };
        !matches!(event, Err(RecvError::Closed))
    }
}

impl<F, Fut, T, E> Task<F>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
{
    async fn run(mut self) {
        while let Some(next) = self.next() {
            let goes_on = match next {
                Next::Check(permit) => self.check(permit).await,
                Next::WaitUntil(until) => self.wait(Some(until)).await,
                Next::WaitForEvent => self.wait(None).await,
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Makes a check. `false` once the breaker is gone.
    async fn check(&mut self, permit: Option<Permit>) -> bool {
        self.due = Instant::now() + self.settings.next_interval();
        let (permit, result) = {
            let check = pin!(bounded::run(&mut self.check, self.settings.timeout));
            finish(check, permit, &self.breaker).await
        };
        let Some(breaker) = self.breaker.upgrade() else { return false };
        if let Err(error) = &result {
            log_failure(breaker.name(), error);
        }
        match (permit, &result) {
            (Some(permit), Ok(())) => permit.success(),
            (Some(permit), Err(_)) => permit.failure(),
            (None, _) => self.judge(&breaker, &result),
        }
        // What this check has caused does not restart the schedule.
        self.streak.enters(breaker.state());
        true
    }

    /// Acts on a check that was not a probe.
    fn judge(&mut self, breaker: &Breaker, result: &Result<(), BoxError>) {
        if breaker.state() != self.streak.state {
            return;
        }
        self.streak.note(result.is_ok());
        let Streak { state, healthy, unhealthy } = self.streak;
        match (state, result) {
            (State::Open, Ok(())) if healthy >= self.settings.healthy_threshold => {
                if let Ok(permit) = breaker.acquire_early() {
                    permit.success();
                }
            }
            (State::Closed, Err(error)) if unhealthy >= self.settings.unhealthy_threshold => {
                let is_first = unhealthy == self.settings.unhealthy_threshold;
                if !breaker.open_by_checks(unhealthy, is_first) {
                    return;
                }
                log(|| {
                    tracing::warn!(
                        target: "tower_breaker",
                        name = breaker.name(),
                        checks = unhealthy,
                        %error,
                        "health checks of circuit breaker {:?} failed {unhealthy} times in a row: \
                         calls are rejected until a check succeeds or the open time ends; the last \
                         error: {error}",
                        breaker.name(),
                    );
                });
            }
            _ => {}
        }
    }
}

fn log_failure(name: &str, error: &BoxError) {
    if error.is::<Panicked>() {
        log(|| {
            tracing::error!(
                target: "tower_breaker",
                name,
                %error,
                "health check of circuit breaker {name:?} panicked: it counts as failed, and the \
                 checks go on as scheduled; fix the check: {error}",
            );
        });
    } else {
        log(|| {
            tracing::debug!(
                target: "tower_breaker",
                name,
                %error,
                "health check of circuit breaker {name:?} failed",
            );
        });
    }
}
