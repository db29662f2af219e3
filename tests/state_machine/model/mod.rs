//! Random runs of a breaker, compared with a sequential model that was written from the
//! description of the state machine and shares no code with the crate.
//!
//! `PROPTEST_CASES` sets the number of cases for each property (256 by default).

mod compare;
mod concrete;
mod corrupt;
mod driver;
mod plan;
mod reference;
mod run;
mod settings;
mod stream;
mod subject;
mod window;

use proptest::{
    collection::vec,
    prelude::{Strategy, any},
    prop_assert_eq, prop_assert_ne, proptest,
    strategy::ValueTree,
    test_runner::TestRunner,
};
use tower_breaker::{State, snapshot::Snapshot};

use self::{
    compare::compare_with_model,
    concrete::{concrete, states, would_trips},
    corrupt::{corrupted, corruptions},
    driver::Driver,
    plan::{Plan, Windows, plan, ramping, recording},
    run::{Interruption, Observe, continue_with, run},
};

/// More operations than a plan has.
const MANY: usize = 200;

proptest! {
    #[test]
    fn the_breaker_agrees_with_the_model_on_every_decision_state_and_count(
        plan in plan(Windows::Counts),
    ) {
        compare_with_model(&plan)?;
    }

    #[test]
    fn the_breaker_agrees_with_the_model_within_the_resolution_of_time_windows(
        plan in plan(Windows::CountsAndTimes),
    ) {
        compare_with_model(&plan)?;
    }

    /// It holds every result younger than nine tenths of its time and none as old as its time,
    /// also after restarts.
    #[test]
    fn a_time_window_holds_the_results_of_its_time(plan in recording()) {
        compare_with_model(&plan)?;
    }

    #[test]
    fn a_ramp_admits_a_growing_and_evenly_spread_share(plan in ramping()) {
        compare_with_model(&plan)?;
    }

    /// What time alone causes happens at its moment, whether or not the breaker is observed.
    #[test]
    fn observing_a_breaker_changes_nothing(
        plan in plan(Windows::CountsAndTimes),
        times in vec(0..200_u64, MANY),
    ) {
        let plan = concrete(&plan);
        let unobserved = run(&plan, Observe::AtTheEnd, &[]);
        let observed = run(&plan, Observe::WhileTimePasses(times), &[]);
        prop_assert_eq!(unobserved, observed);
    }

    /// Except for the calls that were under way, which are cancelled.
    #[test]
    fn a_restart_without_a_pause_is_invisible(
        plan in plan(Windows::Counts),
        moments in vec(any::<bool>(), MANY),
    ) {
        let plan = concrete(&plan.with_one_open_time());
        let interrupted = |by| {
            let either = |here: &bool| if *here { by } else { Interruption::None };
            let interruptions = moments.iter().map(either);
            run(&plan, Observe::AfterEachOperation, &interruptions.collect::<Vec<_>>())
        };
        prop_assert_eq!(interrupted(Interruption::Cancel), interrupted(Interruption::Restart));
    }

    #[test]
    fn a_snapshot_survives_json(plan in plan(Windows::CountsAndTimes)) {
        let snapshot = run(&concrete(&plan), Observe::AtTheEnd, &[]).end;
        let text = serde_json::to_string(&snapshot).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Snapshot>(&text).unwrap(), &snapshot);
        prop_assert_eq!(Snapshot::from_json(text.as_bytes()).unwrap(), snapshot);
    }

    #[test]
    fn a_corrupted_snapshot_neither_breaks_the_breaker_nor_keeps_it_open_too_long(
        plan in plan(Windows::CountsAndTimes),
        corruptions in corruptions(),
        later in plan(Windows::CountsAndTimes),
    ) {
        let end = run(&concrete(&plan), Observe::AtTheEnd, &[]).end;
        if let Some(snapshot) = corrupted(&end, &corruptions) {
            let breaker = Driver::restored(&later.settings, snapshot.clone());
            let longest = later.settings.longest_open_time();
            breaker.advance(longest);
            prop_assert_ne!(breaker.state(), State::Open, "after {} ms of {:?}", longest, snapshot);
            continue_with(breaker, &concrete(&later), Observe::AtTheEnd, &[]);
        }
    }
}

fn some_plans() -> impl Iterator<Item = Plan> {
    let mut runner = TestRunner::deterministic();
    let plans = plan(Windows::CountsAndTimes);
    (0..200).map(move |_| plans.new_tree(&mut runner).unwrap().current())
}

/// Otherwise the breaker would run with other settings than the model.
#[test]
fn the_breaker_has_the_settings_of_the_plan() {
    for plan in some_plans() {
        let config = Driver::new(&plan.settings).handle().config();
        assert_eq!(*config, plan.settings.config());
        assert_eq!(config.trip_on.len(), plan.settings.rules.len());
    }
}

/// Otherwise the properties would cover little.
#[test]
fn plans_visit_every_state_often() {
    let states: Vec<_> = some_plans().flat_map(|plan| states(&plan)).collect();
    for state in [
        State::Closed,
        State::Open,
        State::HalfOpen,
        State::ForcedOpen,
        State::Disabled,
        State::MetricsOnly,
    ] {
        let share = states.iter().filter(|visited| **visited == state).count() * 100 / states.len();
        assert!(share >= 3, "{state}: {share}% of the operations");
    }
}

#[test]
fn plans_often_make_metrics_only_report() {
    let reporting = some_plans().filter(|plan| would_trips(plan) > 0).count();
    assert!(reporting >= 20, "{reporting} of 200 plans");
}
