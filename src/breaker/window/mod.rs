//! The recent calls that a rate rule looks at: the last N, or those of the last T.

mod copy;
mod count;
mod counts;
mod predecessor;
mod ring;
mod rounds;
mod run_lengths;
mod successor;
mod time;
mod work;

use std::time::Duration;

#[cfg(all(test, not(tower_breaker_loom)))]
pub(crate) use self::work::of as words_touched_by;
pub(crate) use self::{
    copy::{WindowCopies, WindowCopy},
    counts::{Counts, Sample},
    predecessor::PredecessorWindow,
    rounds::{Rounds, WORDS as WORDS_IN_A_ROUND},
    successor::SuccessorWindow,
};
use self::{count::CountWindow, time::TimeWindow};
use crate::{clock::Tick, config, snapshot::WindowContent};

#[derive(Debug)]
pub(crate) enum CallWindow {
    Count(CountWindow),
    Time(Box<TimeWindow>),
}

impl CallWindow {
    pub(crate) fn new(window: config::Window, now: Tick) -> Self {
        match window {
            config::Window::Calls(calls) => Self::Count(CountWindow::new(calls)),
            config::Window::Time(time) => Self::Time(Box::new(TimeWindow::new(time, now))),
        }
    }

    #[inline]
    pub(crate) fn record(&mut self, sample: Sample, now: Tick) {
        match self {
            Self::Count(window) => window.record(sample),
            Self::Time(window) => window.add(sample.into(), now),
        }
    }

    /// Records successes that were counted elsewhere.
    #[inline]
    pub(crate) fn record_successes(&mut self, calls: u64, now: Tick) {
        match self {
            Self::Count(window) => window.record_successes(calls),
            Self::Time(window) => window.add(Counts { calls, ..Counts::default() }, now),
        }
    }

    /// Records failures, each after this many successes.
    pub(crate) fn record_failures(&mut self, successes: &[u32], now: Tick) {
        match self {
            Self::Count(window) => window.record_failures(successes),
            Self::Time(window) => {
                let failures = successes.len() as u64;
                let calls = failures + successes.iter().copied().map(u64::from).sum::<u64>();
                window.add(Counts { calls, failures, slow_calls: 0 }, now);
            }
        }
    }

    /// What the window holds as of the last [`advance`](Self::advance).
    #[inline]
    pub(crate) fn counts(&self) -> Counts {
        match self {
            Self::Count(window) => window.counts(),
            Self::Time(window) => window.totals(),
        }
    }

    /// Drops the calls that have become too old.
    #[inline]
    pub(crate) fn advance(&mut self, now: Tick) {
        if let Self::Time(window) = self {
            window.advance(now);
        }
    }

    /// Whether a count window holds as many calls as it can.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::Count(window) => window.is_full(),
            Self::Time(_) => false,
        }
    }

    /// Whether recording a success would change nothing.
    #[inline]
    pub(crate) fn is_full_of_successes(&self) -> bool {
        match self {
            Self::Count(window) => window.is_full_of_successes(),
            Self::Time(_) => false,
        }
    }

    /// The most calls that the window holds; `None` if it holds any number.
    #[inline]
    pub(crate) fn size(&self) -> Option<u32> {
        match self {
            Self::Count(window) => Some(window.size()),
            Self::Time(_) => None,
        }
    }

    pub(crate) fn is_timed(&self) -> bool {
        matches!(self, Self::Time(_))
    }

    /// What a time window has recorded since it was last cleared, of any age.
    #[allow(dead_code, reason = "used where breakers are shared")]
    pub(crate) fn recorded(&self) -> Counts {
        match self {
            Self::Count(_) => Counts::default(),
            Self::Time(window) => window.recorded(),
        }
    }

    /// When the newest bucket of a time window ends.
    pub(crate) fn bucket_end(&self) -> Option<Tick> {
        match self {
            Self::Count(_) => None,
            Self::Time(window) => Some(window.end()),
        }
    }

    /// Begins now: it was made before, and has recorded no call since.
    pub(crate) fn begin(&mut self, now: Tick) {
        if let Self::Time(window) = self {
            window.clear(now);
        }
    }

    /// Whether one can continue the other. A count window knows no times, and a time window no
    /// order.
    pub(crate) fn are_alike(one: &Self, other: &Self) -> bool {
        one.is_timed() == other.is_timed()
    }

    pub(crate) fn clear(&mut self, now: Tick) {
        match self {
            Self::Count(window) => window.clear(),
            Self::Time(window) => window.clear(now),
        }
    }

    /// What the window holds; of a count window, only a copy is made, of at most `words` words.
    pub(crate) fn content(
        &self,
        now: Tick,
        copy: &mut WindowCopy,
        words: &mut usize,
    ) -> WindowContent {
        match self {
            Self::Count(window) => {
                copy.update(window, words);
                WindowContent::Results(String::new())
            }
            Self::Time(window) => {
                copy.clear();
                WindowContent::Buckets(window.buckets(now))
            }
        }
    }

    /// Whether [`adopt`](Self::adopt) can use this content. A count window knows no times, and a
    /// time window no order, so neither can use the other's.
    pub(crate) fn accepts(&self, content: &WindowContent) -> bool {
        matches!(
            (self, content),
            (Self::Count(_), WindowContent::Results(_))
                | (Self::Time(_), WindowContent::Buckets(_))
        )
    }

    fn as_count(&mut self) -> Option<&mut CountWindow> {
        if let Self::Count(window) = self { Some(window) } else { None }
    }

    /// Takes over the calls of a count window. Time windows depend on the moment, and are small.
    pub(crate) fn decode(&mut self, content: &WindowContent) {
        if let (Self::Count(window), WindowContent::Results(results)) = (self, content) {
            window.adopt(results);
        }
    }

    /// Takes over what another window held. Content of the wrong kind changes nothing. A `decoded`
    /// window of this size saves the work.
    pub(crate) fn adopt(
        &mut self,
        content: &WindowContent,
        decoded: Option<&mut Self>,
        now: Tick,
        downtime: Duration,
    ) {
        match (self, content) {
            (Self::Count(window), WindowContent::Results(results)) => {
                match decoded.and_then(Self::as_count) {
                    Some(decoded) if decoded.size() == window.size() => {
                        std::mem::swap(window, decoded);
                    }
                    _ => window.adopt(results),
                }
            }
            (Self::Time(window), WindowContent::Buckets(buckets)) => {
                window.adopt(buckets, now, downtime);
            }
            _ => {}
        }
    }

    /// Takes over saved calls that came before what this window holds, which stays. A `decoded`
    /// window may have taken over a part of that already.
    pub(crate) fn prepend(
        &mut self,
        content: &WindowContent,
        decoded: Option<(&mut Self, &PredecessorWindow)>,
        now: Tick,
        downtime: Duration,
    ) {
        match (self, content) {
            // Its own calls displace all others.
            (Self::Count(window), _) if window.is_full() => {}
            (Self::Count(window), WindowContent::Results(results)) => {
                match decoded.map(|(saved, taken)| (saved.as_count(), taken)) {
                    Some((Some(saved), taken)) if saved.size() == window.size() => {
                        taken.finish(saved, window);
                    }
                    _ => window.prepend(results),
                }
            }
            (Self::Time(window), WindowContent::Buckets(buckets)) => {
                window.prepend(buckets, now, downtime);
            }
            _ => {}
        }
    }
}
