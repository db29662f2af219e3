//! Steps are told once, in their order, whichever thread does it.

use loom::thread;

use super::{Leased, config, model};
use crate::{State, breaker::machine::Command};

#[test]
fn steps_of_two_threads_are_told_in_their_order() {
    model(|| {
        let leased = Leased::new(config(1));
        let cell = leased.cell;
        let other = thread::spawn(|| cell.command(Command::ForceOpen));
        cell.command(Command::Disable);
        other.join().unwrap();
        let told = leased.told.steps();
        assert_eq!(told.len(), 2);
        assert_eq!(told[0].0, State::Closed);
        assert_eq!(told[0].1, told[1].0);
        assert_eq!(told[1].1, leased.state());
    });
}
