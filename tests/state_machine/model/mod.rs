//! The breaker against a plain model of its description, on random operations at random times.
//!
//! The model keeps every call in a list and shares no code with the crate. All times are whole
//! milliseconds, and there is no jitter, so that both sides have to agree exactly.

mod reference;
mod run;

use proptest::prelude::*;
use reference::{Kind, Model, Rule, Settings};
use run::{Operation, Run};

fn rule() -> impl Strategy<Value = Rule> {
    let share = prop_oneof![Just(0.25), Just(1.0 / 3.0), Just(0.5), Just(0.8), Just(1.0)];
    prop_oneof![
        (1..6u32).prop_map(Rule::Row),
        (share.clone(), 1..12usize, 1..12u32).prop_map(|(share, size, minimum)| Rule::Rate {
            kind: Kind::Failures,
            share,
            size,
            minimum
        }),
        (share, 1..12usize, 1..12u32, 1..30u64).prop_map(|(share, size, minimum, slower)| {
            Rule::Rate { kind: Kind::Slow(slower), share, size, minimum }
        }),
    ]
}

fn settings() -> impl Strategy<Value = Settings> {
    let rate = prop_oneof![Just(0.25), Just(0.5), Just(1.0)];
    (
        prop::collection::vec(rule(), 1..4),
        1..100u64,
        prop::option::of((1..4u32, 100..1000u64)),
        1..4u32,
        prop::option::of(1..4u32),
        prop::option::of(rate),
        prop::option::of(1..100u64),
    )
        .prop_map(|(rules, recovery, backoff, threshold, slots, half_open_rate, timeout)| {
            Settings {
                rules,
                recovery,
                backoff,
                threshold,
                slots: slots.unwrap_or(threshold),
                half_open_rate,
                timeout,
            }
        })
}

fn operation() -> impl Strategy<Value = Operation> {
    let outcome = prop_oneof![
        3 => Just(0u8),
        3 => Just(1),
        1 => Just(2),
        1 => Just(3),
    ];
    let hint = prop::option::weighted(0.2, 1..2000u64);
    prop_oneof![
        8 => (outcome.clone(), 0..40u64, hint.clone())
            .prop_map(|(outcome, takes, hint)| Operation::Call { outcome, takes, hint }),
        4 => Just(Operation::Acquire),
        4 => (any::<prop::sample::Index>(), outcome, hint)
            .prop_map(|(which, outcome, hint)| Operation::Finish { which, outcome, hint }),
        1 => any::<prop::sample::Index>().prop_map(Operation::Drop),
        3 => (0..150u64).prop_map(Operation::Advance),
        2 => (-1..2i64).prop_map(Operation::ToTheBorder),
        1 => (0..4u8).prop_map(Operation::Command),
        1 => (0..200u64, prop_oneof![Just(0i64), -10_000_000..10_000_000i64])
            .prop_map(|(after, shift)| Operation::Restart { after, shift }),
    ]
}

proptest! {
    /// Whatever happens, the breaker admits, rejects and counts as the model does.
    #[test]
    fn the_breaker_does_what_the_model_does(
        settings in settings(),
        operations in prop::collection::vec(operation(), 1..150),
    ) {
        let mut run = Run::new(&settings);
        let mut model = Model::new(settings);
        for (number, operation) in operations.iter().enumerate() {
            let expected = model.perform(operation);
            let seen = run.perform(operation, &expected);
            prop_assert_eq!(seen, expected, "at operation {}, {:?}", number, operation);
        }
    }

    /// To look at a breaker does nothing to it.
    #[test]
    fn looking_changes_nothing(
        settings in settings(),
        operations in prop::collection::vec((operation(), any::<bool>()), 1..150),
    ) {
        let (mut one, mut other) = (Run::new(&settings), Run::new(&settings));
        let mut model = Model::new(settings);
        for (operation, look) in &operations {
            // The model knows what the border is; what it expects is not asked for here.
            let guide = model.perform(operation);
            if *look {
                other.look();
            }
            prop_assert_eq!(one.perform(operation, &guide), other.perform(operation, &guide));
        }
    }

    /// Without calls under way and without time in between, nobody can tell a restart.
    #[test]
    fn a_restart_is_invisible(
        settings in settings(),
        operations in prop::collection::vec((operation(), any::<bool>()), 1..150),
    ) {
        let (mut one, mut other) = (Run::new(&settings), Run::new(&settings));
        let mut model = Model::new(settings);
        for (operation, restart) in &operations {
            // Only a call holds something over an operation.
            if matches!(operation, Operation::Acquire | Operation::Finish { .. } | Operation::Drop(_)) {
                continue;
            }
            let guide = model.perform(operation);
            if *restart {
                other.restart(0, 0);
            }
            prop_assert_eq!(one.perform(operation, &guide), other.perform(operation, &guide));
        }
    }

    /// A time window holds what is younger than nine tenths of its time, and nothing that is as
    /// old as its time, also over restarts.
    #[test]
    fn a_time_window_holds_its_time(
        time in 40..5000u64,
        calls in prop::collection::vec((0..800u64, any::<bool>(), any::<bool>()), 1..150),
    ) {
        let mut run = Run::over_time(time);
        let (mut now, mut recorded) = (0, Vec::new());
        for (pause, failed, restart) in calls {
            now += pause;
            run.advance(pause);
            run.record(failed);
            recorded.push((now, failed));
            if restart && pause % 7 == 0 {
                run.restart(pause, 0);
                now += pause;
            }
            let count = |age: u64, only_failed: bool| {
                let young = recorded.iter().filter(|(at, _)| now - at < age);
                young.filter(|(_, failed)| *failed || !only_failed).count() as u64
            };
            let (calls, failures) = run.counts();
            prop_assert!((count(time * 9 / 10, false)..=count(time, false)).contains(&calls));
            prop_assert!((count(time * 9 / 10, true)..=count(time, true)).contains(&failures));
        }
    }
}
