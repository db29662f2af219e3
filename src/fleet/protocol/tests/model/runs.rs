//! The searches: what holds on every path, and defects that are found.

use std::collections::HashMap;

use stateright::{Checker, HasDiscoveries, Model, Path, UniformChooser};

use super::{super::server::Bug, Fleet, RECOVERS, SECOND, Step, world::World};

/// Every path up to this many steps. Returns the properties that fail.
fn search(fleet: Fleet, depth: usize) -> Vec<&'static str> {
    let checker = fleet.checker().threads(2).target_max_depth(depth).spawn_bfs().join();
    println!("{} states", checker.unique_state_count());
    failures(&checker.discoveries())
}

/// Random paths, which go deeper. Returns the properties that fail, and whether a fleet recovered.
fn simulate(fleet: Fleet, states: usize) -> (Vec<&'static str>, bool) {
    let checker = fleet
        .checker()
        .target_max_depth(60)
        .target_state_count(states)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_simulation(7, UniformChooser)
        .join();
    println!("{} states", checker.state_count());
    let discoveries = checker.discoveries();
    (failures(&discoveries), discoveries.contains_key(RECOVERS))
}

fn failures(discoveries: &HashMap<&'static str, Path<World, Step>>) -> Vec<&'static str> {
    let failures = discoveries.iter().filter(|(name, _)| **name != RECOVERS);
    let failures = failures.inspect(|(name, path)| {
        println!("{name}: {:?}", (*path).clone().into_actions());
    });
    failures.map(|(name, _)| *name).collect()
}

#[test]
fn two_replicas_keep_every_promise() {
    assert_eq!(search(Fleet::sound(2, 1), 9), [""; 0]);
    let (failures, recovers) = simulate(Fleet::sound(2, 1), 300_000);
    assert_eq!(failures, [""; 0]);
    assert!(recovers, "no path shows a recovery: the model is too small");
}

#[test]
fn three_replicas_of_which_two_must_agree_keep_every_promise() {
    let fleet = || Fleet { trips: 4, ..Fleet::sound(3, 2) };
    assert_eq!(search(fleet(), 6), [""; 0]);
    assert_eq!(simulate(fleet(), 200_000).0, [""; 0]);
}

#[test]
fn replicas_of_a_server_whose_clock_steps_keep_every_promise() {
    assert_eq!(search(Fleet::sound(2, 1).with_steps(), 7), [""; 0]);
    let fleet = || Fleet { until: 7 * SECOND, ..Fleet::sound(2, 1).with_steps() };
    assert_eq!(simulate(fleet(), 200_000).0, [""; 0]);
    let fleet = Fleet { trips: 4, until: 7 * SECOND, ..Fleet::sound(3, 2).with_steps() };
    assert_eq!(simulate(fleet, 100_000).0, [""; 0]);
}

#[test]
fn replicas_of_a_server_that_evicts_the_key_keep_every_promise() {
    assert_eq!(search(Fleet::sound(2, 1).with_evictions(), 7), [""; 0]);
    assert_eq!(simulate(Fleet::sound(2, 1).with_evictions(), 200_000).0, [""; 0]);
    let fleet = Fleet::sound(2, 1).with_sets().with_evictions();
    assert_eq!(simulate(fleet, 200_000).0, [""; 0]);
}

#[test]
fn replicas_that_set_states_by_hand_keep_every_promise() {
    assert_eq!(search(Fleet::sound(2, 1).with_sets(), 6), [""; 0]);
    assert_eq!(simulate(Fleet::sound(2, 1).with_sets(), 200_000).0, [""; 0]);
}

#[test]
fn replicas_whose_probes_decide_together_keep_every_promise() {
    let fleet = || Fleet::sound(2, 1).with_results();
    assert_eq!(search(fleet(), 7), [""; 0]);
    let (failures, recovers) = simulate(fleet(), 400_000);
    assert_eq!(failures, [""; 0]);
    assert!(recovers, "no path shows a recovery: the model is too small");
    let fleet = Fleet { trips: 4, ..Fleet::sound(3, 2).with_results() };
    assert_eq!(simulate(fleet, 200_000).0, [""; 0]);
}

fn is_found(bug: Bug) -> bool {
    let fleet = Fleet { bug: Some(bug), until: 7 * SECOND, ..Fleet::sound(2, 1) };
    !simulate(fleet, 3_000_000).0.is_empty()
}

fn is_found_with_steps(bug: Bug) -> bool {
    let fleet = Fleet { bug: Some(bug), until: 7 * SECOND, ..Fleet::sound(2, 1).with_steps() };
    !simulate(fleet, 3_000_000).0.is_empty()
}

#[test]
fn a_fence_that_takes_only_what_is_stored_is_found() {
    assert!(is_found(Bug::FenceOfWhatIsStored));
}

#[test]
fn numbers_that_begin_anew_once_the_key_is_evicted_are_found() {
    let bug = Some(Bug::NumbersBeginAnew);
    let fleet = Fleet { bug, ..Fleet::sound(2, 1).with_sets().with_evictions() };
    assert!(!simulate(fleet, 3_000_000).0.is_empty());
}

#[test]
fn a_lease_without_a_token_is_found() {
    assert!(is_found(Bug::LeaseWithoutToken));
}

#[test]
fn a_missing_key_that_is_read_as_closed_is_found() {
    assert!(is_found(Bug::MissingKeyIsClosed));
}

#[test]
fn a_clock_that_goes_back_and_is_trusted_is_found() {
    assert!(is_found_with_steps(Bug::ClockThatGoesBackIsTrusted));
}

#[test]
fn an_end_that_is_never_put_right_is_found() {
    assert!(is_found_with_steps(Bug::EndsAreNeverPutRight));
}

fn is_found_with_sets(bug: Bug) -> bool {
    let fleet = Fleet { bug: Some(bug), ..Fleet::sound(2, 1).with_sets() };
    !simulate(fleet, 3_000_000).0.is_empty()
}

#[test]
fn a_state_set_by_hand_that_is_forgotten_once_another_follows_is_found() {
    assert!(is_found_with_sets(Bug::SetIsForgotten));
}

#[test]
fn a_state_set_by_hand_that_is_sent_again_with_another_token_is_found() {
    assert!(is_found_with_sets(Bug::SetWithAnotherToken));
}

fn is_found_with_results(bug: Bug, replicas: usize) -> bool {
    let fleet = Fleet { bug: Some(bug), ..Fleet::sound(replicas, 1).with_results() };
    let fleet = Fleet { is_half_open: replicas == 1, ..fleet };
    !simulate(fleet, 3_000_000).0.is_empty()
}

#[test]
fn a_result_that_counts_twice_is_found() {
    assert!(is_found_with_results(Bug::ResultCountsTwice, 2));
}

#[test]
fn a_replica_that_leaves_by_a_result_that_was_only_counted_is_found() {
    assert!(is_found_with_results(Bug::CountedIsKept, 1));
}
