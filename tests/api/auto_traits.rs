//! The auto traits of every public type: losing one is a breaking change.

mod listed;

use std::{
    cell::Cell,
    marker::PhantomPinned,
    panic::{RefUnwindSafe, UnwindSafe},
    rc::Rc,
    sync::MutexGuard,
};

#[allow(clippy::wildcard_imports)] // what is public is listed below, and checked
use tower_breaker::{
    BoxError, admin::*, body::*, classify::*, clock::*, config::*, event::*, fleet::*, future::*,
    health_check::*, history::*, keyed::*, load::*, metrics::*, record_when::*, registry::*,
    reject::*, reqwest_middleware::*, retry::*, snapshot::*, store::*, *,
};

/// Whether a type has an auto trait, as a constant: the inherent one wins if its bound holds.
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

/// The auto traits that a type has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one for each auto trait")]
struct AutoTraits {
    send: bool,
    sync: bool,
    unpin: bool,
    unwind_safe: bool,
    ref_unwind_safe: bool,
}

const ALL: AutoTraits =
    AutoTraits { send: true, sync: true, unpin: true, unwind_safe: true, ref_unwind_safe: true };

/// Types that contain the user's code (listeners, stores, clocks, errors of stores) or a timer of
/// tokio: the state in which a panic leaves them is unknown.
const CONTAINS_USER_CODE: AutoTraits = ALL.not_unwind_safe();

impl AutoTraits {
    const fn not_unwind_safe(self) -> Self {
        Self { unwind_safe: false, ref_unwind_safe: false, ..self }
    }
}

macro_rules! auto_traits_of {
    ($type:ty) => {
        AutoTraits {
            send: has!($type: Send),
            sync: has!($type: Sync),
            unpin: has!($type: Unpin),
            unwind_safe: has!($type: UnwindSafe),
            ref_unwind_safe: has!($type: RefUnwindSafe),
        }
    };
}

/// The names of types, each with its auto traits.
macro_rules! each {
    ($($type:ty),+ $(,)?) => {
        [$((stringify!($type), auto_traits_of!($type))),+]
    };
}

#[expect(clippy::too_many_lines, reason = "one line for each type")]
fn values() -> Vec<(&'static str, AutoTraits)> {
    Vec::from(each!(
        AnyErrorAsFailure,
        BreakerLoad<()>,
        SearchErrors<()>,
        ByEndpoint,
        ByGrpcMethod,
        ByHost,
        ByMatchedPath,
        KeyedStats,
        OpenLimitStats,
        PreventedBy,
        Exempt<(), ()>,
        RejectedFuture<(), ()>,
        WhenFull,
        Backoff,
        Backpressure<()>,
        BodyFailure,
        BucketSnapshot,
        Classified<(), (), ()>,
        ClassifyWith<()>,
        ClassifyRequestWith<()>,
        Cloned,
        ClonedWith<()>,
        Config,
        ConfigError,
        ConfigFile,
        SuccessAtEos,
        Error<()>,
        ErrorsAsFailures,
        Event,
        Fallback<()>,
        FallbackFuture<(), (), (), ()>,
        FallbackService<()>,
        Fault,
        FileStore,
        FlushError,
        GrpcByDeadline,
        GrpcClassifier,
        GrpcCode,
        GrpcEos,
        ClassifiedResponse<()>,
        HealthCheck<()>,
        HealthCheckTask,
        HistoryCursor,
        HistoryEntry,
        HistoryError,
        HistoryPage,
        HistoryQuery,
        HistoryRecord,
        ManualChange,
        ManualClock,
        ClassifyFn<(), (), ()>,
        Map<(), ()>,
        MapEos<(), ()>,
        MemoryStore,
        Database,
        Network,
        SqlStateOf,
        OnBodyEnd,
        OnGrpcEnd,
        OnResponse,
        Or<(), ()>,
        OrEos<(), ()>,
        Outcome,
        ParseStoreError,
        Permit,
        RampUp,
        Reason,
        RedbStore,
        RedisCredentials,
        Agreement,
        BreakerView,
        FleetCounts,
        FleetError,
        FleetHealth,
        FleetReplica,
        FleetView,
        RedisFleet,
        RedisFleetBuilder,
        RedisStore,
        RedisStoreBuilder,
        RedisUrl,
        RejectAsBoxError,
        RejectAsEmptyResponse,
        RejectAsError,
        RejectAsGrpcStatus,
        RejectAsResponse,
        RejectAsTonicStatus,
        RejectWithGrpcMessage<()>,
        Rejected,
        RespondWith<()>,
        ResponseFuture<(), (), ()>,
        KeyedResponseFuture<(), (), ()>,
        SaveEntry,
        ServerErrorsAsFailures,
        SledStore,
        SlowUntil,
        Snapshot,
        SnapshotError,
        SnapshotTtl,
        State,
        Stats,
        StatusClassifier,
        StoreConfig,
        StoreEvent,
        StoreHealth,
        SystemClock,
        TokioClock,
        TowerHttp<()>,
        TowerHttpEos<()>,
        Transition,
        Trip,
        Window,
        WindowContent,
        WindowSnapshot,
        BreakerMetrics,
        CallCounts,
        CallMetrics,
        PreventedCounts, ProbeCounts,
        TransitionCount,
        WouldTrip,
        WrapBody<(), ()>,
    ))
}

