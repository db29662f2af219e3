//! Each transition is dispatched once, in order, whichever thread does it.

use loom::thread;

use super::{Leased, config, model};
use crate::{breaker::command::Command, state::State};

#[test]
fn transitions_of_two_threads_are_dispatched_in_order() {
    model(|| {
        let leased = Leased::new(config(1));
        let cell = leased.cell;
        let other = thread::spawn(|| cell.command(Command::ForceOpen(None)));
        cell.command(Command::Disable(None));
        other.join().unwrap();
        let dispatched = leased.dispatched.transitions();
        assert_eq!(dispatched.len(), 2);
        assert_eq!(dispatched[0].0, State::Closed);
        assert_eq!(dispatched[0].1, dispatched[1].0);
        assert_eq!(dispatched[1].1, leased.state());
    });
}
