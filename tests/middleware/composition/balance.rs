//! Endpoints with a breaker each below a balancer, and a balancer below one breaker.
//!
//! A balancer prefers the endpoint with the least load. One that rejects responds at once, so its
//! load seems low and it attracts calls. A load that asks the breaker, like that of `Endpoint`
//! here, prevents that.

use std::fmt::Debug;

use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::{
    BoxError, Layer, Service,
    balance::p2c::Balance,
    discover::ServiceList,
    load::{CompleteOnResponse, Load, PeakEwma, PendingRequests},
};
use tower_breaker::{CircuitBreaker, Error, State};
use tower_test::mock;

use super::*;

const ENDPOINTS: usize = 2;

/// An endpoint with the load of its inner service, or the largest load while its circuit rejects.
struct Endpoint<S> {
    service: S,
    breaker: Breaker,
}

impl<S: Service<u32>> Service<u32> for Endpoint<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: u32) -> S::Future {
        self.service.call(request)
    }
}

impl<S: Load> Load for Endpoint<S> {
    type Metric = (bool, S::Metric);

    fn load(&self) -> Self::Metric {
        let rejects = matches!(self.breaker.state(), State::Open | State::ForcedOpen);
        (rejects, self.service.load())
    }
}

/// A balancer over endpoints, each made from a guarded client.
struct Cluster<S: Service<u32> + Load>
where
    S::Error: Into<BoxError>,
{
    balance: mock::Spawn<Balance<ServiceList<Vec<S>>, u32>>,
    handles: Vec<Handle>,
    breakers: Vec<Breaker>,
}

fn cluster<S>(endpoint: impl Fn(Guarded) -> S) -> Cluster<S>
where
    S: Service<u32, Response = u32> + Load,
    S::Metric: Debug,
    S::Error: Into<BoxError>,
{
    let (mut services, mut handles, mut breakers) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ENDPOINTS {
        let (service, handle, breaker) = guarded();
        services.push(endpoint(service));
        handles.push(handle);
        breakers.push(breaker);
    }
    let balance = mock::Spawn::new(Balance::new(ServiceList::new::<u32>(services)));
    Cluster { balance, handles, breakers }
}

fn pending_requests(service: Guarded) -> PendingRequests<Guarded> {
    PendingRequests::new(service, CompleteOnResponse::default())
}

fn peak_ewma(service: Guarded) -> PeakEwma<Guarded> {
    PeakEwma::new(service, Duration::from_millis(30), 1e9, CompleteOnResponse::default())
}

impl<S> Cluster<S>
where
    S: Service<u32, Response = u32> + Load,
    S::Metric: Debug,
    S::Error: Into<BoxError>,
{
    /// Makes one call, and returns the endpoint that responded; `None` if it was rejected.
    async fn call(&mut self) -> Option<usize> {
        // A task that never yields exhausts its budget of tokio, and then channels seem empty.
        tokio::task::yield_now().await;
        assert_ready_ok!(self.balance.poll_ready());
        let mut call = task::spawn(self.balance.call(1));
        for (index, handle) in self.handles.iter_mut().enumerate() {
            if let Poll::Ready(Some((_, send))) = handle.poll_request() {
                send.send_response(7);
                assert_ready_ok!(call.poll());
                return Some(index);
            }
        }
        assert_rejected(assert_ready!(call.poll()));
        None
    }

    /// Of a hundred calls, the number that was rejected and the number that the second endpoint
    /// got.
    async fn hundred_calls(&mut self) -> (usize, usize) {
        let mut calls = Vec::new();
        for _ in 0..100 {
            calls.push(self.call().await);
        }
        let of = |whose: Option<usize>| calls.iter().filter(|call| **call == whose).count();
        (of(None), of(Some(1)))
    }
}

#[tokio::test(start_paused = true)]
async fn open_endpoints_reject_at_once_and_stay_in_the_balancer() {
    let mut cluster = cluster(pending_requests);
    cluster.breakers.iter().for_each(trip);
    assert_eq!(cluster.hundred_calls().await, (100, 0));
    assert_eq!(cluster.balance.get_ref().len(), ENDPOINTS);

    tokio::time::advance(OPEN_TIME).await;
    // Each circuit gets its probe, and both close.
    let (rejected, _) = cluster.hundred_calls().await;
    assert_eq!(rejected, 0);
    assert!(cluster.breakers.iter().all(|breaker| breaker.state() == State::Closed));
}

