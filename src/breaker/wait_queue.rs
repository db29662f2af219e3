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
    /// Whether there may be a waiter that does not check again by itself.
    has_untimed: bool,
}

impl WaitQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether there never was a waiter.
    pub(super) const fn is_unused(&self) -> bool {
        self.waiting.is_unused()
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
            Capacity::Rejecting { until } => {
                self.has_untimed |= until.is_none();
                until.map(|until| self.timer(*key, until.since(now)))
            }
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
                if std::mem::take(&mut self.has_untimed) {
                    // The others have to check again by themselves from now on.
                    ready.extend(self.waiting.take_all());
                }
                ready
            }
            Capacity::Rejecting { until } => {
                self.reservations.clear();
                if until.is_none() {
                    return Vec::new();
                }
                if self.has_untimed {
                    // The state was set by hand, and now there is an end to wait for: each waiter
                    // has to check again, since the first one may never make its call.
                    self.has_untimed = false;
                    self.timer_owner = None;
                    return self.waiting.take_all().collect();
                }
                if self.timer_owner.is_some() {
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

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Capacity = Capacity::Rejecting { until: Some(at(60)) };

    const fn at(seconds: u64) -> Tick {
        Tick::from_nanos(seconds * 1_000_000_000)
    }

    fn wait(seconds: u64) -> Readiness {
        Readiness::Wait { recheck_after: Some(Duration::from_secs(seconds)) }
    }

    fn poll(
        queue: &mut WaitQueue,
        capacity: Capacity,
        now: u64,
        key: &mut Option<u64>,
    ) -> Readiness {
        queue.poll(capacity, at(now), key, Waker::noop()).0
    }

    #[test]
    fn the_first_waiter_sets_the_timer_and_the_others_recheck_a_second_later() {
        let mut queue = WaitQueue::default();
        let (mut first, mut second) = (None, None);
        assert_eq!(poll(&mut queue, OPEN, 10, &mut first), wait(50));
        assert_eq!(poll(&mut queue, OPEN, 20, &mut second), wait(41));
        // Without its timer owner, the queue wakes the next waiter to set the timer.
        queue.leave(first.unwrap());
        assert_eq!(queue.take_ready(OPEN, at(30)).len(), 1);
        assert_eq!(poll(&mut queue, OPEN, 30, &mut second), wait(30));
    }

    #[test]
    fn a_circuit_that_is_forced_open_needs_no_timer() {
        let mut queue = WaitQueue::default();
        let forced = Capacity::Rejecting { until: None };
        let readiness = poll(&mut queue, forced, 0, &mut None);
        assert_eq!(readiness, Readiness::Wait { recheck_after: None });
        assert!(queue.take_ready(forced, at(1)).is_empty());
    }

    #[test]
    fn waiters_without_a_timer_get_one_when_there_is_an_end_to_wait_for() {
        let mut queue = WaitQueue::default();
        let forced = Capacity::Rejecting { until: None };
        let (mut first, mut second) = (None, None);
        for key in [&mut first, &mut second] {
            assert_eq!(poll(&mut queue, forced, 0, key), Readiness::Wait { recheck_after: None });
        }
        assert_eq!(queue.take_ready(OPEN, at(10)).len(), 2);
        assert_eq!(poll(&mut queue, OPEN, 10, &mut first), wait(50));
        assert_eq!(poll(&mut queue, OPEN, 10, &mut second), wait(51));
        assert!(queue.take_ready(OPEN, at(11)).is_empty(), "all of them have a timer");
        // The first one is ready and makes no call; the second checks again by itself.
        let probes = Capacity::Probes(1);
        assert_eq!(poll(&mut queue, probes, 60, &mut first), Readiness::Ready);
        assert_eq!(poll(&mut queue, probes, 61, &mut second), Readiness::Ready);
    }

    #[test]
    fn waiters_without_a_timer_get_one_when_the_circuit_half_opens() {
        let mut queue = WaitQueue::default();
        let forced = Capacity::Rejecting { until: None };
        let mut keys = [None; 3];
        for key in &mut keys {
            assert_eq!(poll(&mut queue, forced, 0, key), Readiness::Wait { recheck_after: None });
        }
        let probes = Capacity::Probes(1);
        assert_eq!(queue.take_ready(probes, at(10)).len(), 3, "each needs a timer");
        let [first, second, third] = &mut keys;
        // The slot is for the first, whichever of them is polled first.
        assert_eq!(poll(&mut queue, probes, 10, third), wait(1));
        assert_eq!(poll(&mut queue, probes, 10, second), wait(1));
        assert_eq!(poll(&mut queue, probes, 10, first), Readiness::Ready);
        assert!(queue.take_ready(probes, at(10)).is_empty(), "all of them have a timer");
        // The first one makes no call.
        assert_eq!(poll(&mut queue, probes, 11, second), Readiness::Ready);
    }

    #[test]
    fn as_many_waiters_wake_as_there_are_free_slots_first_come_first_served() {
        let mut queue = WaitQueue::default();
        let mut keys = [None; 3];
        for key in &mut keys {
            poll(&mut queue, OPEN, 0, key);
        }
        let capacity = Capacity::Probes(2);
        assert_eq!(queue.take_ready(capacity, at(60)).len(), 2);
        assert_eq!(queue.take_ready(capacity, at(60)).len(), 0);
        let readiness = keys.each_mut().map(|key| poll(&mut queue, capacity, 60, key));
        assert_eq!(readiness, [Readiness::Ready, Readiness::Ready, wait(1)]);
    }

    #[test]
    fn a_newcomer_does_not_overtake_a_waiter() {
        let mut queue = WaitQueue::default();
        poll(&mut queue, OPEN, 0, &mut None);
        assert_eq!(poll(&mut queue, Capacity::Probes(1), 60, &mut None), wait(1));
    }

    #[test]
    fn a_reservation_passes_on_when_it_lapses_or_its_waiter_leaves() {
        let mut queue = WaitQueue::default();
        let capacity = Capacity::Probes(1);
        let (mut first, mut second, mut third) = (None, None, None);
        assert_eq!(poll(&mut queue, capacity, 60, &mut first), Readiness::Ready);
        assert_eq!(poll(&mut queue, capacity, 60, &mut second), wait(1));
        assert_eq!(poll(&mut queue, capacity, 61, &mut second), Readiness::Ready);
        assert_eq!(poll(&mut queue, capacity, 61, &mut third), wait(1));
        queue.leave(second.unwrap());
        assert_eq!(queue.take_ready(capacity, at(61)).len(), 1);
        assert_eq!(poll(&mut queue, capacity, 61, &mut third), Readiness::Ready);
    }

    #[test]
    fn every_waiter_wakes_when_the_circuit_closes() {
        let mut queue = WaitQueue::default();
        let mut keys = [None; 3];
        for key in &mut keys {
            poll(&mut queue, OPEN, 0, key);
        }
        assert_eq!(queue.take_ready(Capacity::Unlimited, at(60)).len(), 3);
        assert!(queue.is_empty());
        for key in &mut keys {
            assert_eq!(poll(&mut queue, Capacity::Unlimited, 60, key), Readiness::Ready);
            assert_eq!(*key, None);
        }
    }
}
