//! Endpoints below a balancer, each with a breaker.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tower::{
    Layer, Service, ServiceExt,
    balance::p2c::Balance,
    discover::ServiceList,
    load::{CompleteOnResponse, Load, PendingRequests},
    service_fn,
    util::BoxCloneSyncService,
};
use tower_breaker::{
    CircuitBreakerLayer, Config, KeyedBreakers, KeyedCircuitBreakerLayer, RampUp, Rejected, State,
    clock::ManualClock, load::BreakerLoad, registry::WhenFull,
};

const RECOVERY: Duration = Duration::from_secs(60);

type Inner = PendingRequests<BoxCloneSyncService<(), (), io::Error>>;

/// Three endpoints, of which the first one can be down.
struct Cluster {
    is_down: Arc<AtomicBool>,
    calls: [Arc<AtomicUsize>; 3],
    clock: ManualClock,
}

impl Cluster {
    fn new() -> Self {
        Self {
            is_down: Arc::new(AtomicBool::new(true)),
            calls: Default::default(),
            clock: ManualClock::new(),
        }
    }

    fn endpoints(&self) -> [Inner; 3] {
        std::array::from_fn(|number| {
            let calls = Arc::clone(&self.calls[number]);
            let is_down = Arc::clone(&self.is_down);
            let endpoint = service_fn(move |()| {
                calls.fetch_add(1, SeqCst);
                let fails = number == 0 && is_down.load(SeqCst);
                async move { if fails { Err(io::Error::other("down")) } else { Ok(()) } }
            });
            let endpoint = BoxCloneSyncService::new(endpoint);
            PendingRequests::new(endpoint, CompleteOnResponse::default())
        })
    }

    /// The endpoint that is down gets what its breaker admits and no more, nothing is rejected, and
    /// its share returns when it is up again.
    async fn check<S>(&self, endpoints: [S; 3])
    where
        S: Service<(), Response = ()> + Load,
        S::Metric: std::fmt::Debug,
        S::Error: Into<tower::BoxError>,
        S::Future: Send,
    {
        let mut balance = Balance::new(ServiceList::new::<()>(endpoints));
        let mut rejected = 0;
        for round in 1..=3 {
            for _ in 0..300 {
                let called = balance.ready().await.unwrap().call(()).await;
                let error = called.err();
                rejected += usize::from(error.is_some_and(|it| Rejected::find(&*it).is_some()));
            }
            assert_eq!(rejected, 0);
            // Then one probe each time.
            assert_eq!(self.calls[0].load(SeqCst), 4 + round);
            self.clock.advance(RECOVERY);
        }
        self.is_down.store(false, SeqCst);
        for _ in 0..300 {
            balance.ready().await.unwrap().call(()).await.unwrap();
        }
        let calls = self.calls[0].load(SeqCst) - 7;
        assert!((50..150).contains(&calls), "{calls} of 300");
    }
}

#[tokio::test]
async fn a_balancer_gives_no_calls_to_an_endpoint_whose_circuit_is_open() {
    let cluster = Cluster::new();
    let endpoints = cluster.endpoints().map(|endpoint| {
        let builder = CircuitBreakerLayer::builder("endpoint").recovery_timeout(RECOVERY);
        builder.clock(cluster.clock.clone()).build().unwrap().layer(endpoint)
    });
    cluster.check(endpoints).await;
}

#[tokio::test]
async fn nor_does_it_where_the_breakers_are_keyed_by_the_endpoint() {
    let cluster = Cluster::new();
    let breakers = KeyedBreakers::builder("hosts").clock(cluster.clock.clone()).build().unwrap();
    let mut addresses = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].into_iter();
    let endpoints = cluster.endpoints().map(|endpoint| {
        let key = addresses.next().unwrap();
        KeyedCircuitBreakerLayer::by_endpoint(breakers.clone(), key).layer(endpoint)
    });
    cluster.check(endpoints).await;
    assert_eq!(breakers.len(), 1, "the others have not failed");
}

