//! All snapshots of a store, read at once while many breakers are built.
//!
//! To ask the writer's thread for each snapshot takes two changes of threads a breaker: seconds for
//! a hundred thousand. So once several snapshots were read one by one in a short time, the writer
//! reads all of them, and the threads that build breakers find theirs here.
//!
//! What is here is never older than what this process has stored: a key that is saved or removed
//! is struck off and then read by itself, and so is one that was taken from here. Another process
//! may have stored something newer, so nothing stays here for long.

use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
    time::{Duration, Instant},
};

use super::client::StoreClient;
use crate::{store::StoreError, sync::std_lock};

/// This many reads within [`BURST`] start a preload.
const MANY: u32 = 32;
const BURST: Duration = Duration::from_secs(1);

/// How long what was read is used.
const LIFETIME: Duration = Duration::from_secs(2);

/// A store with more than this is not preloaded.
const MAX_BYTES: usize = 128 << 20;

/// The keys in a page. The writer looks for other work after each.
const PAGE: usize = 1024;

/// Values by their keys; `None` for keys that are struck off.
type Values = HashMap<String, Option<Vec<u8>>>;

/// What is known about a key.
pub(super) enum Found {
    /// Nothing: ask the store.
    Unknown,
    /// The store does not hold it.
    Nothing,
    Value(Vec<u8>),
}

#[derive(Default)]
pub(super) struct Preload(Mutex<State>);

#[derive(Default)]
struct State {
    /// When the burst of reads under way began, and how many there were.
    burst: Option<(Instant, u32)>,
    progress: Progress,
}

#[derive(Default)]
enum Progress {
    #[default]
    Idle,
    Wanted,
    Reading(Pages),
    Ready {
        values: Values,
        until: Instant,
    },
    /// The store holds too much, or could not be read.
    GivenUp,
}

#[derive(Default)]
struct Pages {
    /// What was read so far. It becomes a map when it is complete: a growing map would be laid out
    /// again and again while the threads that build breakers wait.
    read: Vec<Vec<(String, Vec<u8>)>>,
    /// What was struck off since the first page.
    forgotten: HashSet<String>,
    bytes: usize,
}

impl Pages {
    /// The last key that was read.
    fn last(&self) -> Option<&str> {
        self.read.last()?.last().map(|(key, _)| key.as_str())
    }

    fn into_values(self) -> Values {
        let keys = self.read.iter().map(Vec::len).sum::<usize>() + self.forgotten.len();
        let mut values = Values::with_capacity(keys);
        values.extend(self.forgotten.into_iter().map(|key| (key, None)));
        for (key, value) in self.read.into_iter().flatten() {
            values.entry(key).or_insert(Some(value));
        }
        values
    }
}

impl Preload {
    /// Takes the value of a key out.
    pub(super) fn take(&self, key: &str) -> Found {
        let mut state = std_lock(&self.0);
        let Progress::Ready { values, until } = &mut state.progress else { return Found::Unknown };
        if Instant::now() >= *until {
            return Found::Unknown;
        }
        match values.get_mut(key) {
            Some(value) => value.take().map_or(Found::Unknown, Found::Value),
            None => Found::Nothing,
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
        if loads >= MANY && matches!(state.progress, Progress::Idle) {
            state.progress = Progress::Wanted;
        }
    }

    /// Strikes off keys that are about to be saved or removed.
    pub(super) fn forget<'a>(&self, keys: impl Iterator<Item = &'a str>) {
        let keys = keys.map(str::to_owned);
        match &mut std_lock(&self.0).progress {
            Progress::Reading(pages) => pages.forgotten.extend(keys),
            Progress::Ready { values, .. } => values.extend(keys.map(|key| (key, None))),
            Progress::Idle | Progress::Wanted | Progress::GivenUp => {}
        }
    }

    /// When [`step`](Self::step) has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        match std_lock(&self.0).progress {
            Progress::Idle | Progress::GivenUp => None,
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
            Progress::Idle | Progress::GivenUp => {}
            Progress::Wanted => state.progress = Progress::Reading(Pages::default()),
            Progress::Reading(pages) => {
                let after = pages.last().map(str::to_owned);
                drop(state);
                let page = client.load_page(after.as_deref(), PAGE);
                return self.add(page);
            }
            Progress::Ready { .. } => {
                let old = std::mem::take(&mut state.progress);
                drop(state);
                drop(old);
            }
        }
        Ok(())
    }

    fn add(&self, page: Result<Vec<(String, Vec<u8>)>, StoreError>) -> Result<(), StoreError> {
        let mut state = std_lock(&self.0);
        let Progress::Reading(pages) = &mut state.progress else { return Ok(()) };
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                tracing::debug!(
                    target: "tower_breaker", %error,
                    "the snapshots could not be read at once: reading them one by one",
                );
                state.progress = Progress::GivenUp;
                return Err(error);
            }
        };
        let is_last = page.len() < PAGE;
        pages.bytes += page.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        pages.read.push(page);
        if pages.bytes > MAX_BYTES {
            state.progress = Progress::GivenUp;
        } else if is_last {
            let values = std::mem::take(pages).into_values();
            state.progress = Progress::Ready { values, until: Instant::now() + LIFETIME };
        }
        Ok(())
    }
}
