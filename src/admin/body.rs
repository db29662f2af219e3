//! The body of an answer.

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::events::EventStream;

/// The body of an answer of [`Admin`](super::Admin): complete, or a stream of events.
pub struct AdminBody(BodyContent);

enum BodyContent {
    /// `None` once it was read.
    Complete(Option<Bytes>),
    Events(Box<EventStream>),
}

impl AdminBody {
    pub(super) fn events(stream: EventStream) -> Self {
        Self(BodyContent::Events(Box::new(stream)))
    }

    pub(super) const fn empty() -> Self {
        Self(BodyContent::Complete(None))
    }
}

impl From<Bytes> for AdminBody {
    fn from(bytes: Bytes) -> Self {
        Self(BodyContent::Complete(Some(bytes)))
    }
}

impl Body for AdminBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match &mut self.0 {
            BodyContent::Complete(bytes) => bytes.take(),
            BodyContent::Events(stream) => std::task::ready!(stream.poll_next(cx)),
        };
        Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            BodyContent::Complete(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            BodyContent::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            BodyContent::Complete(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            BodyContent::Events(_) => SizeHint::default(),
        }
    }
}

impl fmt::Debug for AdminBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminBody").finish_non_exhaustive()
    }
}
