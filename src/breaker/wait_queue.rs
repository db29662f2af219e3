//! The queue of tasks that wait for the circuit to admit calls.
//!
//! When the circuit closes, every waiter wakes. When probes may be made, as many waiters wake as
//! there are free slots, first come, first served. Each of them holds a *reservation*, not the
//! slot itself: only the call takes the slot. So a reservation never keeps out a caller that does
//! not wait in the queue, and no slot is held for a probe that is never made.
//!
//! A waiter that has been woken may never make its call (a service may be ready and go unused), so
//! a reservation lapses after a second, and the waiters behind it check again after that time.
//!
//! The end of an open time is no event: a timer has to see it. The first waiter sets one for that
//! moment; it is the *timer owner*. The others check a second later, in case it does not.

use std::{collections::BTreeMap, task::Waker, time::Duration};

use super::{admission::Capacity, waker_set::WakerSet};
use crate::clock::Tick;

/// How long a reservation holds.
const RESERVATION_TIME: Duration = Duration::from_secs(1);

/// Whether a waiter may make its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    Ready,
    /// It waits until its waker is called, or until this much time has passed, if any is given.
    Wait {
        recheck_after: Option<Duration>,
    },
}

#[derive(Default)]
pub(super) struct WaitQueue {
    waiting: WakerSet,
    /// When each reservation lapses, by the key of its waiter.
    reservations: BTreeMap<u64, Tick>,
    timer_owner: Option<u64>,
}

impl WaitQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn reserved(&mut self, now: Tick) -> u64 {
        self.reservations.retain(|_, until| *until > now);
        self.reservations.len() as u64
    }

    /// Checks whether a waiter may make its call. Also returns a waker to drop without the lock.
    pub(super) fn poll(
        &mut self,
        capacity: Capacity,
        now: Tick,
        key: &mut Option<u64>,
        waker: &Waker,
    ) -> (Readiness, Option<Waker>) {
        match capacity {
            Capacity::Unlimited => {
                return (Readiness::Ready, key.take().and_then(|key| self.leave(key)));
            }
            Capacity::Probes(free) if self.may_probe(free, now, *key) => {
                let key = *key.get_or_insert_with(|| self.waiting.new_key());
                self.reservations.insert(key, now.after(RESERVATION_TIME));
                return (Readiness::Ready, self.waiting.remove(key));
            }
            Capacity::Probes(_) | Capacity::Rejecting { .. } => {}
        }
        let displaced = self.waiting.insert(key, waker);
        let recheck_after = match capacity {
            Capacity::Rejecting { until } => until.map(|until| self.timer(*key, until.since(now))),
            Capacity::Probes(_) | Capacity::Unlimited => Some(RESERVATION_TIME),
        };
        (Readiness::Wait { recheck_after }, displaced)
    }

    /// Whether a waiter holds a reservation or can get one. Waiters ahead of it get theirs first,
    /// from [`take_ready`](Self::take_ready).
    fn may_probe(&mut self, free: u64, now: Tick, key: Option<u64>) -> bool {
        key.is_some_and(|key| self.reservations.contains_key(&key))
            || (self.waiting.is_first(key) && self.reserved(now) < free)
    }

    /// When a waiter has to check again while an open time runs.
    fn timer(&mut self, key: Option<u64>, left: Duration) -> Duration {
        let owner = *self.timer_owner.get_or_insert(key.unwrap_or_default());
        if key == Some(owner) { left } else { left.saturating_add(RESERVATION_TIME) }
    }

    /// Removes a waiter and its reservation. Returns its waker, to be dropped without the lock.
    pub(super) fn leave(&mut self, key: u64) -> Option<Waker> {
        self.reservations.remove(&key);
        if self.timer_owner == Some(key) {
            self.timer_owner = None;
        }
        self.waiting.remove(key)
    }

    /// Removes the waiters to wake, which is to be done without the lock.
    pub(super) fn take_ready(&mut self, capacity: Capacity, now: Tick) -> Vec<Waker> {
        match capacity {
            Capacity::Unlimited => {
                self.reservations.clear();
                self.timer_owner = None;
                self.waiting.take_all().collect()
            }
            Capacity::Probes(free) => {
                self.timer_owner = None;
                let unreserved = free.saturating_sub(self.reserved(now));
                let mut ready = Vec::new();
                for _ in 0..unreserved {
                    let Some((key, waker)) = self.waiting.take_first() else { break };
                    self.reservations.insert(key, now.after(RESERVATION_TIME));
                    ready.push(waker);
                }
                ready
            }
            Capacity::Rejecting { until } => {
                self.reservations.clear();
                if until.is_none() || self.timer_owner.is_some() {
                    return Vec::new();
                }
                // The timer owner has left: the next waiter has to set its timer.
                let next = self.waiting.take_first();
                self.timer_owner = next.as_ref().map(|(key, _)| *key);
                next.map(|(_, waker)| waker).into_iter().collect()
            }
        }
    }
}
