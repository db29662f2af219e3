//! The auto traits of every public type, written down: to lose one is a breaking change.

use std::panic::{RefUnwindSafe, UnwindSafe};

use tower_breaker::{
    Backoff, Breaker, BucketSnapshot, Builder, CircuitBreaker, CircuitBreakerLayer, Config,
    ConfigError, ConfigFile, Error, Event, Face, Fault, FlushError, MemoryStore, Outcome, Permit,
    RampUp, Reason, RejectAsError, RejectAsResponse, Rejected, ResponseFuture, SledStore, Snapshot,
    SnapshotError, SnapshotTtl, State, StateStore, Stats, StoreError, StoreEvent, StoreHealth,
    Transition, Trip, Window, WindowContent, WindowSnapshot,
    classify::{ErrorsAsFailures, ServerErrorsAsFailures},
    clock::{ManualClock, SystemClock, TokioClock},
};

/// Whether a type has an auto trait, as a constant: the inherent one wins where its bound holds.
macro_rules! has {
    ($type:ty: $($bound:tt)+) => {{
        #[allow(dead_code)]
        trait Otherwise {
            const HAS: bool = false;
        }
        impl<T: ?Sized> Otherwise for T {}
        #[allow(dead_code)]
        struct Asked<T: ?Sized>(std::marker::PhantomData<T>);
        #[allow(dead_code)]
        impl<T: ?Sized + $($bound)+> Asked<T> {
            const HAS: bool = true;
        }
        <Asked<$type>>::HAS
    }};
}

macro_rules! all {
    ($bounds:path: $($type:ty),+ $(,)?) => {
        $(assert!(has!($type: $bounds), "{}: {}", stringify!($type), stringify!($bounds));)+
    };
}

type OnRc = CircuitBreaker<std::rc::Rc<()>>;
type OnPinned = ResponseFuture<std::marker::PhantomPinned, (), ()>;

#[test]
fn the_probe_can_say_no() {
    assert!(!has!(std::rc::Rc<()>: Send));
    assert!(!has!(std::marker::PhantomPinned: Unpin));
    assert!(has!(u8: Send));
}

#[test]
fn everything_is_send_and_sync_and_unpin() {
    macro_rules! values {
        ($($bounds:path),+) => {
            $(all!($bounds:
                Backoff, BucketSnapshot, Breaker, Builder, Builder<Face>, CircuitBreaker<()>,
                CircuitBreakerLayer, Config, ConfigError, ConfigFile, Error<()>, Event, Face, Fault,
                FlushError, MemoryStore, Outcome, Permit, RampUp, Reason, RejectAsError,
                RejectAsResponse, Rejected, ResponseFuture<(), (), ()>, SledStore, Snapshot,
                SnapshotError, SnapshotTtl, State, Stats, StoreError, StoreEvent, StoreHealth,
                Transition, Trip, Window, WindowContent, WindowSnapshot, ErrorsAsFailures,
                ServerErrorsAsFailures, ManualClock, SystemClock, TokioClock, dyn StateStore,
            );)+
        };
    }
    values!(Send, Sync);
    all!(Unpin: Breaker, Permit, CircuitBreaker<()>, ResponseFuture<(), (), ()>, Rejected);
}

#[test]
fn a_service_and_its_future_are_what_their_parts_are() {
    assert!(!has!(OnRc: Send));
    assert!(!has!(OnRc: Sync));
    assert!(!has!(OnPinned: Unpin));
    assert!(has!(OnPinned: Send));
}

#[test]
fn what_holds_no_code_of_the_user_survives_a_panic() {
    all!(UnwindSafe: Permit, Rejected, Config, Snapshot, ResponseFuture<(), (), ()>);
    all!(RefUnwindSafe: Permit, Rejected, Config, Snapshot, ResponseFuture<(), (), ()>);
}
