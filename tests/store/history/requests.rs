//! Requests for histories that a slow store cannot keep up with.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use tower_breaker::{
    Breaker, MemoryStore, StateStore,
    history::{HistoryError, HistoryPage, HistoryQuery},
    store::{HistoryRecord, HistoryStore, StoreError},
};

use super::breaker;
use crate::support::pass_on::pass_on;

const READ: Duration = Duration::from_millis(50);

/// Takes its time for each read of a history.
#[derive(Clone)]
struct Slow {
    inner: MemoryStore,
    reads: Arc<AtomicUsize>,
}

impl Slow {
    fn new() -> Self {
        Self { inner: MemoryStore::new(), reads: Arc::default() }
    }
}

impl StateStore for Slow {
    pass_on!(load, load_page, save, delete, id);

    fn history(&self) -> Option<&dyn HistoryStore> {
        Some(self)
    }
}

impl HistoryStore for Slow {
    pass_on!(append, keys, trim);

    fn load_newest(
        &self,
        key: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<HistoryRecord>, StoreError> {
        self.reads.fetch_add(1, SeqCst);
        thread::sleep(READ);
        self.inner.load_newest(key, before, limit)
    }
}

type Answer = Result<HistoryPage, HistoryError>;
type Asked<'a> = Pin<Box<dyn Future<Output = Answer> + 'a>>;

/// Asks, and looks once whether there is an answer.
fn ask(breaker: &Breaker) -> (Asked<'_>, Option<Answer>) {
    let mut asked: Asked<'_> = Box::pin(breaker.history(HistoryQuery::default()));
    match asked.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => (asked, Some(answer)),
        Poll::Pending => (asked, None),
    }
}

#[tokio::test]
async fn what_no_caller_waits_for_any_more_is_not_read() {
    let store = Slow::new();
    let breaker = breaker("abandoned", store.clone());
    for _ in 0..10 {
        // Not one by one: some are part of the batch that the next ones wait for.
        let many: Vec<_> = (0..100).map(|_| ask(&breaker)).collect();
        drop(many);
    }
    breaker.history(HistoryQuery::default()).await.unwrap();
    let reads = store.reads.load(SeqCst);
    assert!(reads < 200, "{reads} reads for one caller");
}

#[tokio::test]
async fn a_bounded_number_of_callers_wait_and_the_others_are_refused() {
    const BOUND: usize = 1000;
    let store = Slow::new();
    let breaker = breaker("crowded", store.clone());
    let mut asked: Vec<_> = (0..BOUND + 500).map(|_| ask(&breaker)).collect();
    let answered = store.reads.load(SeqCst);
    let refused: Vec<_> = asked.iter().filter_map(|(_, answer)| answer.clone()).collect();
    assert!((500 - answered..=500).contains(&refused.len()), "{} refused", refused.len());
    for answer in refused {
        let error = answer.unwrap_err().to_string();
        assert!(error.contains("too many requests for histories wait"), "{error}");
    }
    // The first ones are answered, and those that give up make room.
    let (first, _) = asked.swap_remove(0);
    first.await.unwrap();
    asked.clear();
    breaker.history(HistoryQuery::default()).await.unwrap();
    assert!(store.reads.load(SeqCst) < BOUND / 2);
}
