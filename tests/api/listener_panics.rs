//! A listener that panics costs a logged error and nothing else, whatever thread runs it.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind},
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use tower::{Layer, ServiceExt, service_fn};
use tower_breaker::{
    Breaker, BreakerBuilder, CircuitBreakerLayer, Event, KeyedBreakers, Registry, State, Trip,
    clock::ManualClock,
};

use crate::support::log::{self, Log};

const OPEN_TIME: Duration = Duration::from_secs(60);

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<State>>>);

impl Heard {
    fn listener(&self) -> impl Fn(&Event) + Send + Sync + use<> {
        let heard = self.clone();
        move |event| {
            if let Event::Transition(step) = event {
                heard.0.lock().unwrap_or_else(PoisonError::into_inner).push(step.to);
            }
        }
    }

    fn states(&self) -> Vec<State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Panics at each event, without a message on the terminal.
fn panics(_: &Event) {
    resume_unwind(Box::new("the listener"));
}

/// Opens at the first failure. Listeners that panic are around one that hears.
fn breaker(name: &str) -> (BreakerBuilder, Heard, ManualClock) {
    let (heard, clock) = (Heard::default(), ManualClock::new());
    let builder = Breaker::builder(name)
        .trip_on(Trip::consecutive_failures(1))
        .recovery_timeout(OPEN_TIME)
        .clock(clock.clone())
        .on_event(panics)
        .on_event(heard.listener())
        .on_event(panics);
    (builder, heard, clock)
}

#[tokio::test]
async fn the_caller_gets_its_answer_and_the_others_their_event() {
    let (builder, heard, _) = breaker("answers");
    let breaker = builder.build().unwrap();
    let mut subscriber = breaker.subscribe();
    let service = CircuitBreakerLayer::new(breaker.clone())
        .layer(service_fn(|(): ()| async { Err::<(), _>(std::io::Error::other("the answer")) }));
    let answer = service.oneshot(()).await.unwrap_err();
    assert_eq!(answer.into_inner().unwrap().to_string(), "the answer");
    assert_eq!(heard.states(), [State::Open]);
    assert!(matches!(subscriber.try_recv(), Ok(Event::Transition(step)) if step.to == State::Open));
}

#[test]
fn a_probe_keeps_its_slot_and_closes_the_circuit() {
    let (builder, heard, clock) = breaker("probes");
    let breaker = builder.build().unwrap();
    breaker.try_acquire().unwrap().failure();
    clock.advance(OPEN_TIME);
    // Half-open at this moment: the listeners are called before the permit is returned.
    let probe = breaker.try_acquire().expect("a probe");
    assert_eq!(breaker.try_acquire().unwrap_err().state(), State::HalfOpen);
    probe.success();
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(heard.states(), [State::Open, State::HalfOpen, State::Closed]);
}

#[test]
fn a_panic_that_unwinds_goes_on_and_does_not_abort() {
    let (builder, heard, _) = breaker("unwinds");
    let breaker = builder.build().unwrap();
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        breaker.call_blocking(|| -> Result<(), std::io::Error> {
            resume_unwind(Box::new("the work"));
        })
    }));
    let panic = unwound.unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"the work"));
    assert_eq!(heard.states(), [State::Open]);
}

/// These panics run the panic hook, and the thread counts as panicking. A second panic that left
/// the listener would end the process.
#[test]
fn a_listener_may_panic_while_its_thread_unwinds() {
    let (heard, clock) = (Heard::default(), ManualClock::new());
    let breaker = Breaker::builder("panics twice")
        .trip_on(Trip::consecutive_failures(1))
        .recovery_timeout(OPEN_TIME)
        .half_open_timeout(OPEN_TIME)
        .clock(clock.clone())
        .on_event(|_| panic!("the first listener"))
        .on_event(heard.listener())
        .on_event(|_| panic!("the last listener"))
        .build()
        .unwrap();
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        breaker.call_blocking(|| -> Result<(), std::io::Error> { panic!("the work") })
    }));
    assert_eq!(unwound.unwrap_err().downcast_ref::<&str>(), Some(&"the work"));
    assert_eq!(heard.states(), [State::Open]);

    clock.advance(OPEN_TIME);
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _probe = breaker.try_acquire().unwrap();
        clock.advance(OPEN_TIME);
        panic!("the caller");
    }));
    assert_eq!(unwound.unwrap_err().downcast_ref::<&str>(), Some(&"the caller"));
    assert_eq!(heard.states(), [State::Open, State::HalfOpen, State::Open]);
}

#[test]
fn a_change_by_hand_does_not_panic() {
    let (builder, heard, _) = breaker("by hand");
    let breaker = builder.build().unwrap();
    breaker.force_open();
    breaker.disable();
    breaker.reset();
    assert_eq!(heard.states(), [State::ForcedOpen, State::Disabled, State::Closed]);
}

/// A value that panics when it is dropped.
struct Explosive;

impl Drop for Explosive {
    fn drop(&mut self) {
        resume_unwind(Box::new("dropped"));
    }
}

