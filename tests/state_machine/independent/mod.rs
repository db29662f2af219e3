//! Random lives of a breaker, held against a plain sequential reference that was written from the
//! description of the state machine and shares no code with it.

mod alone;
mod beside;
mod concrete;
mod damage;
mod driver;
mod plan;
mod reference;
mod settings;
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
    alone::{Pause, alone, live_on},
    beside::against_reference,
    concrete::{concrete, states},
    damage::{damaged, damages},
    driver::Driver,
    plan::{Plan, Windows, plan, ramping},
};

/// More operations than a plan has.
const MANY: usize = 200;

proptest! {
    /// Counts are exact: after each operation the breaker says what the reference says.
    #[test]
    fn the_breaker_does_what_its_description_says(plan in plan(Windows::Counts)) {
        against_reference(&plan)?;
    }

    /// With time windows too, whose resolution leaves a little room.
    #[test]
    fn time_windows_keep_their_resolution(plan in plan(Windows::CountsAndTimes)) {
        against_reference(&plan)?;
    }

    /// The share that a ramp admits grows, and is evenly spread.
    #[test]
    fn ramps_admit_their_share(plan in ramping()) {
        against_reference(&plan)?;
    }

    /// What time alone does happens at its moment, whether or not anyone looks.
    #[test]
    fn looking_never_matters(
        plan in plan(Windows::CountsAndTimes),
        looks in vec(0..200_u64, MANY),
    ) {
        let plan = concrete(&plan);
        let (unseen, seen) = (alone(&plan, &[], &[]), alone(&plan, &looks, &[]));
        prop_assert_eq!(unseen.answers, seen.answers);
        prop_assert_eq!(unseen.end, seen.end);
    }

    /// A restart without a pause is invisible, but for the calls that were under way.
    #[test]
    fn a_restart_is_invisible(
        plan in plan(Windows::Counts),
        moments in vec(any::<bool>(), MANY),
    ) {
        let plan = concrete(&plan.with_one_open_time());
        let pauses = |pause| {
            let pauses = moments.iter().map(|is_one| if *is_one { pause } else { Pause::None });
            pauses.collect::<Vec<_>>()
        };
        let one = alone(&plan, &[], &pauses(Pause::Cancel));
        let other = alone(&plan, &[], &pauses(Pause::Restart));
        prop_assert_eq!(one.answers, other.answers);
        prop_assert_eq!(one.end, other.end);
    }

    /// A snapshot is the same after it was JSON.
    #[test]
    fn a_snapshot_survives_json(plan in plan(Windows::CountsAndTimes)) {
        let snapshot = alone(&concrete(&plan), &[], &[]).end;
        let text = serde_json::to_string(&snapshot).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Snapshot>(&text).unwrap(), &snapshot);
        prop_assert_eq!(Snapshot::from_json(text.as_bytes()).unwrap(), snapshot);
    }

    /// Whatever a snapshot says, the circuit is not open for longer than it may be, and lives.
    #[test]
    fn no_snapshot_holds_a_circuit_open(
        plan in plan(Windows::CountsAndTimes),
        damages in damages(),
        later in plan(Windows::CountsAndTimes),
    ) {
        let plan = concrete(&plan);
        if let Some(snapshot) = damaged(&alone(&plan, &[], &[]).end, &damages) {
            let breaker = Driver::restored(&later.settings, snapshot.clone());
            let longest = later.settings.longest_open_time();
            breaker.advance(longest);
            prop_assert_ne!(breaker.state(), State::Open, "after {} ms of {:?}", longest, snapshot);
            live_on(breaker, &concrete(&later));
        }
    }
}

fn some_plans() -> impl Iterator<Item = Plan> {
    let mut runner = TestRunner::deterministic();
    let plans = plan(Windows::CountsAndTimes);
    (0..200).map(move |_| plans.new_tree(&mut runner).unwrap().current())
}

/// Else the breaker would run under other settings than the reference.
#[test]
fn the_settings_are_read_as_they_are_meant() {
    for plan in some_plans() {
        let config = Driver::new(&plan.settings).handle().config();
        assert_eq!(*config, plan.settings.config());
        assert_eq!(config.trip_on.len(), plan.settings.rules.len());
    }
}

/// Else the properties would hold of little.
#[test]
fn plans_go_everywhere() {
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
