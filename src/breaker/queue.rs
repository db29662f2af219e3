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
//! in line, the *lookout*; the others look a second later, in case it does not.

use std::{collections::BTreeMap, task::Waker, time::Duration};

use super::{cell::Cell, machine::Room, waiters::Waiters};
use crate::clock::Tick;

/// How long a promise holds.
pub(crate) const PROMISE: Duration = Duration::from_secs(1);

/// What one who asks for a turn is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Go.
    Now,
    /// Wait to be called, and look again after this time, if there is one.
    Later(Option<Duration>),
}

#[derive(Default)]
pub(super) struct Queue {
    waiting: Waiters,
    /// Until when, by the number of the place in line.
    promises: BTreeMap<u64, Tick>,
    lookout: Option<u64>,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn promised(&mut self, now: Tick) -> u64 {
        self.promises.retain(|_, until| *until > now);
        self.promises.len() as u64
    }

    /// Asks for a turn. Also returns a waker to be dropped without the lock.
    fn ask(
        &mut self,
        room: Room,
        now: Tick,
        key: &mut Option<u64>,
        waker: &Waker,
    ) -> (Turn, Option<Waker>) {
        let called = key.is_some_and(|key| self.promises.contains_key(&key));
        let goes = match room {
            Room::All => true,
            // Who stands in front is called before this one, when this is published.
            Room::Probes(free) => {
                called || (self.waiting.is_first(*key) && self.promised(now) < free)
            }
            Room::None(_) => false,
        };
        if goes {
            let left = match room {
                Room::Probes(_) => {
                    let key = *key.get_or_insert_with(|| self.waiting.number());
                    self.promises.insert(key, now.after(PROMISE));
                    self.waiting.remove(key)
                }
                Room::All | Room::None(_) => key.take().and_then(|key| self.leave(key)),
            };
            return (Turn::Now, left);
        }
        let displaced = self.waiting.park(key, waker);
        let again = match room {
            Room::None(until) => until.map(|until| {
                let left = until.since(now);
                let first = *self.lookout.get_or_insert(key.unwrap_or_default());
                if *key == Some(first) { left } else { left.saturating_add(PROMISE) }
            }),
            Room::Probes(_) | Room::All => Some(PROMISE),
        };
        (Turn::Later(again), displaced)
    }

    /// Gives up a place in line, and what was promised. Returns the waker, to be dropped without
    /// the lock.
    fn leave(&mut self, key: u64) -> Option<Waker> {
        self.promises.remove(&key);
        if self.lookout == Some(key) {
            self.lookout = None;
        }
        self.waiting.remove(key)
    }

    /// Takes those out of the line who are to be woken, without the lock.
    pub(super) fn call(&mut self, room: Room, now: Tick) -> Vec<Waker> {
        match room {
            Room::All => {
                self.promises.clear();
                self.lookout = None;
                self.waiting.take().into_wakers().collect()
            }
            Room::Probes(free) => {
                self.lookout = None;
                let open = free.saturating_sub(self.promised(now));
                let mut called = Vec::new();
                for _ in 0..open {
                    let Some((key, waker)) = self.waiting.take_first() else { break };
                    self.promises.insert(key, now.after(PROMISE));
                    called.push(waker);
                }
                called
            }
            Room::None(until) => {
                self.promises.clear();
                if until.is_none() || self.lookout.is_some() {
                    return Vec::new();
                }
                // The next in line has to set its alarm.
                let next = self.waiting.take_first();
                self.lookout = next.as_ref().map(|(key, _)| *key);
                next.map(|(_, waker)| waker).into_iter().collect()
            }
        }
    }
}

impl Cell {
    /// Asks for a turn to make a call. `key` is the place in line, to be kept for the next time,
    /// and to be given up with [`leave_queue`](Self::leave_queue).
    pub(crate) fn ask_for_turn(&self, key: &mut Option<u64>, waker: &Waker) -> Turn {
        let mut displaced = None;
        let turn = self.locked(|core| {
            let now = core.clock.now();
            let (room, now) =
                core.work(&self.tally, now, |machine, _| ((machine.room(), machine.now), false))?;
            let (turn, gone) = core.news().queue.ask(room, now, key, waker);
            displaced = gone;
            Some(turn)
        });
        drop(displaced);
        // A handle keeps the cell leased, so there is a machine to ask.
        turn.unwrap_or(Turn::Now)
    }

    /// Gives up a place in line; what it was promised goes to the next.
    pub(crate) fn leave_queue(&self, key: u64) {
        let gone = self.locked(|core| {
            core.machine.as_ref()?;
            Some(core.news().queue.leave(key))
        });
        drop(gone);
    }
}
