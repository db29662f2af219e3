//! Calls whose responses have begun to stream, as a service makes them.

use std::{
    future::ready,
    panic::{self, AssertUnwindSafe},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame};
use tower::{Layer as _, Service as _, service_fn};
use tower_breaker::{
    Breaker, CircuitBreakerLayer, Error, OnBodyEnd, Rejected,
    body::{ResponseBody, SlowUntil},
    classify::{ClassifyBody, ServerErrorsAsFailures},
};

/// The error of the inner service and of its bodies.
#[derive(Debug)]
pub(crate) struct Broken;

/// What a body does when it is polled next.
#[repr(u8)]
#[derive(Clone, Copy)]
pub(crate) enum Step {
    Data,
    End,
    Fail,
    Panic,
}

/// The body of a response, which does what the test says.
struct Script(Arc<AtomicU8>);

impl Body for Script {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let next = self.0.load(SeqCst);
        Poll::Ready(if next == Step::Data as u8 {
            Some(Ok(Frame::data(Bytes::from_static(b"data"))))
        } else if next == Step::Fail as u8 {
            Some(Err(Broken))
        } else if next == Step::End as u8 {
            None
        } else {
            // Resumed, because a panic that begins would be reported.
            panic::resume_unwind(Box::new("a body"))
        })
    }
}

/// A call whose response has given its first data.
pub(crate) struct Stream {
    next: Arc<AtomicU8>,
    body: ResponseBody<Script, <ServerErrorsAsFailures as ClassifyBody<Script, Broken>>::Eos>,
}

impl Stream {
    /// Makes a call. As a probe, it succeeds after these milliseconds of its stream.
    pub(crate) fn begin(breaker: &Breaker, alive_after: u64) -> Result<Self, Rejected> {
        let when = OnBodyEnd::new().slow_until(SlowUntil::End);
        let when = when.stream_alive_after(Duration::from_millis(alive_after));
        let layer = CircuitBreakerLayer::new(breaker.clone());
        let layer = layer.classify(ServerErrorsAsFailures).on_body_end(when);
        let next = Arc::new(AtomicU8::new(Step::Data as u8));
        let script = Arc::clone(&next);
        let respond = move |()| ready(Ok::<_, Broken>(Response::new(Script(Arc::clone(&script)))));
        let mut service = layer.layer(service_fn(respond));
        let mut context = Context::from_waker(Waker::noop());
        assert!(service.poll_ready(&mut context).is_ready(), "it never waits");
        let body = match pin!(service.call(())).poll(&mut context) {
            Poll::Ready(Ok(response)) => response.into_body(),
            Poll::Ready(Err(Error::Rejected(rejected))) => return Err(rejected),
            Poll::Ready(Err(error)) => panic!("not a rejection: {error:?}"),
            Poll::Pending => panic!("it never waits"),
        };
        let mut stream = Self { next, body };
        stream.poll(Step::Data);
        Ok(stream)
    }

    /// Polls the body, which panics if that is the step.
    pub(crate) fn poll(&mut self, step: Step) {
        self.next.store(step as u8, SeqCst);
        let mut context = Context::from_waker(Waker::noop());
        let poll = || Pin::new(&mut self.body).poll_frame(&mut context);
        match (step, panic::catch_unwind(AssertUnwindSafe(poll))) {
            (Step::Data, Ok(Poll::Ready(Some(Ok(_)))))
            | (Step::Fail, Ok(Poll::Ready(Some(Err(_)))))
            | (Step::End, Ok(Poll::Ready(None)))
            | (Step::Panic, Err(_)) => {}
            _ => panic!("the body is not passed on"),
        }
    }
}
