//! The health of a store: one state machine, which takes events and returns what follows.
//! It calls nothing, takes no lock and reads no clock.
//!
//! # States
//!
//! | state | meaning | what the writer does |
//! |---|---|---|
//! | healthy | The store did everything it was asked to. | Saves each entry when it is due. |
//! | [`Partial`] | The store works, but not for every entry. | Retries the failed entries apart from the others. |
//! | [`Failing`] | Nothing in the last batch worked, for a reason that may lie in the batch. | The same, and no maintenance. |
//! | [`Unavailable`] | An outage: no entry can be read or saved. | Only the retry and explicit requests call the store. |
//! | [`Stalled`] | A call has not returned for too long. | Waits for it; requests are refused at once. |
//!
//! All but *healthy* are *degraded*. A degraded store is retried at [`Health::retry_at`]: 100 ms
//! after it became degraded, and after each retry that fails twice as long as before, up to 5 s, or
//! to 500 ms while a [part of it can be reached](Health::note_reach): until the whole can be read,
//! transitions are saved there with the retries.
//!
//! # Transitions
//!
//! The events are the [`Report`] of a batch, a call that is [`overdue`](Health::overdue), and the
//! [end of a call](Health::end_call).
//!
//! | event | healthy | partial | failing | unavailable | stalled |
//! |---|---|---|---|---|---|
//! | done, nothing left to retry | healthy | healthy **A** | healthy **A, S** | healthy **A, S** | healthy **A, S** |
//! | done, failed entries left | healthy | partial | partial **S** | partial **S, R** | partial **S, R** |
//! | partly | partial **A** | partial | partial **S** | partial **S, R** | partial **S, R** |
//! | failed again | partial **A** | partial | failing | partial **S, R** | partial **S, R** |
//! | failed | failing **A** | failing | failing | failing | failing |
//! | outage | unavailable **A** | unavailable | unavailable | unavailable | unavailable |
//! | call overdue | stalled **A** | stalled | stalled | stalled | stalled |
//! | call ended | healthy | partial | failing | unavailable | unavailable |
//!
//! * **A**: the change is announced: logged, recorded in the metrics, and delivered to the
//!   listeners of every breaker on the store.
//! * **S**: every breaker is saved again: a store that did nothing it was asked to may also have
//!   lost what it held before, for instance because its folder was replaced.
//! * **R**: the failed entries are retried at once: they may have failed only because of the
//!   outage.
//!
//! # Predictions
//!
//! Beside the state, a failure predicts the next one, so that callers do not wait in vain: for ten
//! times as long as the last call took, from 10 ms to 1 s. While reads are predicted to fail, a
//! breaker that is built does not wait for its snapshot; while saves are, one that is dropped does
//! not wait for its last save. Three new breakers in a row that cannot be read, or an outage,
//! predict failing reads; a batch in which nothing worked predicts failing saves. A part of the
//! store that can be reached counts as readable. While the store is stalled, both are predicted.
//!
//! Two reasons for not waiting are no states of a store, and are asked for before it: the writer's
//! thread has not started ([`Starter::waits`](super::threads::Starter::waits)), and this process
//! was forked from the one that has it ([`Inbox::is_forked`](super::inbox::Inbox::is_forked)).
//!
//! [`Partial`]: Trouble::Partial
//! [`Failing`]: Trouble::Failing
//! [`Unavailable`]: Trouble::Unavailable
//! [`Stalled`]: Trouble::Stalled

use std::time::{Duration, Instant, SystemTime};

use crate::{clock, health::StoreHealth};

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
const LONGEST_BACKOFF_IN_PART: Duration = Duration::from_millis(500);

/// How many snapshots in a row have to be unreadable before the store is assumed to be at fault,
/// and not the snapshots.
const UNREADABLE_IN_A_ROW: u32 = 3;

/// A failure predicts that the next call fails as well: for ten times as long as the call took,
/// and within these limits.
const SHORTEST_PREDICTION: Duration = Duration::from_millis(10);
const LONGEST_PREDICTION: Duration = Duration::from_secs(1);

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The store works, but not for every entry.
    Partial,
    /// Nothing in the last batch worked, for a reason that may lie in the batch.
    Failing,
    /// No entry can be read or saved.
    Unavailable,
    /// A call has not returned for too long.
    Stalled,
}

/// What a batch says about its store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// Everything in the batch worked. `failed_left`: entries that failed earlier have yet to be
    /// retried.
    Done { failed_left: bool },
    /// Some of the batch failed.
    Partly { reason: String },
    /// All of the batch failed, and all of it had failed before.
    FailedAgain { reason: String },
    /// All of the batch failed.
    Failed { reason: String },
    /// Everything else would fail as well.
    Outage { reason: String },
}