#[tokio::test(start_paused = true)]
async fn each_endpoint_has_its_own_circuit() {
    let mut cluster = cluster(pending_requests);
    cluster.handles[0].allow(0);
    assert_ready_ok!(cluster.balance.poll_ready());
    let mut call = task::spawn(cluster.balance.call(1));
    fail(&mut cluster.handles[1]);
    assert_ready_err!(call.poll());
    assert_eq!(cluster.breakers[0].state(), State::Closed);
    assert_eq!(cluster.breakers[1].state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_balancer_that_waits_for_its_endpoints_is_woken_when_one_opens() {
    let mut cluster = cluster(pending_requests);
    cluster.handles.iter_mut().for_each(|handle| handle.allow(0));
    assert_pending!(cluster.balance.poll_ready());
    trip(&cluster.breakers[1]);
    assert!(cluster.balance.is_woken());
    assert_eq!(cluster.call().await, None);
    assert_eq!(cluster.balance.get_ref().len(), ENDPOINTS);
}

#[tokio::test(start_paused = true)]
async fn a_failed_client_is_removed_from_the_balancer_unless_its_circuit_is_open() {
    let mut cluster = cluster(pending_requests);
    trip(&cluster.breakers[0]);
    drop(cluster.handles.remove(0));
    assert_ready_ok!(cluster.balance.poll_ready());
    assert_eq!(cluster.balance.get_ref().len(), 2);

    cluster.breakers[0].reset();
    // A service that became ready while its circuit rejected is polled again before it is called.
    for _ in 0..20 {
        assert_eq!(cluster.call().await, Some(0));
    }
    assert_eq!(cluster.balance.get_ref().len(), 1);
    assert_eq!(cluster.breakers[0].stats().consecutive_failures(), 0);
}

#[tokio::test(start_paused = true)]
async fn with_pending_requests_as_load_an_open_endpoint_attracts_calls() {
    let mut cluster = cluster(pending_requests);
    let _busy = make_second_busy(&mut cluster);
    trip(&cluster.breakers[0]);
    assert_eq!(cluster.hundred_calls().await, (100, 0));
}

#[tokio::test(start_paused = true)]
async fn with_latency_as_load_an_open_endpoint_attracts_calls() {
    let mut cluster = cluster(peak_ewma);
    let _busy = make_second_busy(&mut cluster);
    trip(&cluster.breakers[0]);
    assert_eq!(cluster.hundred_calls().await, (100, 0));
}

#[tokio::test(start_paused = true)]
async fn a_load_that_asks_the_breaker_keeps_calls_away_from_an_open_endpoint() {
    let mut cluster = cluster(|service| {
        let breaker = service.breaker().clone();
        Endpoint { service: pending_requests(service), breaker }
    });
    let _busy = make_second_busy(&mut cluster);
    trip(&cluster.breakers[0]);
    assert_eq!(cluster.hundred_calls().await, (0, 100));

    // It gets a call again once its circuit admits a probe.
    tokio::time::advance(OPEN_TIME).await;
    assert_eq!(cluster.call().await, Some(0));
    assert_eq!(cluster.breakers[0].state(), State::Closed);
}

/// Starts a call at the second endpoint.
fn make_second_busy<S>(cluster: &mut Cluster<S>) -> (impl Sized + use<S>, impl Sized + use<S>)
where
    S: Service<u32, Response = u32> + Load,
    S::Metric: Debug,
    S::Error: Into<BoxError>,
{
    cluster.handles[0].allow(0);
    assert_ready_ok!(cluster.balance.poll_ready());
    let call = cluster.balance.call(1);
    let Poll::Ready(Some(request)) = cluster.handles[1].poll_request() else {
        panic!("not at the second endpoint")
    };
    cluster.handles[0].allow(1_000);
    (call, request)
}

/// Below a breaker: one circuit for all endpoints.
#[tokio::test(start_paused = true)]
async fn below_a_balancer_without_a_ready_endpoint_is_not_waited_for_once_the_circuit_opens() {
    let (client, mut handle) = client();
    handle.allow(0);
    let endpoint = PendingRequests::new(client, CompleteOnResponse::default());
    let layer = layer();
    let balance = Balance::new(ServiceList::new::<u32>([endpoint]));
    let mut service: mock::Spawn<CircuitBreaker<_>> = mock::Spawn::new(layer.layer(balance));
    assert_pending!(service.poll_ready());
    trip(layer.breaker());
    assert!(service.is_woken());
    assert_ready_ok!(service.poll_ready());
    let answer: Result<u32, Error<BoxError>> = assert_ready!(poll_once(service.call(1)));
    assert!(matches!(answer, Err(Error::Rejected(_))));
}
