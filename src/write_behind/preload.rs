//! All snapshots of a store, read at once while many breakers are built.
//!
//! To ask the writer's thread for each snapshot takes two changes of threads a breaker: seconds for
//! a hundred thousand. So once several snapshots were read one by one in a short time, the writer
//! reads all of them, and the threads that build breakers find theirs here, also while the rest is
//! being read.
//!
//! What is here is never older than what this process has stored: a key that is saved or removed
//! is struck off and then read by itself, and so is one that was taken from here. Another process
//! may have stored something newer, so nothing stays here for long.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use super::{
    client::StoreClient,
    pages::{Lookup, Page, Pages, Value},
};
use crate::{
    store::StoreError,
    sync::{log, std_lock},
};

/// This many reads within [`BURST`] start a preload.
const MANY: u32 = 32;
const BURST: Duration = Duration::from_secs(1);

/// How long what was read is used.
const LIFETIME: Duration = Duration::from_secs(2);

/// A store with more than this is not preloaded.
const MAX_BYTES: usize = 128 << 20;

/// How long snapshots are read one by one after they could not be read at once.
const PAUSE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });

/// How long snapshots are read one by one from a store that holds too much.
const LONG_PAUSE: Duration = Duration::from_secs(600);

/// The keys in a page. The writer looks for other work after each.
const PAGE: usize = 1024;

/// What is known about a key.
pub(super) enum Preloaded {
    /// Nothing: ask the store.
    Unknown,
    /// The store does not hold it.
    Nothing,
    Value(Value),
}

#[derive(Default)]
pub(super) struct Preload(Mutex<PreloadState>);

#[derive(Default)]
struct PreloadState {
    /// When the burst of reads under way began, and how many there were.
    burst: Option<(Instant, u32)>,
    progress: Progress,
}

#[derive(Default)]
enum Progress {
    #[default]
    Idle,
    Wanted,
    /// What was read so far is used already.
    Reading(Pages),
    Ready {
        pages: Pages,
        until: Instant,
    },
    /// The store holds too much, or could not be read: not tried again before that time.
    GivenUp {
        until: Instant,
    },
}

impl Preload {
    /// Takes the value of a key with this [hash](super::hashes::hash) out.
    pub(super) fn take(&self, key: &str, hash: u64) -> Preloaded {
        let mut state = std_lock(&self.0);
        let (pages, is_complete) = match &mut state.progress {
            Progress::Reading(pages) => (pages, false),
            Progress::Ready { pages, until } if Instant::now() < *until => (pages, true),
            _ => return Preloaded::Unknown,
        };
        match pages.take(key, hash) {
            Lookup::Present(value) => Preloaded::Value(value),
            Lookup::Absent if is_complete => Preloaded::Nothing,
            Lookup::Absent | Lookup::StruckOff => Preloaded::Unknown,
        }
    }

    /// A snapshot is being read by itself.
    pub(super) fn note_load(&self) {
        let mut state = std_lock(&self.0);
        let now = Instant::now();
        let (began, loads) = match state.burst {
            Some((began, loads)) if now.duration_since(began) < BURST => (began, loads + 1),
            _ => (now, 1),
        };
        state.burst = Some((began, loads));
        let may_begin = match state.progress {
            Progress::Idle => true,
            Progress::GivenUp { until } => now >= until,
            _ => false,
        };
        if loads >= MANY && may_begin {
            state.progress = Progress::Wanted;
        }
    }

    /// Strikes off keys that are about to be saved or removed.
    pub(super) fn forget<'a>(&self, keys: impl Iterator<Item = &'a str>) {
        if let Progress::Reading(pages) | Progress::Ready { pages, .. } =
            &mut std_lock(&self.0).progress
        {
            keys.for_each(|key| pages.strike_off(key));
        }
    }

    /// When [`step`](Self::step) has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        match std_lock(&self.0).progress {
            Progress::Idle | Progress::GivenUp { .. } => None,
            Progress::Wanted | Progress::Reading(_) => Some(Instant::now()),
            Progress::Ready { until, .. } => Some(until),
        }
    }

    /// Reads a page, or discards what is too old, if it is time for that. Returns whether it was.
    pub(super) fn step(&self, client: &StoreClient) -> Result<bool, StoreError> {
        let is_due = self.due().is_some_and(|due| due <= Instant::now());
        if is_due {
            self.advance(client)?;
        }
        Ok(is_due)
    }

    fn advance(&self, client: &StoreClient) -> Result<(), StoreError> {
        let mut state = std_lock(&self.0);
        match &mut state.progress {
            Progress::Idle | Progress::GivenUp { .. } => {}
            Progress::Wanted => state.progress = Progress::Reading(Pages::default()),
            Progress::Reading(pages) => {
                let after = pages.last_key();
                let mut page = Page::with_capacity(PAGE, pages.expected_bytes());
                // Without the lock: the threads that build breakers need it meanwhile.
                drop(state);
                let mut add = |key: &str, value: &[u8]| page.push(key, value);
                let read = client.visit_page(after.as_deref(), PAGE, &mut add);
                return self.add(read.map(|()| page), client.expires_by_itself());
            }
            Progress::Ready { .. } => {
                let old = std::mem::take(&mut state.progress);
                drop(state);
                drop(old);
            }
        }
        Ok(())
    }

    /// A store whose entries expire by themselves may lose what it lists them by, for example by
    /// the memory policy of a server. So if it lists nothing, each key is asked for by itself.
    fn add(&self, page: Result<Page, StoreError>, may_expire: bool) -> Result<(), StoreError> {
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                log(|| {
                    tracing::debug!(
                        target: "tower_breaker", %error,
                        "the snapshots could not be read at once: reading them one by one",
                    );
                });
                self.give_up(PAUSE);
                return Err(error);
            }
        };
        let is_last = page.len() < PAGE;
        let is_empty = page.len() == 0;
        if page.is_too_large() {
            self.give_up(LONG_PAUSE);
            return Ok(());
        }
        let mut state = std_lock(&self.0);
        let Progress::Reading(pages) = &mut state.progress else { return Ok(()) };
        if is_empty && may_expire && pages.last_key().is_none() {
            drop(state);
            self.give_up(PAUSE);
            return Ok(());
        }
        pages.add(page);
        if pages.bytes() > MAX_BYTES {
            drop(state);
            self.give_up(LONG_PAUSE);
        } else if is_last {
            let pages = std::mem::take(pages);
            state.progress = Progress::Ready { pages, until: Instant::now() + LIFETIME };
        }
        Ok(())
    }

    fn give_up(&self, pause: Duration) {
        let given_up = Progress::GivenUp { until: Instant::now() + pause };
        let old = std::mem::replace(&mut std_lock(&self.0).progress, given_up);
        drop(old);
    }
}