/// What follows from an event.
#[must_use]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HealthChange {
    pub(super) announcement: Option<Announcement>,
    /// Whether every breaker has to be saved again.
    pub(super) save_all: bool,
}

/// The store became degraded or healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Announcement {
    Degraded { reason: String },
    Healthy { after: Duration },
}

/// One moment by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instants {
    pub(super) instant: Instant,
    pub(super) wall: SystemTime,
}

impl Instants {
    pub(super) fn read() -> Self {
        Self { instant: Instant::now(), wall: clock::wall() }
    }
}

/// The health of one store.
#[derive(Default)]
pub(super) struct Health {
    degraded: Option<Degraded>,
    /// What the store last did to be usable again.
    repair: Option<String>,
    /// The number of announcements so far: odd while the store is degraded.
    epoch: u64,
    /// When the call under way began.
    call_began: Option<Instant>,
    last_call: Duration,
    /// How many new breakers in a row could not read their snapshots.
    unreadable: u32,
    /// Until when reads and saves are predicted to fail.
    reads_fail_until: Option<Instant>,
    saves_fail_until: Option<Instant>,
    /// Whether a part of the store answered when the whole could not be read.
    reaches_part: bool,
}

struct Degraded {
    trouble: Trouble,
    since: Instants,
    reason: String,
    retry_at: Instant,
    /// The time from the next retry to the one after it.
    backoff: Duration,
}

/// The health of a store, and the epoch of its last change.
pub(super) struct HealthAt {
    pub(super) epoch: u64,
    pub(super) health: StoreHealth,
}

impl Health {
    /// A batch has ended. `ends_retry`: everything that was due for a retry has been retried.
    pub(super) fn report(
        &mut self,
        report: Report,
        ends_retry: bool,
        now: Instants,
    ) -> HealthChange {
        let before = self.trouble();
        let (trouble, reason) = match report {
            Report::Done { failed_left: false } => return self.heal(now),
            Report::Done { failed_left: true } => (Trouble::Partial, None),
            // It shows nothing new about a store that did nothing it was asked to.
            Report::FailedAgain { reason } if before == Some(Trouble::Failing) => {
                (Trouble::Failing, Some(reason))
            }
            Report::Partly { reason } | Report::FailedAgain { reason } => {
                (Trouble::Partial, Some(reason))
            }
            Report::Failed { reason } => (Trouble::Failing, Some(reason)),
            Report::Outage { reason } => (Trouble::Unavailable, Some(reason)),
        };
        let works = trouble == Trouble::Partial;
        self.saves_fail_until = (!works).then(|| now.instant + self.prediction());
        let announcement = self.degrade(trouble, reason, ends_retry, now);
        if works && matches!(before, Some(Trouble::Unavailable | Trouble::Stalled)) {
            self.retry_at_once(now);
        }
        HealthChange { announcement, save_all: works && is_down(before) }
    }

    /// A caller has waited this long for a call. Returns `None` if the store is known to be
    /// stalled.
    pub(super) fn overdue(&mut self, waited: Duration, now: Instants) -> Option<HealthChange> {
        if self.is_stalled() {
            return None;
        }
        let reason = stalled_for(waited);
        let announcement = self.degrade(Trouble::Stalled, Some(reason), false, now);
        Some(HealthChange { announcement, save_all: false })
    }

    pub(super) fn begin_call(&mut self, now: Instant) {
        self.call_began = Some(now);
    }

    pub(super) fn end_call(&mut self, now: Instant) {
        if let Some(began) = self.call_began.take() {
            self.last_call = now.saturating_duration_since(began);
        }
        if let Some(degraded) = &mut self.degraded
            && degraded.trouble == Trouble::Stalled
        {
            // What the call returned is part of a report to come.
            degraded.trouble = Trouble::Unavailable;
        }
    }

    /// How long the last call took.
    pub(super) const fn last_call(&self) -> Duration {
        self.last_call
    }

    /// Restores the duration of the last call, so that a later one does not count.
    pub(super) const fn set_last_call(&mut self, took: Duration) {
        self.last_call = took;
    }

    /// The store has said what it last did to be usable again.
    pub(super) fn note_repair(&mut self, repair: Option<String>) {
        if repair.is_some() {
            self.repair = repair;
        }
    }

    /// The time since the call under way began.
    pub(super) fn call_age(&self, now: Instant) -> Option<Duration> {
        self.call_began.map(|began| now.saturating_duration_since(began))
    }

    /// A snapshot was read.
    pub(super) fn note_readable(&mut self) {
        self.unreadable = 0;
        self.reads_fail_until = None;
    }