fn types_with_user_code() -> Vec<(&'static str, AutoTraits)> {
    Vec::from(each!(
        RejectedResponseFuture<(), ()>,
        BoxError,
        Breaker,
        BreakerMiddleware<()>,
        BreakerBuilder,
        CircuitBreaker<()>,
        CircuitBreakerLayer,
        CircuitBreakerLayerBuilder,
        GrpcCircuitBreaker<()>,
        HttpCircuitBreaker<()>,
        KeyedBreakerMiddleware<()>,
        KeyedBreakers,
        KeyedBreakersBuilder,
        KeyedCircuitBreaker<(), (), (), (), ()>,
        KeyedCircuitBreakerLayer<()>,
        Admin,
        AdminSource,
        Registry,
        RegistryBuilder,
        StoreError,
        ResponseBody<(), ()>,
        RetryPolicy<()>,
        Tiered,
    ))
}

#[test]
fn has_is_false_for_types_without_the_trait() {
    assert_eq!(
        auto_traits_of!(Rc<Cell<()>>),
        AutoTraits { send: false, sync: false, ..ALL.not_unwind_safe() }
    );
    assert_eq!(auto_traits_of!(PhantomPinned), AutoTraits { unpin: false, ..ALL });
    assert_eq!(auto_traits_of!(u8), ALL);
}

#[test]
fn plain_values_have_every_auto_trait() {
    for (name, has) in values() {
        assert_eq!(has, ALL, "{name}");
    }
}

#[test]
fn types_that_contain_user_code_are_not_unwind_safe() {
    for (name, has) in types_with_user_code() {
        assert_eq!(has, CONTAINS_USER_CODE, "{name}");
    }
}

/// A server sends them to another thread, and polls them on one.
fn answers() -> Vec<(&'static str, AutoTraits)> {
    Vec::from(each!(AdminBody, AdminFuture))
}

#[test]
fn answers_of_the_admin_service_are_send() {
    for (name, has) in answers() {
        assert_eq!(has, AutoTraits { sync: false, ..CONTAINS_USER_CODE }, "{name}");
    }
}

#[test]
fn traits_that_users_implement_are_send_and_sync() {
    for (name, has) in each!(dyn StateStore, dyn HistoryStore, dyn Clock) {
        assert!(has.send && has.sync, "{name}");
    }
}

type BreakerOver<Service> = CircuitBreaker<Service, (), ()>;
type BreakerWithClassifier<C> = CircuitBreaker<(), C, ()>;
type BreakerWithRejection<R> = CircuitBreaker<(), (), R>;
type BreakerUntil<End> = CircuitBreaker<(), (), (), End>;
type LayerWithClassifier<C> = CircuitBreakerLayer<C, ()>;
type LayerWithRejection<R> = CircuitBreakerLayer<(), R>;
type LayerUntil<End> = CircuitBreakerLayer<(), (), End>;
type BuilderWithClassifier<C> = CircuitBreakerLayerBuilder<C, ()>;
type BuilderWithRejection<R> = CircuitBreakerLayerBuilder<(), R>;
type BuilderUntil<End> = CircuitBreakerLayerBuilder<(), (), End>;
type BodyOf<Inner> = ResponseBody<Inner, ()>;
type CallOf<Future> = ResponseFuture<Future, (), ()>;
type CallUntil<End> = ResponseFuture<(), (), (), End>;
type CallWithClassifier<C> = ResponseFuture<(), C, ()>;
type CallOrRejection<Rejection> = ResponseFuture<(), (), Rejection>;

/// The auto traits of a part and of a type made with it, for parts that each lack some of them.
macro_rules! with_each_part {
    ($whole:ident) => {
        with_each_part!(
            $whole: (), *const (), Rc<Cell<()>>, Cell<()>, MutexGuard<'static, ()>, PhantomPinned,
            &'static mut (),
        )
    };
    ($whole:ident: $($part:ty),+ $(,)?) => {
        [$((
            concat!(stringify!($whole), " of ", stringify!($part)),
            auto_traits_of!($part),
            auto_traits_of!($whole<$part>),
        )),+]
    };
}

#[test]
fn calls_and_errors_have_the_auto_traits_of_their_parts() {
    let wholes =
        [with_each_part!(CallOf), with_each_part!(CallOrRejection), with_each_part!(Error)];
    for (name, part, whole) in wholes.into_iter().flatten() {
        assert_eq!(whole, part, "{name}");
    }
}

/// The parts are not pinned with the future that contains them.
#[test]
fn a_call_has_the_auto_traits_of_its_classifier_and_is_always_unpin() {
    let wholes = [with_each_part!(CallWithClassifier), with_each_part!(CallUntil)];
    for (name, part, whole) in wholes.into_iter().flatten() {
        assert_eq!(whole, AutoTraits { unpin: true, ..part }, "{name}");
    }
}

#[test]
fn services_layers_and_bodies_have_the_auto_traits_of_their_parts_except_unwind_safety() {
    let wholes = [
        with_each_part!(BodyOf),
        with_each_part!(BreakerOver),
        with_each_part!(BreakerWithClassifier),
        with_each_part!(BreakerWithRejection),
        with_each_part!(BreakerUntil),
        with_each_part!(LayerWithClassifier),
        with_each_part!(LayerWithRejection),
        with_each_part!(LayerUntil),
        with_each_part!(BuilderWithClassifier),
        with_each_part!(BuilderWithRejection),
        with_each_part!(BuilderUntil),
    ];
    for (name, part, whole) in wholes.into_iter().flatten() {
        assert_eq!(whole, part.not_unwind_safe(), "{name}");
    }
}
