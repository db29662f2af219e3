//! Bodies that are sent in pieces.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// A body whose pieces come from a channel. It ends when the sender is dropped.
pub(crate) struct Pieces(Receiver<io::Result<&'static str>>);

pub(crate) fn pieces() -> (Sender<io::Result<&'static str>>, Pieces) {
    let (sender, receiver) = channel(16);
    (sender, Pieces(receiver))
}

/// A body with these pieces, complete from the start.
pub(crate) fn prepared(script: impl IntoIterator<Item = io::Result<&'static str>>) -> Pieces {
    let (sender, pieces) = pieces();
    for piece in script {
        sender.try_send(piece).unwrap();
    }
    pieces
}

pub(crate) fn broken() -> io::Result<&'static str> {
    Err(io::Error::other("the source is gone"))
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let polled = self.0.poll_recv(cx);
        polled.map(|piece| piece.map(|piece| piece.map(|data| Frame::data(data.into()))))
    }
}
