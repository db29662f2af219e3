//! What the history of a breaker has to hold after a fault.

use serde::{Deserialize, Serialize};
use tower_breaker::{
    Breaker, StateStore,
    event::{Event, Reason, Transition},
    history::{HistoryEntry, HistoryQuery},
    store::StoreError,
};

use super::{
    cells::{Cell, Moment},
    fault::Fault,
    server::ServerFault,
};

/// The length to which a history is trimmed.
const KEPT: usize = 500;

/// What a fault may do to transitions that are stored already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    Nothing,
    /// Nothing, but a transition may be counted as missed although it is stored: its write was
    /// done and gave an error.
    Overcounted,
    /// The older ones may be gone: their folder is.
    Older,
    /// Both: the write that finds the server emptied is done, and gives an error.
    OlderAndOvercounted,
    /// Any of the older ones may be gone or unreadable.
    Damaged,
}

impl Loss {
    pub(crate) const fn of(cell: &Cell) -> Self {
        match (cell.fault, cell.moment) {
            (Fault::Truncated | Fault::BitsFlipped, _) => Self::Damaged,
            (Fault::Server(ServerFault::Emptied), _) => Self::OlderAndOvercounted,
            (Fault::Deleted, _)
            | (Fault::HeldByAHandle | Fault::HeldByAProcess, Moment::Run | Moment::StopBriefly) => {
                Self::Older
            }
            // A command may be executed, and its reply lost.
            (Fault::ErrsAtRandom | Fault::SyncFails | Fault::Server(_), _) => Self::Overcounted,
            _ => Self::Nothing,
        }
    }
}

/// The transitions of a breaker over all its restarts, the oldest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) transitions: Vec<Transition>,
    /// The fault cannot have reached the transitions from this one on.
    pub(crate) certain_from: usize,
    /// Whether the breaker of this process is built.
    pub(crate) is_built: bool,
}

impl Made {
    /// Adds what a listener hears. A start is not part of a history, but a state that is restored
    /// later is.
    pub(crate) fn hear(&mut self, event: &Event) {
        if let Event::Transition(transition) = event
            && (self.is_built || transition.reason != Reason::Restored)
        {
            self.transitions.push(transition.clone());
        }
    }

    /// Checks that the history ends with the newest transition, that none is missing before it
    /// without being counted as missed, and that it reaches back as far as it has to.
    pub(crate) fn check(&self, found: &Found, loss: Loss) -> Result<(), String> {
        if found.unreadable > 0 && loss != Loss::Damaged {
            return Err(format!("{} entries are unreadable", found.unreadable));
        }
        let reaches_to = match loss {
            Loss::Nothing | Loss::Overcounted => 0,
            Loss::Older | Loss::OlderAndOvercounted | Loss::Damaged => self.certain_from,
        };
        // Everything from `left` on is found or counted; before it, `missed` more may be.
        let (mut left, mut missed) = (self.transitions.len(), 0);
        for entry in &found.entries {
            if left <= reaches_to && loss == Loss::Damaged {
                return Ok(());
            }
            let may_overcount = matches!(loss, Loss::Overcounted | Loss::OlderAndOvercounted);
            let skips = if may_overcount { 0..=missed } else { missed..=missed };
            let before = |skip| (left.checked_sub(skip)?).checked_sub(1);
            let is_here = |place: &usize| self.transitions[*place] == entry.transition;
            let Some(place) = skips.filter_map(before).find(is_here) else {
                let at = left.saturating_sub(missed);
                let expected = at.checked_sub(1).map(|last| &self.transitions[last]);
                return Err(format!("in place {at}, {expected:?}, there is {entry:?}"));
            };
            (left, missed) = (place, usize::try_from(entry.missed).unwrap());
        }
        let Some(left) = left.checked_sub(missed) else {
            return Err(format!("{missed} are counted before the first {left}"));
        };
        if left > reaches_to && found.entries.len() < KEPT {
            let all = self.transitions.len();
            return Err(format!(
                "of {all} transitions, {left} are missing and not counted, {reaches_to} may be"
            ));
        }
        Ok(())
    }
}

/// What a breaker's history holds, the newest first.
#[derive(Debug, Default)]
pub(crate) struct Found {
    entries: Vec<HistoryEntry>,
    unreadable: usize,
}

impl Found {
    /// As the store has it.
    pub(crate) fn in_store(store: &dyn StateStore, name: &str) -> Result<Self, StoreError> {
        let history = store.history().expect("the store keeps histories");
        let key = format!("circuit_breaker:{name}:history");
        let records = history.load_newest(&key, None, usize::MAX)?;
        let mut found = Self::default();
        for record in &records {
            match serde_json::from_slice::<HistoryEntry>(&record.bytes) {
                Ok(mut entry) => {
                    entry.transition.name = name.into();
                    found.entries.push(entry);
                }
                Err(_) => found.unreadable += 1,
            }
        }
        Ok(found)
    }

    /// As the breaker gives it.
    pub(crate) fn of(breaker: &Breaker) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut found = Self::default();
        let mut query = HistoryQuery::newest(100);
        loop {
            let page =
                runtime.block_on(breaker.history(query)).map_err(|error| error.to_string())?;
            found.entries.extend(page.entries);
            found.unreadable += page.unreadable;
            match page.next {
                Some(next) => query = query.before(next),
                None => return Ok(found),
            }
        }
    }
}

#[test]
fn the_check_finds_repeated_lost_reordered_and_miscounted_transitions() {
    let clock = tower_breaker::clock::ManualClock::new();
    let store = tower_breaker::MemoryStore::new();
    let breaker = Breaker::builder("checked").clock(clock.clone()).store(store);
    let breaker = breaker.build().unwrap();
    for _ in 0..3 {
        breaker.force_open();
        clock.advance(std::time::Duration::from_secs(1));
        breaker.reset();
    }
    let found = || Found::of(&breaker).unwrap();
    let transitions: Vec<_> =
        found().entries.iter().rev().map(|it| it.transition.clone()).collect();
    assert_eq!(transitions.len(), 6);
    let made = Made { transitions, certain_from: 4, is_built: true };
    let check = |change: fn(&mut Vec<HistoryEntry>), loss| {
        let mut found = found();
        change(&mut found.entries);
        made.check(&found, loss)
    };
    for loss in [Loss::Nothing, Loss::Overcounted, Loss::Older, Loss::Damaged] {
        check(|_| (), loss).unwrap();
        check(|entries| entries.insert(1, entries[0].clone()), loss).unwrap_err();
        check(|entries| drop(entries.remove(0)), loss).unwrap_err();
        check(|entries| entries.swap(0, 1), loss).unwrap_err();
        let miscounted = check(|entries| entries[0].missed = 7, loss);
        assert_eq!(miscounted.is_ok(), loss == Loss::Overcounted);
        check(|entries| entries.truncate(1), loss).unwrap_err();
        let counted = |entries: &mut Vec<HistoryEntry>| {
            drop(entries.remove(1));
            entries[0].missed = 1;
        };
        check(counted, loss).unwrap();
    }
    let overcounted = |entries: &mut Vec<HistoryEntry>| entries[0].missed = 1;
    check(overcounted, Loss::Overcounted).unwrap();
    check(overcounted, Loss::Nothing).unwrap_err();
    check(|entries| entries.truncate(2), Loss::Older).unwrap();
    check(|entries| entries.truncate(2), Loss::Nothing).unwrap_err();
    check(|entries| drop(entries.remove(3)), Loss::Damaged).unwrap();
    check(|entries| drop(entries.remove(3)), Loss::Older).unwrap_err();
}
