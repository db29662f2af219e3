//! What the replicas of a fleet have counted together.
//!
//! A replica sends what it has counted since its last batch, at most once: a batch whose answer is
//! lost is not sent again, and one that the server has refused, as it belongs to another state,
//! goes with the next one. So nothing is counted twice, and a failure of the server loses at most
//! what a replica counted within one interval. The server adds it to the bucket of the time at
//! which it arrives, and answers with the sums over the windows. Counts belong to a state: with
//! another fence they begin anew. A replica whose vote did not suffice takes its own counts back
//! once the vote has ended, at most once as well, and only from the [series](Series) in which they
//! were counted: what the server has lost since is not taken from the counts of others. A copy of
//! the server that lags may have lost some of a series; taking all of them back leaves the sums too
//! low by as many, until they leave the window.

use super::{fence::Fence, record::Micros};

/// Into how many buckets the server divides a window.
pub(crate) const BUCKETS: u64 = 20;

/// What a rule counts: calls, and those of them that are bad, which is failed or slow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Tally {
    pub(crate) calls: u64,
    pub(crate) bad: u64,
}

/// A rule over a time window, as far as what it counts is concerned: replicas whose rules agree in
/// this count together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RuleKey {
    /// For a rule on slow calls, what is slow; `None` for one on failures.
    pub(crate) slower_than: Option<Micros>,
    pub(crate) window: Micros,
}

/// What one replica has sent of its counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Ledger {
    /// Grows when the windows begin anew, and with them what they have recorded.
    generation: u64,
    sent: Vec<Tally>,
    series: Series,
    /// What the server has counted of them.
    counted: Vec<Bucket>,
}

/// Counts that a server has kept without a gap: those of one state since it began to count. One
/// that has lost them begins anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Series {
    pub(crate) fence: Fence,
    /// When it began, by the server's clock.
    pub(crate) begun: Micros,
}

/// What the server has counted of one replica in one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Bucket {
    pub(crate) rule: RuleKey,
    pub(crate) number: u64,
    pub(crate) tally: Tally,
}

impl RuleKey {
    /// The length of a bucket.
    pub(crate) fn width(&self) -> Micros {
        self.window.div_ceil(BUCKETS).max(1)
    }

    /// The rule's name on the server.
    pub(crate) fn name(&self) -> String {
        let Self { slower_than, window } = self;
        slower_than.map_or_else(|| format!("f{window}"), |slow| format!("s{slow}/{window}"))
    }
}

impl Ledger {
    /// What has been recorded since the last batch. It counts as sent, whatever becomes of it.
    pub(crate) fn take(&mut self, generation: u64, recorded: &[Tally]) -> Vec<Tally> {
        if generation != self.generation || recorded.len() != self.sent.len() {
            (self.generation, self.sent) = (generation, vec![Tally::default(); recorded.len()]);
        }
        let new = |(recorded, sent): (&Tally, &Tally)| Tally {
            calls: recorded.calls.saturating_sub(sent.calls),
            bad: recorded.bad.saturating_sub(sent.bad),
        };
        let batch = recorded.iter().zip(&self.sent).map(new).collect();
        self.sent.clear();
        self.sent.extend_from_slice(recorded);
        batch
    }

    /// The server has not counted this batch, the last one: it goes with the next one.
    pub(crate) fn give_back(&mut self, generation: u64, batch: &[Tally]) {
        if generation == self.generation {
            for (sent, tally) in self.sent.iter_mut().zip(batch) {
                sent.calls = sent.calls.saturating_sub(tally.calls);
                sent.bad = sent.bad.saturating_sub(tally.bad);
            }
        }
    }

    /// The server has counted a batch in this series, when its clock said `now`.
    pub(crate) fn note(&mut self, series: Series, now: Micros, batch: &[(RuleKey, Tally)]) {
        if series != self.series {
            (self.series, self.counted) = (series, Vec::new());
        }
        let is_in_window = |bucket: &Bucket| {
            let newest = now / bucket.rule.width();
            bucket.number <= newest && bucket.number + BUCKETS > newest
        };
        self.counted.retain(is_in_window);
        for (rule, tally) in batch.iter().filter(|(_, tally)| *tally != Tally::default()) {
            let number = now / rule.width();
            let same = |bucket: &&mut Bucket| bucket.rule == *rule && bucket.number == number;
            match self.counted.iter_mut().find(same) {
                Some(bucket) => {
                    bucket.tally.calls += tally.calls;
                    bucket.tally.bad += tally.bad;
                }
                None => self.counted.push(Bucket { rule: *rule, number, tally: *tally }),
            }
        }
    }

    /// What to take back of the counts in the state of this fence, and of which series. It counts
    /// as taken back, whatever becomes of it.
    pub(crate) fn withdraw(&mut self, fence: Fence) -> (Series, Vec<Bucket>) {
        let counted = std::mem::take(&mut self.counted);
        (self.series, if fence == self.series.fence { counted } else { Vec::new() })
    }
}