/// A third of the calls would be its share, and a part of that is what its ramp admits.
#[tokio::test]
async fn an_endpoint_whose_circuit_ramps_up_gets_its_share_and_rejects_none() {
    let cluster = Cluster::new();
    let endpoints = cluster.endpoints().map(|endpoint| {
        let builder = CircuitBreakerLayer::builder("endpoint").recovery_timeout(RECOVERY);
        let builder = builder.ramp_up(RampUp::new(0.1, Duration::from_secs(100)));
        builder.clock(cluster.clock.clone()).build().unwrap().layer(endpoint)
    });
    let mut balance = Balance::new(ServiceList::new::<()>(endpoints));
    let calls = async |balance: &mut Balance<_, _>, count| {
        let (before, mut rejected) = (cluster.calls[0].load(SeqCst), 0);
        for _ in 0..count {
            let called = balance.ready().await.unwrap().call(()).await;
            let error = called.err();
            rejected += usize::from(error.is_some_and(|it| Rejected::find(&*it).is_some()));
        }
        (cluster.calls[0].load(SeqCst) - before, rejected)
    };
    assert_eq!(calls(&mut balance, 300).await, (5, 0), "until it opens");
    cluster.is_down.store(false, SeqCst);
    cluster.clock.advance(RECOVERY);
    let (admitted, rejected) = calls(&mut balance, 600).await;
    assert_eq!(rejected, 0);
    assert!((8..60).contains(&admitted), "{admitted} of 600 at a tenth of a third");
    cluster.clock.advance(Duration::from_secs(100));
    let (admitted, rejected) = calls(&mut balance, 300).await;
    assert_eq!(rejected, 0);
    assert!((50..150).contains(&admitted), "{admitted} of 300");
}

/// A balancer reads the load of an endpoint that it does not call.
#[tokio::test]
async fn reading_a_load_creates_no_breaker_and_is_no_use_of_one() {
    let [endpoint, ..] = Cluster::new().endpoints();
    let hosts = KeyedBreakers::builder("hosts").max_breakers(2).build().unwrap();
    let endpoint = KeyedCircuitBreakerLayer::by_endpoint(hosts.clone(), "a").layer(endpoint);
    assert!(matches!(endpoint.load(), BreakerLoad::Admits(_)));
    assert!(hosts.is_empty());
    for key in ["a", "b"] {
        hosts.get_or_create(key).unwrap();
    }
    assert!(matches!(endpoint.load(), BreakerLoad::Admits(_)));
    hosts.get_or_create("c").unwrap();
    assert!(hosts.get("a").is_none(), "the oldest was replaced");
    hosts.get_or_create("a").unwrap().force_open();
    assert_eq!(endpoint.load(), BreakerLoad::Rejects);
}

/// A balancer that avoids an endpoint asks for its load all the same.
#[tokio::test]
async fn an_open_endpoint_counts_for_as_long_as_a_balancer_asks_for_its_load() {
    let cluster = Cluster::new();
    let mut config = Config::default();
    config.recovery_timeout = 10 * RECOVERY;
    let hosts = KeyedBreakers::builder("hosts").config(config).max_open_ratio(0.34);
    let hosts = hosts.clock(cluster.clock.clone()).build().unwrap();
    let mut keys = ["a", "b", "c"].into_iter();
    let endpoints = cluster.endpoints().map(|endpoint| {
        let key = keys.next().unwrap();
        KeyedCircuitBreakerLayer::by_endpoint(hosts.clone(), key).layer(endpoint)
    });
    let fail = |key| {
        let breaker = hosts.get_or_create(key).unwrap();
        for _ in 0..5 {
            if let Ok(permit) = breaker.try_acquire() {
                permit.failure();
            }
        }
        breaker.state()
    };
    assert_eq!(fail("a"), State::Open);
    for _ in 0..12 {
        cluster.clock.advance(RECOVERY / 6);
        let rejects = endpoints.each_ref().map(|it| it.load() == BreakerLoad::Rejects);
        assert_eq!(rejects, [true, false, false]);
    }
    let limit = hosts.stats().open_limit.unwrap();
    assert_eq!((limit.keys_seen, limit.open), (3, 1));
    assert_eq!(fail("b"), State::Closed);

    cluster.clock.advance(2 * RECOVERY);
    assert_eq!(hosts.stats().open_limit.unwrap().open, 0, "no balancer has asked");
}

#[tokio::test]
async fn an_endpoint_without_room_has_the_load_of_the_shared_breaker() {
    let [endpoint, ..] = Cluster::new().endpoints();
    let hosts =
        KeyedBreakers::builder("hosts").max_breakers(1).when_full(WhenFull::Share).build().unwrap();
    hosts.get_or_create("a").unwrap().force_open();
    let endpoint = KeyedCircuitBreakerLayer::by_endpoint(hosts.clone(), "b").layer(endpoint);
    hosts.get_or_create("b").unwrap().force_open();
    assert_eq!(endpoint.load(), BreakerLoad::Rejects);
}
