//! A body that follows a script, and functions to read it.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;
use tokio_test::{assert_ready, task};

pub(crate) enum Step {
    Data(&'static str),
    Trailers(HeaderMap),
    Fail,
    Wait(Duration),
    /// Nothing more comes, and nothing wakes the reader.
    Pause,
}

pub(crate) use Step::{Data, Fail, Pause, Wait};

/// A body with scripted steps. By default it is like a stream: it reports neither its length nor,
/// before it is polled again, its end.
pub(crate) struct Script {
    steps: VecDeque<Step>,
    sleep: Option<Pin<Box<Sleep>>>,
    length: Option<u64>,
    knows_its_end: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken;

impl Script {
    pub(crate) fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        let steps = steps.into_iter().collect();
        Self { steps, sleep: None, length: None, knows_its_end: false }
    }

    /// Reports this length.
    pub(crate) fn announcing(mut self, length: u64) -> Self {
        self.length = Some(length);
        self
    }

    /// Reports its end with the last frame.
    pub(crate) fn knowing_its_end(mut self) -> Self {
        self.knows_its_end = true;
        self
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        if let Some(Pause) = this.steps.front() {
            return Poll::Pending;
        }
        if let Some(Wait(time)) = this.steps.front() {
            let sleep = this.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(*time)));
            ready!(sleep.as_mut().poll(cx));
            this.sleep = None;
            this.steps.pop_front();
        }
        Poll::Ready(match this.steps.pop_front() {
            None => None,
            Some(Data(data)) => {
                this.length = this.length.map(|left| left.saturating_sub(data.len() as u64));
                Some(Ok(Frame::data(Bytes::from_static(data.as_bytes()))))
            }
            Some(Step::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Some(Fail) => Some(Err(Broken)),
            Some(Wait(_) | Pause) => unreachable!("one wait at a time"),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.knows_its_end && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

pub(crate) fn trailers(name: &'static str, value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static(value))])
}

/// The next frame of a body that is ready.
pub(crate) fn next<B: Body + Unpin>(body: &mut B) -> Option<Result<Frame<B::Data>, B::Error>> {
    assert_ready!(task::spawn(()).enter(|cx, _| Pin::new(&mut *body).poll_frame(cx)))
}

/// The data of the next frame.
pub(crate) fn next_data<B>(body: &mut B) -> B::Data
where
    B: Body<Error: std::fmt::Debug> + Unpin,
{
    next(body).expect("a frame").expect("no error").into_data().ok().expect("data")
}
