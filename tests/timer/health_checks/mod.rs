//! Health checks on paused time, and over sockets.

mod ends;
mod over_sockets;
mod schedule;
mod while_closed;
mod while_open;

use std::{
    future::pending,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tower_breaker::{
    Breaker, BreakerBuilder, Event, State, Trip,
    clock::TokioClock,
    event::{Reason, Transition},
    health_check::HealthCheck,
};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

/// A breaker on tokio's time that opens at the first failure, for a minute.
fn builder() -> BreakerBuilder {
    let builder = Breaker::builder("checked").clock(TokioClock::new());
    builder.trip_on(Trip::consecutive_failures(1))
}

fn breaker() -> Breaker {
    builder().build().unwrap()
}

fn trip(breaker: &Breaker) {
    breaker.try_acquire().expect("closed").failure();
    assert_eq!(breaker.state(), State::Open);
}

/// A dependency that a check asks.
#[derive(Clone, Default)]
struct Dependency(Arc<Status>);

#[derive(Default)]
struct Status {
    answer: Mutex<Answer>,
    checks: Mutex<Vec<Instant>>,
    in_flight: AtomicUsize,
}

#[derive(Clone, Copy, Default)]
enum Answer {
    #[default]
    Healthy,
    Down,
    /// It takes this long, and is healthy.
    Slow(Duration),
    Hangs,
    Panics,
}

impl Dependency {
    fn that(answer: Answer) -> Self {
        let this = Self::default();
        this.becomes(answer);
        this
    }

    fn becomes(&self, answer: Answer) {
        *self.0.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    async fn asked(self) -> io::Result<()> {
        struct InFlight(Dependency);
        impl Drop for InFlight {
            fn drop(&mut self) {
                self.0.0.in_flight.fetch_sub(1, SeqCst);
            }
        }
        self.0.checks.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        self.0.in_flight.fetch_add(1, SeqCst);
        let _in_flight = InFlight(self.clone());
        let answer = *self.0.answer.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Answer::Healthy => Ok(()),
            Answer::Down => Err(io::Error::other("down")),
            Answer::Slow(time) => {
                sleep(time).await;
                Ok(())
            }
            Answer::Hangs => pending().await,
            Answer::Panics => panic!("a check of this test panics"),
        }
    }

    /// A check of it, each 10 s without jitter.
    fn check(&self) -> HealthCheck<impl FnMut() -> Asked + Send + 'static> {
        let this = self.clone();
        HealthCheck::new(move || Box::pin(this.clone().asked()) as Asked).jitter(0.0)
    }

    fn checks(&self) -> usize {
        self.0.checks.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// When it was asked, from this moment on.
    fn asked_after(&self, start: Instant) -> Vec<Duration> {
        let checks = self.0.checks.lock().unwrap_or_else(PoisonError::into_inner);
        checks.iter().map(|at| *at - start).collect()
    }

    fn in_flight(&self) -> usize {
        self.0.in_flight.load(SeqCst)
    }
}

type Asked = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// Within the resolution of tokio's timers.
fn assert_times(found: &[Duration], expected: &[Duration]) {
    let near = |(found, expected): (&Duration, &Duration)| found.abs_diff(*expected) <= MILLI * 2;
    let equal = found.len() == expected.len() && found.iter().zip(expected).all(near);
    assert!(equal, "{found:?}, not {expected:?}");
}

/// The transitions since the subscription.
fn transitions(events: &mut tokio::sync::broadcast::Receiver<Event>) -> Vec<Transition> {
    std::iter::from_fn(|| events.try_recv().ok())
        .filter_map(|event| match event {
            Event::Transition(transition) => Some(transition),
            _ => None,
        })
        .collect()
}

fn steps(events: &mut tokio::sync::broadcast::Receiver<Event>) -> Vec<(State, Reason)> {
    transitions(events).iter().map(|step| (step.to, step.reason)).collect()
}
