//! The names of the breakers whose snapshots a store holds, for a group that restores them.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc::{self, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    client::{Monitor, StoreClient},
    health::Instants,
    keys,
    known_store::KnownStore,
    threads::Starter,
    watchdog::{self, PATIENCE, Watched},
};
use crate::{
    snapshot::Snapshot,
    state::State,
    store::{StoreError, drop_blocking},
    sync::log,
};

/// The keys in a page.
const PAGE: usize = 1024;

/// The delay before a store is read again that could not be read. It doubles with each attempt.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Which names are wanted, and of which store.
pub(crate) struct NamesWanted {
    /// `None`: none are wanted any more.
    pub(crate) store: Box<dyn Fn() -> Option<KnownStore> + Send>,
    pub(crate) belongs: Box<dyn Fn(&str) -> bool + Send>,
    /// How many at most: those of breakers that were set by hand before others that are not
    /// closed, and these before the rest.
    pub(crate) limit: usize,
}

/// A thread that finds names, and ends when it has found all.
pub(crate) struct NameSearch {
    starter: Starter,
    is_done: Arc<AtomicBool>,
}

/// Which page of a store is visited.
type Visit =
    fn(&StoreClient, Option<&str>, usize, &mut dyn FnMut(&str, &[u8])) -> Result<(), StoreError>;

impl NameSearch {
    pub(crate) fn new() -> Self {
        Self { starter: Starter::new("breaker-names"), is_done: Arc::new(AtomicBool::new(true)) }
    }

    /// Reads the names on a thread of its own and passes them to `found` there. A store that cannot
    /// be read is read again later; until then, a part of the names may be found. Once all are,
    /// calls `done`.
    ///
    /// Waits until the store was read once and `found` has returned, but no longer than `wait`: a
    /// slow store has its names found later.
    pub(crate) fn start(
        &self,
        wanted: NamesWanted,
        wait: Duration,
        found: impl FnMut(Vec<String>) + Send + 'static,
        done: impl FnOnce() + Send + 'static,
    ) {
        self.is_done.store(false, SeqCst);
        let is_done = Arc::clone(&self.is_done);
        let (first, first_ended) = mpsc::sync_channel::<()>(1);
        let search = move || {
            search(&wanted, found, first, || {
                is_done.store(true, SeqCst);
                done();
            });
        };
        match self.starter.start(search) {
            // The end of the first attempt drops the sender.
            Ok(()) => drop(first_ended.recv_timeout(wait)),
            Err(error) => log(|| {
                tracing::warn!(
                    target: "tower_breaker",
                    %error,
                    "no thread to read the names of stored circuit breakers: until one can be \
                     started, breakers of a group are restored when their keys are used; raise \
                     the limit on threads of this user or container"
                );
            }),
        }
    }

    /// Whether all names were found. One load.
    pub(crate) fn is_done(&self) -> bool {
        self.is_done.load(SeqCst)
    }

    /// Starts the thread if it could not be started so far.
    pub(crate) fn retry(&self) {
        self.starter.retry();
    }
}

/// The call under way, for the watchdog. Whatever the search learns of the store's health, it
/// keeps to itself: the store may have a breaker, whose writer has a client of its own.
pub(super) struct SearchCall(pub(super) Arc<Monitor>);

impl Watched for SearchCall {
    fn check(&self) -> bool {
        let monitor = &self.0;
        let age = monitor.health().call_age(Instant::now());
        let is_news = age.filter(|age| *age >= monitor.patience).is_some_and(|waited| {
            // The guard of the lock must not last until the log.
            monitor.health().overdue(waited, Instants::read()).is_some()
        });
        if is_news {
            log(|| {
                tracing::warn!(
                    target: "tower_breaker",
                    store = monitor.metrics.label(),
                    "the store does not answer while the names of stored circuit breakers are \
                     read: until it does, breakers of a group are restored when their keys are \
                     used; check the store",
                );
            });
        }
        age.is_some()
    }
}

/// A client whose calls the watchdog watches as long as the second value lives.
pub(super) fn watched_client(store: KnownStore) -> (StoreClient, Arc<SearchCall>) {
    let monitor = Arc::new(Monitor::new(PATIENCE, &store));
    let call = Arc::new(SearchCall(Arc::clone(&monitor)));
    let watched: Weak<dyn Watched> = Arc::downgrade(&call) as _;
    watchdog::watch(watched);
    (StoreClient::new(store, monitor), call)
}

fn search(
    wanted: &NamesWanted,
    mut found: impl FnMut(Vec<String>),
    first: SyncSender<()>,
    done: impl FnOnce(),
) {
    let mut first = Some(first);
    let (mut has_reached, mut pause) = (false, FIRST_PAUSE);
    loop {
        // Between two attempts, the store is not held.
        let Some(store) = (wanted.store)() else { return };
        let (client, _watched) = watched_client(store);
        let names = read(&client, wanted, StoreClient::visit_page, true);
        let is_complete = match names {
            Ok(names) => {
                found(names);
                true
            }
            Err(error) => {
                if first.is_some() {
                    log(|| {
                        tracing::warn!(
                            target: "tower_breaker",
                            store = client.label(),
                            %error,
                            "the names of stored circuit breakers could not be read: until they \
                             can, breakers of a group are restored when their keys are used; check \
                             the store"
                        );
                    });
                }
                // Once: it may be much, and of a store that is busy.
                if !has_reached
                    && let Ok(names) =
                        read(&client, wanted, StoreClient::visit_reachable_page, false)
                {
                    found(names);
                    has_reached = true;
                }
                false
            }
        };
        if is_complete && first.is_none() {
            log(|| {
                tracing::info!(
                    target: "tower_breaker",
                    store = client.label(),
                    "the names of stored circuit breakers were read",
                );
            });
        }
        drop_blocking(client);
        if is_complete {
            done();
            return;
        }
        first = None;
        thread::sleep(pause);
        pause = (2 * pause).min(LONGEST_PAUSE);
    }
}

/// `with_closed`: also the names of closed circuits.
fn read(
    client: &StoreClient,
    wanted: &NamesWanted,
    visit: Visit,
    with_closed: bool,
) -> Result<Vec<String>, StoreError> {
    let mut by_hand = Vec::new();
    let (mut others, mut closed) = (Vec::new(), Vec::new());
    let mut after: Option<String> = None;
    loop {
        let (mut length, mut last) = (0, String::new());
        visit(client, after.as_deref(), PAGE, &mut |key, value| {
            length += 1;
            key.clone_into(&mut last);
            let Some(name) = keys::name_of_snapshot(key) else { return };
            // An empty value cannot be read.
            if value.is_empty() || !(wanted.belongs)(name) {
                return;
            }
            let names = match Snapshot::from_json(value).map(|snapshot| snapshot.state) {
                // It loses little by waiting until the whole store says so.
                Ok(State::Closed) if !with_closed => return,
                Ok(State::Closed) => &mut closed,
                Ok(state) if state.is_manual() => &mut by_hand,
                _ => &mut others,
            };
            if names.len() < wanted.limit {
                names.push(name.to_owned());
            }
        })?;
        if length < PAGE {
            break;
        }
        after = Some(last);
    }
    by_hand.append(&mut others);
    by_hand.append(&mut closed);
    by_hand.truncate(wanted.limit);
    Ok(by_hand)
}
