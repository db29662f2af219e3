//! The slots of a group: never more circuits are open than there are slots, and none is lost.

use std::sync::Arc;

use loom::thread;

use super::{Leased, OPEN_TIME, config, model};
use crate::{
    breaker::{
        command::Command,
        open_slot::{OpenLimit, OpenSlot},
        open_slots::{Lately, OpenSlots},
    },
    clock::Tick,
    state::State,
};

struct Limit {
    slots: OpenSlots,
    limit: u64,
}

impl OpenLimit for Limit {
    fn try_take(&self, key: Option<u64>, _: Tick) -> bool {
        self.slots.try_take(key, Lately { now: 0, since: 0 }, self.limit)
    }

    fn take(&self, key: Option<u64>, _: Tick) {
        self.slots.take(key, 0);
    }

    fn give_back(&self, key: Option<u64>) {
        self.slots.give_back(key);
    }

    fn note_prevented(&self) {}
}

impl Limit {
    fn taken(&self) -> u64 {
        self.slots.taken(0)
    }
}

/// Circuits that one failure opens.
fn group(circuits: usize, limit: u64) -> (Vec<Leased>, Arc<Limit>) {
    let limit = Arc::new(Limit { slots: OpenSlots::new(), limit });
    let circuits = (0..circuits as u64).map(|key| {
        let leased = Leased::new(config(1));
        leased.cell.set_open_slot(OpenSlot::new(Arc::clone(&limit) as _, Some(key)));
        leased
    });
    (circuits.collect(), limit)
}

fn open(circuits: &[Leased]) -> usize {
    circuits.iter().filter(|circuit| circuit.state() == State::Open).count()
}

#[test]
fn circuits_that_fail_at_once_share_the_slots() {
    model(|| {
        let (circuits, limit) = group(3, 2);
        let permits: Vec<_> = circuits.iter().map(Leased::permit).collect();
        let threads: Vec<_> =
            permits.into_iter().map(|permit| thread::spawn(move || permit.failure())).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!((open(&circuits), limit.taken()), (2, 2));
    });
}

#[test]
fn a_slot_that_is_given_back_is_taken_by_at_most_one() {
    model(|| {
        let (circuits, limit) = group(3, 1);
        circuits[0].permit().failure();
        let [first, second] = [1, 2].map(|index: usize| circuits[index].permit());
        let cell = circuits[0].cell;
        let reset = thread::spawn(|| cell.command(Command::Reset));
        let fails = thread::spawn(|| first.failure());
        second.failure();
        reset.join().unwrap();
        fails.join().unwrap();
        assert_eq!(open(&circuits) as u64, limit.taken());
        assert!(open(&circuits) <= 1);
        // Nothing keeps the slot from the next one.
        if open(&circuits) == 0 {
            circuits[1].permit().failure();
            assert_eq!(open(&circuits), 1);
        }
    });
}

#[test]
fn a_breaker_that_goes_gives_its_slot_back() {
    model(|| {
        let (mut circuits, limit) = group(2, 1);
        circuits[0].permit().failure();
        let permit = circuits[1].permit();
        let gone = circuits.remove(0);
        let drops = thread::spawn(move || drop(gone));
        permit.failure();
        drops.join().unwrap();
        assert_eq!(open(&circuits) as u64, limit.taken());
        if limit.taken() == 0 {
            circuits[0].permit().failure();
        }
        assert_eq!(limit.taken(), 1);
        drop(circuits);
        assert_eq!(limit.taken(), 0);
    });
}

/// A removed limit and a circuit that opens at the same moment.
#[test]
fn a_breaker_that_leaves_its_group_gives_its_slot_back() {
    model(|| {
        let (circuits, limit) = group(1, 1);
        let permit = circuits[0].permit();
        let fails = thread::spawn(|| permit.failure());
        circuits[0].cell.remove_open_limit();
        fails.join().unwrap();
        assert_eq!((circuits[0].state(), limit.taken()), (State::Open, 0));
    });
}

/// A failed probe reopens its circuit while another one fails: the slot is not up for grabs.
#[test]
fn a_probe_that_fails_keeps_the_slot() {
    model(|| {
        let limit = Arc::new(Limit { slots: OpenSlots::new(), limit: 1 });
        let (first, clock) = Leased::with_clock(config(1));
        let (second, _) = Leased::with_clock(config(1));
        for circuit in [&first, &second] {
            circuit.cell.set_open_slot(OpenSlot::new(Arc::clone(&limit) as _, None));
        }
        first.permit().failure();
        clock.advance(OPEN_TIME);
        let (probe, call) = (first.permit(), second.permit());
        let fails = thread::spawn(|| probe.failure());
        call.failure();
        fails.join().unwrap();
        assert_eq!((first.state(), second.state()), (State::Open, State::Closed));
        assert_eq!(limit.taken(), 1);
    });
}
