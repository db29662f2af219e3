//! Counts of the fleet: what this replica has counted is added to that of all, and the sums are put
//! to its own rules.

use std::time::Instant;

use super::Agent;
use crate::{
    breaker::{sharing::Recorded, window::Counts},
    config::{Trip, Window},
    event::Reason,
    fleet::{
        counting::{Batch, Counted},
        counts::FleetCounts,
        protocol::{
            command::Status,
            counts::{RuleKey, Series, Tally},
            fence::Fence,
        },
        transport::micros,
        withdrawal::Withdrawal,
    },
    state::State,
    store::StoreError,
};

/// How many breakers' counts are in one command.
const MOST: usize = 100;

/// A rule that the fleet counts for.
struct Rule {
    key: RuleKey,
    reason: Reason,
    threshold: f64,
    minimum_calls: u64,
}

/// What a breaker has counted since its last batch.
struct Fresh {
    id: u64,
    seen: Fence,
    generation: u64,
    rules: Vec<Rule>,
    counted: Vec<(RuleKey, Tally)>,
    /// What was counted, as it was taken from the ledger.
    taken: Vec<Tally>,
    /// What is in this replica's own window of each rule.
    own: Vec<Tally>,
}

impl Rule {
    /// `None` for a rule that is not a rate.
    fn of(trip: &Trip) -> Option<Self> {
        let (threshold, window, minimum_calls, slower_than, reason) = match *trip {
            Trip::FailureRate { threshold, window, minimum_calls } => {
                (threshold, window, minimum_calls, None, Reason::FailureRate)
            }
            Trip::SlowCallRate { threshold, slower_than, window, minimum_calls } => {
                (threshold, window, minimum_calls, Some(micros(slower_than)), Reason::SlowCallRate)
            }
            Trip::ConsecutiveFailures(_) => return None,
        };
        let Window::Time(time) = window else { return None };
        let key = RuleKey { slower_than, window: micros(time) };
        Some(Self { key, reason, threshold, minimum_calls: minimum_calls.into() })
    }

    /// Whether the calls of all replicas meet it.
    fn is_met(&self, Tally { calls, bad }: Tally) -> bool {
        calls >= self.minimum_calls && self.is_rate_met(Tally { calls, bad })
    }

    /// Whether this replica has a part in it. One without a bad call does not trip by those of the
    /// others. Where replicas must agree, each judges the dependency by its own calls too:
    /// otherwise the failures of one would make the votes of all.
    fn is_shared_by(&self, own: Tally, quorum: u32) -> bool {
        own.bad > 0 && (quorum == 1 || self.is_rate_met(own))
    }

    fn is_rate_met(&self, Tally { calls, bad }: Tally) -> bool {
        bad > 0 && bad as f64 / calls as f64 >= self.threshold
    }
}

fn tallies(rates: &[&Trip], counts: &[Counts]) -> Vec<Tally> {
    let tally = |(trip, counts): (&&Trip, &Counts)| {
        let is_slow = matches!(trip, Trip::SlowCallRate { .. });
        let bad = if is_slow { counts.slow_calls } else { counts.failures };
        Tally { calls: counts.calls, bad }
    };
    rates.iter().zip(counts).map(tally).collect()
}

impl Agent {
    pub(super) fn send_counts(&mut self) -> Result<(), StoreError> {
        let ids = self.counting.take();
        self.end_votes(&ids)?;
        let fresh: Vec<Fresh> = ids.into_iter().filter_map(|id| self.take_counts(id)).collect();
        for fresh in fresh.chunks(MOST) {
            let batches: Vec<Batch<'_>> = fresh
                .iter()
                .filter_map(|fresh| {
                    let entry = &self.breakers.get(&fresh.id)?.entry;
                    Some(Batch { name: &entry.name, seen: fresh.seen, rules: &fresh.counted })
                })
                .collect();
            let (answers, now) = self.transport.count(&batches)?;
            for (fresh, answer) in fresh.iter().zip(answers) {
                if let Some(shared) = self.breakers.get_mut(&fresh.id)
                    && let Counted::Sums { begun, .. } = answer
                {
                    let series = Series { fence: fresh.seen, begun };
                    shared.counts.note(series, now, &fresh.counted);
                }
                self.compare(fresh, &answer);
            }
        }
        Ok(())
    }

    /// What these breakers have counted so far is this replica's own affair: it did not reach the
    /// server.
    pub(super) fn skip_counts(&mut self, ids: &[u64]) {
        if self.settings.counts == FleetCounts::Shared {
            for id in ids {
                // It counts as sent.
                self.take_counts(*id);
            }
        }
    }

