//! What watching a body does not change.

use std::{
    marker::PhantomPinned,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use allocation_counter::measure;
use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use tower_breaker::{
    OnBodyEnd,
    body::ResponseBody,
    classify::{ServerErrorsAsFailures, SuccessAtEos},
};

use super::{
    Setup,
    script::{Data, Script, next, trailers},
};

#[test]
fn size_hint_and_is_end_stream_are_those_of_the_inner_body_at_every_step() {
    let setup = Setup::new();
    let script = || Script::new([Data("half "), Data("whole")]).announcing(10).knowing_its_end();
    let (mut plain, mut watched) = (script(), setup.body(script()));
    for _ in 0..3 {
        assert_eq!(watched.size_hint().exact(), plain.size_hint().exact());
        assert_eq!(watched.size_hint().lower(), plain.size_hint().lower());
        assert_eq!(watched.is_end_stream(), plain.is_end_stream());
        let (ours, theirs) = (next(&mut watched), next(&mut plain));
        assert_eq!(
            ours.map(|frame| frame.unwrap().into_data().unwrap()),
            theirs.map(|frame| frame.unwrap().into_data().unwrap()),
        );
    }
    assert_eq!(setup.counted(), (1, 0));
    let unknown = setup.body(Script::new([]));
    assert_eq!((unknown.size_hint().lower(), unknown.size_hint().upper()), (0, None));
}

/// Whether a type is `Unpin` and `Send`: the inherent constant wins if its bound holds.
trait Otherwise {
    const UNPIN: bool = false;
    const SEND: bool = false;
}

impl<T> Otherwise for T {}

struct IsUnpin<T>(std::marker::PhantomData<T>);

impl<T: Unpin> IsUnpin<T> {
    const UNPIN: bool = true;
}

struct IsSend<T>(std::marker::PhantomData<T>);

impl<T: Send + Sync> IsSend<T> {
    const SEND: bool = true;
}

type Of<B> = ResponseBody<B, SuccessAtEos>;

#[test]
fn a_watched_body_is_unpin_send_and_sync_if_the_inner_body_is() {
    const { assert!(IsUnpin::<Of<Full<Bytes>>>::UNPIN) }
    const { assert!(!IsUnpin::<Of<PhantomPinned>>::UNPIN) }
    const { assert!(IsSend::<Of<Full<Bytes>>>::SEND) }
    const { assert!(!IsSend::<Of<Rc<()>>>::SEND) }
}

/// A body that must not be moved is polled in place.
#[tokio::test]
async fn a_body_that_is_not_unpin_is_watched_too() {
    let setup = Setup::new();
    let later = async { Some(Ok(trailers("checksum", "7"))) };
    let body = Full::new(Bytes::from_static(b"whole")).with_trailers(later);
    let body = Box::pin(setup.body(body));
    let collected = body.collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap(), &trailers("checksum", "7"));
    assert_eq!(collected.to_bytes(), "whole");
    assert_eq!(setup.counted(), (1, 0));
}

#[test]
fn reading_a_frame_allocates_nothing() {
    for settle in [OnBodyEnd::new(), OnBodyEnd::new().stall_timeout(Duration::from_secs(1))] {
        let setup = Setup::with(ServerErrorsAsFailures, settle);
        let mut body = setup.body(Script::new((0..1000).map(|_| Data("piece"))));
        let mut cx = Context::from_waker(Waker::noop());
        let counted = measure(|| {
            for _ in 0..=1000 {
                assert!(Pin::new(&mut body).poll_frame(&mut cx).is_ready());
            }
        });
        assert_eq!(counted.count_total, 0);
        assert_eq!(setup.counted(), (1, 0));
    }
}

/// Is pending before each piece.
struct Halting(u32);

impl Body for Halting {
    type Data = Bytes;
    type Error = ();

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ()>>> {
        self.0 += 1;
        if self.0 % 2 == 1 {
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"piece")))))
    }
}

/// The timer of the stall timeout is created once for each body.
#[tokio::test(start_paused = true)]
async fn only_the_first_wait_allocates() {
    let settle = OnBodyEnd::new().stall_timeout(Duration::from_secs(1));
    let setup = Setup::with(ServerErrorsAsFailures, settle);
    let mut body = setup.body(Halting(0));
    let mut cx = Context::from_waker(Waker::noop());
    let mut poll = |times| {
        for _ in 0..times {
            let _ = Pin::new(&mut body).poll_frame(&mut cx);
        }
    };
    assert_eq!(measure(|| poll(1)).count_total, 1);
    assert_eq!(measure(|| poll(1001)).count_total, 0);
}