#[test]
fn what_a_listener_throws_or_owns_may_panic_when_it_is_dropped() {
    let heard = Heard::default();
    let owned = Explosive;
    let breaker = Breaker::builder("explosive")
        .on_event(|_| panic_any(Explosive))
        .on_event(move |_| {
            let _ = &owned;
        })
        .on_event(heard.listener())
        .build()
        .unwrap();
    breaker.force_open();
    assert_eq!(heard.states(), [State::ForcedOpen]);
    drop(breaker);
    // The place of the breaker can be used again.
    let breaker = Breaker::builder("next").build().unwrap();
    breaker.try_acquire().unwrap().success();
}

/// Two listeners that panic when they are dropped.
fn explosive() -> [impl Fn(&Event) + Send + Sync; 2] {
    [Explosive, Explosive].map(|owned| {
        move |_: &Event| {
            let _ = &owned;
        }
    })
}

#[test]
fn the_listeners_of_registries_and_groups_may_panic_when_they_are_dropped() {
    let registry = || {
        let [first, second] = explosive();
        Registry::builder().on_event(first).on_event(second).build().unwrap()
    };
    let group = || {
        let [first, second] = explosive();
        KeyedBreakers::builder("hosts").on_event(first).on_event(second).build().unwrap()
    };
    drop(registry());
    drop(group());
    let [first, second] = explosive();
    drop(Registry::builder().on_event(first).on_event(second));
    let unwound = catch_unwind(|| {
        let (_registry, _group) = (registry(), group());
        panic!("the program");
    });
    assert_eq!(unwound.unwrap_err().downcast_ref::<&str>(), Some(&"the program"));
}

#[test]
fn the_task_of_a_subscriber_may_panic_when_the_breaker_is_dropped() {
    let breaker = Breaker::builder("subscribed").build().unwrap();
    let registry = Registry::builder().build().unwrap();
    let (mut own, mut all) = (breaker.subscribe(), registry.subscribe());
    let waker = Waker::from(Arc::new(Panics));
    let mut cx = Context::from_waker(&waker);
    let (mut own, mut all) = (pin!(own.recv()), pin!(all.recv()));
    assert!(own.as_mut().poll(&mut cx).is_pending());
    assert!(all.as_mut().poll(&mut cx).is_pending());
    drop(breaker);
    drop(registry);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(own.as_mut().poll(&mut cx).is_ready());
    assert!(all.as_mut().poll(&mut cx).is_ready());
}

#[test]
fn a_registrys_listeners_do_not_affect_each_other() {
    let heard = Heard::default();
    let registry = Registry::builder().on_event(panics).on_event(heard.listener()).build().unwrap();
    let mut subscriber = registry.subscribe();
    let breaker = registry.get_or_create("payments").unwrap();
    breaker.force_open();
    assert_eq!(heard.states(), [State::ForcedOpen]);
    assert!(subscriber.try_recv().is_ok());
}

#[test]
fn the_error_is_logged_with_the_breakers_name_and_what_the_listener_said() {
    let log = Log::default();
    log.during(|| {
        let (builder, ..) = breaker("logs");
        let breaker = builder.build().unwrap();
        breaker.force_open();
        breaker.reset();
    });
    let log = log.text();
    let line = log.lines().find(|line| line.contains("ERROR")).expect(&log);
    assert!(line.contains("\"logs\"") && line.contains("the listener"), "{line}");
}

/// A subscriber that panics at each event of this crate.
struct PanickingSubscriber(AtomicUsize);

impl tracing::Subscriber for PanickingSubscriber {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        if event.metadata().target() == "tower_breaker" {
            self.0.fetch_add(1, SeqCst);
            resume_unwind(Box::new("the subscriber"));
        }
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn a_tracing_subscriber_that_panics_costs_its_own_event_alone() {
    let subscriber = Arc::new(PanickingSubscriber(AtomicUsize::new(0)));
    let (builder, heard, clock) = breaker("subscriber");
    let breaker = builder.build().unwrap();
    log::ask_at_each_event();
    tracing::subscriber::with_default(Arc::clone(&subscriber), || {
        breaker.try_acquire().unwrap().failure();
        clock.advance(OPEN_TIME);
        breaker.try_acquire().expect("a probe").success();
    });
    assert_eq!(heard.states(), [State::Open, State::HalfOpen, State::Closed]);
    assert!(subscriber.0.load(SeqCst) > 0, "the subscriber is reached");
}

#[test]
fn a_waker_that_panics_does_not_keep_the_others_asleep() {
    let (builder, ..) = breaker("wakers");
    let breaker = builder.build().unwrap();
    breaker.force_open();
    let woken = Arc::new(Woken(AtomicUsize::new(0)));
    let (mut first, mut second) = (pin!(breaker.acquire()), pin!(breaker.acquire()));
    let panicking = Waker::from(Arc::new(Panics));
    assert!(first.as_mut().poll(&mut Context::from_waker(&panicking)).is_pending());
    let waker = Waker::from(Arc::clone(&woken));
    assert!(second.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    breaker.reset();
    assert_eq!(woken.0.load(SeqCst), 1);
    assert!(matches!(second.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Ready(_)));
}

struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        resume_unwind(Box::new("the waker"));
    }
}