    /// Withdraws the votes of these breakers that count no longer, and with them what this replica
    /// has counted: otherwise its failures from before would make it trip again by the next one.
    pub(super) fn end_votes(&mut self, ids: &[u64]) -> Result<(), StoreError> {
        for ids in ids.chunks(self.transport.pace.size()) {
            self.end_these_votes(ids)?;
        }
        Ok(())
    }

    fn end_these_votes(&mut self, ids: &[u64]) -> Result<(), StoreError> {
        let (mut votes, mut counts, now) = (Vec::new(), Vec::new(), Instant::now());
        for id in ids {
            let shared = self.breakers.get_mut(id).filter(|shared| !shared.is_paused(now));
            let Some(shared) = shared else { continue };
            if let Some(command) = shared.entry.end_vote(&self.settings) {
                votes.push((*id, command));
            }
        }
        for ((id, command), answer) in votes.iter().zip(self.call_all(votes.iter().copied())?) {
            if answer.is_ok_and(|answer| answer.status == Status::Late) {
                self.pause(*id);
                continue;
            }
            self.end_pauses(*id);
            // One with a broken key is left out once it has something to submit.
            if let Some(shared) = self.breakers.get_mut(id) {
                shared.entry.forget_vote();
                // Only now: they are taken back at most once, and together with the vote.
                counts.push((*id, shared.counts.withdraw(command.seen)));
            }
        }
        let counts = counts.iter().filter(|(_, (_, buckets))| !buckets.is_empty());
        let withdrawals: Vec<_> = counts
            .filter_map(|(id, (series, buckets))| {
                let name = &*self.breakers.get(id)?.entry.name;
                Some(Withdrawal { name, series: *series, buckets })
            })
            .collect();
        self.transport.withdraw(&withdrawals)
    }

    /// What is to be sent of a breaker, if anything.
    fn take_counts(&mut self, id: u64) -> Option<Fresh> {
        let shared = self.breakers.get_mut(&id)?;
        let Recorded { state, config, generation, counts, windows } = shared.entry.recorded()?;
        let is_rate = |trip: &&Trip| !matches!(trip, Trip::ConsecutiveFailures(_));
        let rates: Vec<&Trip> = config.trip_on.iter().filter(is_rate).collect();
        let recorded = tallies(&rates, &counts);
        let own = tallies(&rates, &windows);
        let fresh = shared.counts.take(generation, &recorded);
        let has_counted = fresh.iter().any(|tally| *tally != Tally::default());
        if !has_counted || state != State::Closed || !shared.is_attached {
            return None;
        }
        let (rules, counted) = rates
            .into_iter()
            .zip(&fresh)
            .filter_map(|(trip, tally)| {
                let rule = Rule::of(trip)?;
                let key = rule.key;
                Some((rule, (key, *tally)))
            })
            .unzip();
        let seen = shared.entry.member.seen().fence;
        Some(Fresh { id, seen, generation, rules, counted, taken: fresh, own })
    }

    /// The server has lost the state that they belong to, or has a newer one: first, the breaker
    /// joins again.
    fn count_again(&mut self, fresh: &Fresh) {
        if let Some(shared) = self.breakers.get_mut(&fresh.id) {
            shared.counts.give_back(fresh.generation, &fresh.taken);
            self.counting.add(fresh.id);
            self.rounds.to_join.insert(fresh.id);
        }
    }

    /// Puts the sums to the rules.
    fn compare(&mut self, fresh: &Fresh, answer: &Counted) {
        let sums = match answer {
            Counted::Sums { sums, .. } => sums,
            Counted::Late => return,
            Counted::Stale => return self.count_again(fresh),
            Counted::Broken => {
                let error = "the key of its counts holds something else";
                return self.leave_out(fresh.id, &StoreError::Corrupt(error.into()));
            }
        };
        let Some(shared) = self.breakers.get_mut(&fresh.id) else { return };
        let quorum = self.settings.agreement.quorum();
        let met = fresh
            .rules
            .iter()
            .zip(sums)
            .zip(&fresh.own)
            .find(|((rule, sum), own)| rule.is_met(**sum) && rule.is_shared_by(**own, quorum));
        if let Some(((rule, sum), _)) = met {
            shared.entry.trip_together(fresh.generation, rule.reason, sum.bad);
        }
    }
}
