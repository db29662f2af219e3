//! All snapshots of a store, read at once while many breakers are built.
//!
//! To ask the writer's thread for each snapshot takes two changes of threads a breaker, seconds for a hundred
//! thousand of them. So when several were read one after the other in a short time, the writer reads all there
//! are, and the threads that build breakers find theirs here.
//!
//! What lies here is never older than what this process has stored: a key that is saved or removed is struck off,
//! and read by itself as before, and so is one that was taken from here. And nothing lies here for long.

use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
    time::{Duration, Instant},
};

use super::writer::Writer;
use crate::{store::StateStore, sync::std_lock as lock};

/// So many within [`BURST`] are many.
const MANY: u32 = 32;
const BURST: Duration = Duration::from_secs(1);

/// How long what was read lies here.
const LIFE: Duration = Duration::from_secs(2);

/// A store with more than that is not read at once.
const MOST_BYTES: usize = 128 << 20;

/// Keys that are read before the writer looks whether it has anything better to do.
const PAGE: usize = 1024;

/// Values by their keys; `None` for those that are struck off.
type Values = HashMap<String, Option<Vec<u8>>>;

/// What is known of a key.
pub(super) enum Found {
    /// The store has to be asked.
    Unknown,
    /// It is not in the store.
    Nothing,
    Value(Vec<u8>),
}

#[derive(Default)]
pub(super) struct Shelf(Mutex<State>);

#[derive(Default)]
struct State {
    /// When the burst of loads that is under way began, and how many they are.
    burst: Option<(Instant, u32)>,
    stage: Stage,
}

#[derive(Default)]
enum Stage {
    #[default]
    Empty,
    Wanted,
    Filling(Filling),
    Full {
        values: Values,
        until: Instant,
    },
    /// The store has too much, or could not read it.
    GivenUp,
}

#[derive(Default)]
struct Filling {
    /// What was read. It is sorted in only when it is all there: a map that grew with it would be laid out anew
    /// again and again, with each key looked at each time, while those who build breakers wait.
    pages: Vec<Vec<(String, Vec<u8>)>>,
    /// What was struck off since it began.
    forgotten: HashSet<String>,
    bytes: usize,
}

impl Filling {
    /// The key up to which all was read.
    fn last(&self) -> Option<&str> {
        self.pages.last()?.last().map(|(key, _)| key.as_str())
    }

    fn finish(self) -> Values {
        let read = self.pages.iter().map(Vec::len).sum::<usize>();
        let mut values = Values::with_capacity(read + self.forgotten.len());
        values.extend(self.forgotten.into_iter().map(|key| (key, None)));
        for (key, value) in self.pages.into_iter().flatten() {
            values.entry(key).or_insert(Some(value));
        }
        values
    }
}

impl Shelf {
    /// The value of the key, once.
    pub(super) fn take(&self, key: &str) -> Found {
        let mut state = lock(&self.0);
        let Stage::Full { values, until } = &mut state.stage else { return Found::Unknown };
        if Instant::now() >= *until {
            return Found::Unknown;
        }
        match values.get_mut(key) {
            Some(value) => value.take().map_or(Found::Unknown, Found::Value),
            None => Found::Nothing,
        }
    }

    /// A key is being read by itself.
    pub(super) fn note_load(&self) {
        let mut state = lock(&self.0);
        let now = Instant::now();
        let (began, loads) = match state.burst {
            Some((began, loads)) if now.duration_since(began) < BURST => (began, loads + 1),
            _ => (now, 1),
        };
        state.burst = Some((began, loads));
        if loads >= MANY && matches!(state.stage, Stage::Empty) {
            state.stage = Stage::Wanted;
        }
    }

    /// The keys are about to be saved or removed.
    pub(super) fn forget<'a>(&self, keys: impl Iterator<Item = &'a str>) {
        let keys = keys.map(str::to_owned);
        match &mut lock(&self.0).stage {
            Stage::Filling(filling) => filling.forgotten.extend(keys),
            Stage::Full { values, .. } => values.extend(keys.map(|key| (key, None))),
            Stage::Empty | Stage::Wanted | Stage::GivenUp => {}
        }
    }

    pub(super) fn is_in_use(&self) -> bool {
        matches!(lock(&self.0).stage, Stage::Filling(_) | Stage::Full { .. })
    }

    /// When [`tend`](Self::tend) has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        match lock(&self.0).stage {
            Stage::Empty | Stage::GivenUp => None,
            Stage::Wanted | Stage::Filling(_) => Some(Instant::now()),
            Stage::Full { until, .. } => Some(until),
        }
    }

    /// Reads a page, or takes away what has been here for long enough, if it is time for that. Also between rounds
    /// that follow each other at once: or else those who build breakers, one after the other, would keep the writer
    /// from it by asking for each.
    pub(super) fn tend(&self, writer: &Writer, store: &dyn StateStore) -> bool {
        let is_due = self.due().is_some_and(|due| due <= Instant::now());
        if is_due {
            self.work(writer, store);
        }
        is_due
    }

    fn work(&self, writer: &Writer, store: &dyn StateStore) {
        let mut state = lock(&self.0);
        match &mut state.stage {
            Stage::Empty | Stage::GivenUp => {}
            Stage::Wanted => state.stage = Stage::Filling(Filling::default()),
            Stage::Filling(filling) => {
                let after = filling.last().map(str::to_owned);
                drop(state);
                self.read_page(writer, store, after.as_deref());
            }
            Stage::Full { until, .. } if Instant::now() < *until => {}
            Stage::Full { .. } => {
                let old = std::mem::take(&mut state.stage);
                drop(state);
                drop(old);
            }
        }
    }

    fn read_page(&self, writer: &Writer, store: &dyn StateStore, after: Option<&str>) {
        let page = writer.call(|| store.load_page(after, PAGE));
        // Before the lock is taken: those who are told may build breakers.
        if let Err(error) = &page {
            writer.note_failure(error);
        }
        let mut state = lock(&self.0);
        let Stage::Filling(filling) = &mut state.stage else { return };
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                tracing::debug!(target: "tower_breaker", %error, "the store could not be read at once");
                state.stage = Stage::GivenUp;
                return;
            }
        };
        let is_last = page.len() < PAGE;
        filling.bytes += page.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        filling.pages.push(page);
        if filling.bytes > MOST_BYTES {
            state.stage = Stage::GivenUp;
        } else if is_last {
            let values = std::mem::take(filling).finish();
            state.stage = Stage::Full { values, until: Instant::now() + LIFE };
        }
    }
}
