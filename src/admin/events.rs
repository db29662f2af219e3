//! Events as they happen, as server-sent events.

use std::{
    collections::HashSet,
    fmt::Write as _,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{
    broadcast::{
        Receiver,
        error::RecvError::{self, Closed, Lagged},
    },
    watch,
};

use super::{
    resume::{Next, Positions},
    source::AdminSource,
    view::{self, BreakerView},
};
use crate::{event::Event, timer::Timer};

/// A client that hears nothing for longer than this has lost the connection.
const BEAT: Duration = Duration::from_secs(5);

/// How long a stream lasts. A server that shuts down gracefully waits for it, so it must end; the
/// client comes back at once.
const LIFE: Duration = Duration::from_secs(20);

/// How long a client waits before it comes back.
const RETRY_MS: u32 = 500;

/// Counts the open streams.
#[derive(Debug, Clone, Default)]
pub(super) struct Listeners(Arc<AtomicUsize>);

impl Listeners {
    /// A place for one more stream, if there are less than `limit`.
    pub(super) fn enter(&self, limit: usize) -> Option<ListenerSlot> {
        let more = |open| (open < limit).then_some(open + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(ListenerSlot(self.clone()))
    }
}

/// The place of one stream, which is free again when it is dropped.
#[derive(Debug)]
pub(super) struct ListenerSlot(Listeners);

impl Drop for ListenerSlot {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream of events. It holds no event: each is made when the connection takes it. What a slow
/// client misses meanwhile is replaced by the advice to read everything again.
pub(super) struct EventStream {
    source: AdminSource,
    vital: Arc<HashSet<String>>,
    next: Vec<Next>,
    closed: Pin<Box<dyn Future<Output = ()> + Send>>,
    greeting: Option<Bytes>,
    beat: Timer,
    end: Timer,
    has_ended: bool,
    positions: Positions,
    max_positions: usize,
    _place: ListenerSlot,
}

/// Where a stream begins.
pub(super) struct Start<'a> {
    /// The positions of the streams that have ended, and how many are kept.
    pub(super) positions: Positions,
    pub(super) max_positions: usize,
    /// The stream that this one follows.
    pub(super) after: Option<&'a str>,
}

impl EventStream {
    pub(super) fn new(
        source: AdminSource,
        vital: Arc<HashSet<String>>,
        mut closing: watch::Receiver<()>,
        place: ListenerSlot,
        Start { positions, max_positions, after }: Start<'_>,
    ) -> Self {
        positions.expire();
        let resumed = after.and_then(|after| positions.take(after));
        let hello = json!({ "now": view::now(), "resumed": resumed.is_some() });
        let hello = frame("hello", &hello);
        let greeting = format!("retry: {RETRY_MS}\n{}", String::from_utf8_lossy(&hello));
        let mut end = Timer::new();
        end.set(LIFE);
        let mut beat = Timer::new();
        beat.set(BEAT);
        // An error means that the service is gone.
        let closed = Box::pin(async move { drop(closing.changed().await) });
        let subscribe = || source.subscribe().into_iter().map(next).collect();
        let next = resumed.unwrap_or_else(subscribe);
        let greeting = Some(greeting.into());
        Self {
            source,
            vital,
            next,
            closed,
            greeting,
            beat,
            end,
            has_ended: false,
            positions,
            max_positions,
            _place: place,
        }
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        if let Some(greeting) = self.greeting.take() {
            return Poll::Ready(Some(greeting));
        }
        if self.closed.as_mut().poll(cx).is_ready() || self.end.poll(cx).is_ready() {
            self.has_ended = true;
            let after = self.positions.keep(std::mem::take(&mut self.next), self.max_positions);
            let bye = json!({ "now": view::now(), "after": after });
            return Poll::Ready(Some(frame("bye", &bye)));
        }
        let mut at = 0;
        while let Some(waiting) = self.next.get_mut(at) {
            match waiting.as_mut().poll(cx) {
                Poll::Pending => at += 1,
                Poll::Ready((Err(Closed), _)) => drop(self.next.swap_remove(at)),
                Poll::Ready((received, events)) => {
                    *waiting = next(events);
                    self.beat.set(BEAT);
                    return Poll::Ready(Some(self.describe(received)));
                }
            }
        }
        std::task::ready!(self.beat.poll(cx));
        self.beat.set(BEAT);
        Poll::Ready(Some(frame("beat", &json!({ "now": view::now() }))))
    }

    fn describe(&self, received: Result<Event, RecvError>) -> Bytes {
        let (kind, name, what) = match received {
            Ok(Event::Transition(transition)) => {
                ("transition", Arc::clone(&transition.name), json!(transition))
            }
            Ok(Event::WouldTrip(event)) => {
                let what = json!({ "reason": event.reason, "failure_count": event.failure_count });
                ("would_trip", event.name, what)
            }
            Ok(Event::Store(event)) => ("store", event.name, Value::Null),
            Err(Lagged(missed)) => {
                return frame("resync", &json!({ "now": view::now(), "missed": missed }));
            }
            Err(Closed) => return frame("resync", &json!({ "now": view::now() })),
        };
        let now = view::now();
        let is_vital = self.vital.contains(&*name);
        let breaker = self
            .source
            .get(&name)
            .map(|entry| BreakerView::of(&entry.breaker, self.source.group_of(&entry), is_vital));
        frame(kind, &json!({ "now": now, "breaker": breaker, "event": what }))
    }
}

fn next(mut receiver: Receiver<Event>) -> Next {
    Box::pin(async move { (receiver.recv().await, receiver) })
}

/// One event. JSON holds no line break.
fn frame(kind: &str, data: &Value) -> Bytes {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write!(text, "event: {kind}\ndata: {data}\n\n");
    text.into()
}
