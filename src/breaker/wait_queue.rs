//! Those who wait for the circuit to admit calls.
//!
//! While it rejects, they stand in line. When probes may go, as many are called as there are
//! slots, the first in line first; each holds a *promise*, not the slot itself: that is taken by
//! the call. So a promise keeps out nobody who does not stand in line, and an open circuit's
//! probe is never one that nobody has sent. When the circuit closes, everybody is called.
//!
//! One who was called and never comes (a service that is kept and not used) must not stop the
//! line: a promise is for a second, and who waits for one looks again after that time.
//!
//! The open time ends without anybody's doing, so somebody has to look then. That is the first
//! in line, the *timer_owner*; the others look a second later, in case it does not.

use std::{collections::BTreeMap, task::Waker, time::Duration};

use super::{cell::Cell, machine::Capacity, waker_set::WakerSet};
use crate::clock::Tick;

/// How long a promise holds.
pub(crate) const RESERVATION: Duration = Duration::from_secs(1);

/// What one who asks for a turn is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// Go.
    Ready,
    /// Wait to be called, and look again after this time, if there is one.
    Wait(Option<Duration>),
}

#[derive(Default)]
pub(super) struct WaitQueue {
    waiting: WakerSet,
    /// Until when, by the number of the place in line.
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

    /// Asks for a turn. Also returns a waker to be dropped without the lock.
    fn ask(
        &mut self,
        room: Capacity,
        now: Tick,
        key: &mut Option<u64>,
        waker: &Waker,
    ) -> (Readiness, Option<Waker>) {
        let called = key.is_some_and(|key| self.reservations.contains_key(&key));
        let goes = match room {
            Capacity::All => true,
            // Who stands in front is called before this one, when this is published.
            Capacity::Probes(free) => {
                called || (self.waiting.is_first(*key) && self.reserved(now) < free)
            }
            Capacity::None(_) => false,
        };
        if goes {
            let left = match room {
                Capacity::Probes(_) => {
                    let key = *key.get_or_insert_with(|| self.waiting.number());
                    self.reservations.insert(key, now.after(RESERVATION));
                    self.waiting.remove(key)
                }
                Capacity::All | Capacity::None(_) => key.take().and_then(|key| self.leave(key)),
            };
            return (Readiness::Ready, left);
        }
        let displaced = self.waiting.park(key, waker);
        let again = match room {
            Capacity::None(until) => until.map(|until| {
                let left = until.since(now);
                let first = *self.timer_owner.get_or_insert(key.unwrap_or_default());
                if *key == Some(first) { left } else { left.saturating_add(RESERVATION) }
            }),
            Capacity::Probes(_) | Capacity::All => Some(RESERVATION),
        };
        (Readiness::Wait(again), displaced)
    }

    /// Gives up a place in line, and what was reserved. Returns the waker, to be dropped without
    /// the lock.
    fn leave(&mut self, key: u64) -> Option<Waker> {
        self.reservations.remove(&key);
        if self.timer_owner == Some(key) {
            self.timer_owner = None;
        }
        self.waiting.remove(key)
    }

    /// Takes those out of the line who are to be woken, without the lock.
    pub(super) fn call(&mut self, room: Capacity, now: Tick) -> Vec<Waker> {
        match room {
            Capacity::All => {
                self.reservations.clear();
                self.timer_owner = None;
                self.waiting.take().into_wakers().collect()
            }
            Capacity::Probes(free) => {
                self.timer_owner = None;
                let open = free.saturating_sub(self.reserved(now));
                let mut called = Vec::new();
                for _ in 0..open {
                    let Some((key, waker)) = self.waiting.take_first() else { break };
                    self.reservations.insert(key, now.after(RESERVATION));
                    called.push(waker);
                }
                called
            }
            Capacity::None(until) => {
                self.reservations.clear();
                if until.is_none() || self.timer_owner.is_some() {
                    return Vec::new();
                }
                // The next in line has to set its alarm.
                let next = self.waiting.take_first();
                self.timer_owner = next.as_ref().map(|(key, _)| *key);
                next.map(|(_, waker)| waker).into_iter().collect()
            }
        }
    }
}

impl Cell {
    /// Asks for a turn to make a call. `key` is the place in line, to be kept for the next time,
    /// and to be given up with [`leave_wait_queue`](Self::leave_wait_queue).
    pub(crate) fn poll_capacity(&self, key: &mut Option<u64>, waker: &Waker) -> Readiness {
        let mut displaced = None;
        let turn = self.locked(|core| {
            let now = core.clock.now();
            let (room, now) = core.work(&self.successes, now, |machine, _| {
                ((machine.capacity(), machine.now), false)
            })?;
            let (turn, gone) = core.notifier().queue.ask(room, now, key, waker);
            displaced = gone;
            Some(turn)
        });
        drop(displaced);
        // A handle keeps the cell leased, so there is a machine to ask.
        turn.unwrap_or(Readiness::Ready)
    }

    /// Gives up a place in line; what it was reserved goes to the next.
    pub(crate) fn leave_wait_queue(&self, key: u64) {
        let gone = self.locked(|core| {
            core.machine.as_ref()?;
            Some(core.notifier().queue.leave(key))
        });
        drop(gone);
    }
}