    /// A snapshot could not be read. `is_new`: that of a breaker that is being built.
    pub(super) fn note_unreadable(&mut self, is_new: bool, is_outage: bool, now: Instant) {
        self.unreadable += u32::from(is_new);
        if is_outage || self.unreadable >= UNREADABLE_IN_A_ROW {
            self.reads_fail_until = Some(now + self.prediction());
        }
    }

    /// Whether a part of the store answers while the whole cannot be read. For the start of a
    /// breaker, that is as good.
    pub(super) fn note_reach(&mut self, reaches_part: bool) {
        self.reaches_part = reaches_part;
        if reaches_part {
            self.note_readable();
        }
    }

    /// Whether a new breaker should not wait for its snapshot.
    pub(super) fn predicts_failed_read(&self, now: Instant) -> bool {
        self.is_stalled() || self.reads_fail_until.is_some_and(|until| now < until)
    }

    /// Whether a breaker that is dropped should not wait for its last snapshot to be saved.
    pub(super) fn predicts_failed_save(&self, now: Instant) -> bool {
        self.is_stalled() || self.saves_fail_until.is_some_and(|until| now < until)
    }

    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.degraded.as_ref().map(|degraded| degraded.trouble)
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.degraded.is_none()
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.trouble() == Some(Trouble::Stalled)
    }

    /// Why requests are refused, if the store is stalled.
    pub(super) fn stall_reason(&self) -> Option<String> {
        let stalled = self.degraded.as_ref().filter(|_| self.is_stalled())?;
        Some(stalled.reason.clone())
    }

    /// Whether the store can be expected to do anything at all.
    pub(super) fn is_down(&self) -> bool {
        is_down(self.trouble())
    }

    /// Whether entries that are due wait for the retry.
    pub(super) fn holds_back(&self) -> bool {
        matches!(self.trouble(), Some(Trouble::Unavailable | Trouble::Stalled))
    }

    /// When to retry the store, if it is degraded.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.degraded.as_ref().map(|degraded| degraded.retry_at)
    }

    /// Identifies the last announcement.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What users see.
    pub(super) fn status(&self, pending: usize) -> StoreHealth {
        match &self.degraded {
            None => match &self.repair {
                Some(what) => StoreHealth::Repaired { what: what.clone() },
                None => StoreHealth::Healthy,
            },
            Some(Degraded { since, reason, .. }) => {
                StoreHealth::Degraded { since: since.wall, reason: reason.clone(), pending }
            }
        }
    }

    /// Without a reason, a healthy store stays healthy, and a degraded one keeps its reason.
    fn degrade(
        &mut self,
        trouble: Trouble,
        reason: Option<String>,
        ends_retry: bool,
        now: Instants,
    ) -> Option<Announcement> {
        let Some(degraded) = &mut self.degraded else {
            let reason = reason?;
            let retry_at = now.instant + FIRST_RETRY;
            let (announced, backoff) = (reason.clone(), FIRST_RETRY * 2);
            self.degraded = Some(Degraded { trouble, since: now, reason, retry_at, backoff });
            self.epoch += 1;
            return Some(Announcement::Degraded { reason: announced });
        };
        degraded.trouble = trouble;
        if let Some(reason) = reason {
            degraded.reason = reason;
        }
        if ends_retry {
            let longest = if self.reaches_part { LONGEST_BACKOFF_IN_PART } else { LONGEST_BACKOFF };
            degraded.retry_at = now.instant + longest.min(degraded.backoff);
            degraded.backoff = longest.min(degraded.backoff * 2);
        }
        None
    }

    fn heal(&mut self, now: Instants) -> HealthChange {
        self.saves_fail_until = None;
        self.reaches_part = false;
        self.note_readable();
        let save_all = self.is_down();
        let announcement = self.degraded.take().map(|Degraded { since, .. }| {
            self.epoch += 1;
            Announcement::Healthy { after: now.instant.saturating_duration_since(since.instant) }
        });
        HealthChange { announcement, save_all }
    }

    fn retry_at_once(&mut self, now: Instants) {
        if let Some(degraded) = &mut self.degraded {
            degraded.retry_at = now.instant;
            degraded.backoff = FIRST_RETRY;
        }
    }

    fn prediction(&self) -> Duration {
        (self.last_call * 10).clamp(SHORTEST_PREDICTION, LONGEST_PREDICTION)
    }
}

const fn is_down(trouble: Option<Trouble>) -> bool {
    matches!(trouble, Some(Trouble::Failing | Trouble::Unavailable | Trouble::Stalled))
}

/// Why a request is refused while the store is stalled.
pub(super) fn stalled_for(waited: Duration) -> String {
    format!("the store does not answer (waited {:.1} s so far)", waited.as_secs_f64())
}
