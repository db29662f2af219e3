use std::{fmt, time::Duration};

use super::{cell::Cell, word::Word};
use crate::{Outcome, clock::Tick};

/// Leave to make one call, to be given back with the call's result.
///
/// Dropped without a result, the call counts as cancelled: it touches nothing, and a probe's
/// slot comes back. That also happens when the work panics.
///
/// A result that comes after the circuit has changed its state, or after the breaker is gone,
/// changes nothing.
///
/// ```
/// use tower_breaker::Breaker;
///
/// let breaker = Breaker::builder("mailer").build()?;
/// let permit = breaker.try_acquire()?;
/// // ... send the mail ...
/// permit.success();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a permit that is dropped counts as a cancelled call"]
pub struct Permit {
    cell: &'static Cell,
    /// The word that admitted the call.
    word: Word,
    /// The number of a probe, or when another call was admitted, if that matters.
    mark: Mark,
}

/// One number with two meanings would save eight bytes of a future, and cost its readers more.
#[derive(Clone, Copy)]
enum Mark {
    Probe(u64),
    Admitted(Tick),
}

impl Permit {
    #[inline]
    pub(super) fn new(cell: &'static Cell, word: Word, admitted: Tick) -> Self {
        Self {
            cell,
            word,
            mark: Mark::Admitted(admitted),
        }
    }

    pub(super) fn probe(cell: &'static Cell, word: Word, number: u64) -> Self {
        Self {
            cell,
            word,
            mark: Mark::Probe(number),
        }
    }

    /// The call succeeded, and took the time since it was admitted.
    #[inline]
    pub fn success(self) {
        self.finish(Outcome::Success);
    }

    /// The call failed.
    #[inline]
    pub fn failure(self) {
        self.finish(Outcome::failure());
    }

    /// The call says nothing about the dependency.
    #[inline]
    pub fn ignore(self) {
        self.finish(Outcome::Ignore);
    }

    /// The call ended like this, and took the time since it was admitted.
    #[inline]
    pub fn finish(self, outcome: Outcome) {
        self.end(outcome, None);
    }

    /// The call ended like this, and took so long.
    #[inline]
    pub fn record(self, outcome: Outcome, elapsed: Duration) {
        self.end(outcome, Some(elapsed));
    }

    #[inline]
    fn end(self, outcome: Outcome, elapsed: Option<Duration>) {
        if let Mark::Admitted(admitted) = self.mark {
            let done = match outcome {
                Outcome::Success => self.cell.record_quietly(self.word, admitted, elapsed),
                Outcome::Ignore => true,
                Outcome::Failure { .. } | Outcome::Throttled { .. } => false,
            };
            if !done {
                let known = (admitted != Tick::NEVER).then_some(admitted);
                self.cell
                    .record(self.word.ticket(None), known, outcome, elapsed);
            }
        } else if let Mark::Probe(number) = self.mark {
            self.cell
                .record(self.word.ticket(Some(number)), None, outcome, elapsed);
        }
        // What follows would be a cancellation.
        std::mem::forget(self);
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if let Mark::Probe(number) = self.mark {
            self.cell.cancel(self.word.ticket(Some(number)));
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("probe", &matches!(self.mark, Mark::Probe(_)))
            .finish_non_exhaustive()
    }
}
