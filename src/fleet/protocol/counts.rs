//! What the replicas of a fleet have counted together.
//!
//! A replica sends what it has counted since its last batch, at most once: a batch whose answer is
//! lost is not sent again. So nothing is counted twice, and a failure of the server loses at most
//! what a replica counted within one interval. The server adds it to the bucket of the time at
//! which it arrives, and answers with the sums over the windows. Counts belong to a state: with
//! another fence they begin anew.

use super::record::Micros;

/// Into how many buckets the server divides a window.
pub(crate) const BUCKETS: u64 = 20;

/// What a rule counts: calls, and those of them that are bad, which is failed or slow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) calls: u64,
    pub(crate) bad: u64,
}

/// A rule over a time window, as far as what it counts is concerned: replicas whose rules agree in
/// this count together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RuleKey {
    /// For a rule on slow calls, what is slow; `None` for one on failures.
    pub(crate) slower_than: Option<Micros>,
    pub(crate) window: Micros,
}

/// What one replica has sent of its counts.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Grows when the windows begin anew, and with them what they have recorded.
    generation: u64,
    sent: Vec<Tally>,
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
            *self = Self { generation, sent: vec![Tally::default(); recorded.len()] };
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
}
