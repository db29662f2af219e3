//! Manual commands in events and snapshots.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tower_breaker::{
    Breaker, Event, ManualChange, State, Trip, Window,
    clock::ManualClock,
    event::{Reason, Transition, WouldTrip},
    snapshot::Snapshot,
};

const MINUTE: Duration = Duration::from_secs(60);

fn breaker(clock: &ManualClock) -> Breaker {
    let builder = Breaker::builder("by hand").clock(clock.clone());
    builder.trip_on(Trip::consecutive_failures(2)).build().unwrap()
}

/// The events since the last call.
fn events(receiver: &mut tokio::sync::broadcast::Receiver<Event>) -> Vec<Event> {
    std::iter::from_fn(|| receiver.try_recv().ok()).collect()
}

fn transitions(receiver: &mut tokio::sync::broadcast::Receiver<Event>) -> Vec<Transition> {
    let transition = |event| match event {
        Event::Transition(transition) => transition,
        other => panic!("{other:?}"),
    };
    events(receiver).into_iter().map(transition).collect()
}

fn would_trips(receiver: &mut tokio::sync::broadcast::Receiver<Event>) -> Vec<WouldTrip> {
    let would_trip = |event| match event {
        Event::WouldTrip(would_trip) => Some(would_trip),
        _ => None,
    };
    events(receiver).into_iter().filter_map(would_trip).collect()
}

fn fail(breaker: &Breaker, times: usize) {
    (0..times).for_each(|_| breaker.try_acquire().unwrap().failure());
}

#[test]
fn a_temporary_state_is_announced_with_its_end_and_ends_at_that_time() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock);
    let mut receiver = breaker.subscribe();
    let began = clock.wall();
    breaker.force_open_for(MINUTE);
    clock.advance(MINUTE * 5);
    assert_eq!(breaker.state(), State::Closed);
    let transitions = transitions(&mut receiver);
    let [set, ended] = &transitions[..] else { panic!("{transitions:?}") };
    assert_eq!((set.to, set.reason, set.manual), (State::ForcedOpen, Reason::Manual, true));
    assert_eq!((set.at, set.manual_until), (began, Some(began + MINUTE)));
    assert_eq!((ended.to, ended.reason), (State::Closed, Reason::ManualExpired));
    assert_eq!((ended.at, ended.manual_until, ended.manual), (began + MINUTE, None, false));
    // JSON has it too.
    let json = serde_json::to_value(set).unwrap();
    assert_eq!(json["manual_until"], json!(1_700_000_060.0));
    assert_eq!(&serde_json::from_value::<Transition>(json).unwrap(), set);
    assert_eq!(serde_json::to_value(ended).unwrap().get("manual_until"), None);
}

#[test]
fn another_end_is_a_transition_and_the_same_state_again_is_not() {
    let breaker = breaker(&ManualClock::new());
    let mut receiver = breaker.subscribe();
    breaker.disable();
    breaker.disable();
    breaker.disable_for(MINUTE);
    breaker.disable_for(MINUTE);
    breaker.disable();
    let states: Vec<_> = transitions(&mut receiver)
        .iter()
        .map(|step| (step.from, step.manual_until.is_some()))
        .collect();
    let disabled = State::Disabled;
    assert_eq!(states, [(State::Closed, false), (disabled, true), (disabled, false)]);
}

#[test]
fn a_manual_trip_is_a_transition_with_an_open_time() {
    let breaker = breaker(&ManualClock::new());
    let mut receiver = breaker.subscribe();
    breaker.trip();
    breaker.trip();
    let transitions = transitions(&mut receiver);
    let [trip] = &transitions[..] else { panic!("{transitions:?}") };
    assert_eq!((trip.to, trip.reason, trip.manual), (State::Open, Reason::Manual, true));
    assert_eq!(trip.open_time, Some(MINUTE));
    assert_eq!(breaker.stats().consecutive_opens(), 1);
}

#[test]
fn a_snapshot_has_the_end_of_a_temporary_state_and_may_lack_it() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock);
    breaker.metrics_only_for(MINUTE);
    let snapshot = breaker.snapshot();
    assert_eq!(snapshot.manual_until, Some(clock.wall() + MINUTE));
    assert!(snapshot.expires_at > snapshot.manual_until, "kept in the store until then");
    breaker.metrics_only();
    assert_eq!((breaker.snapshot().manual_until, breaker.snapshot().expires_at), (None, None));

    let mut json: Value = serde_json::from_str(&snapshot.to_json().unwrap()).unwrap();
    json.as_object_mut().unwrap().remove("manual_until");
    let old = Snapshot::from_json(json.to_string().as_bytes()).unwrap();
    assert_eq!((old.state, old.manual_until), (State::MetricsOnly, None));
    // Neither a time before 1970 nor an invalid one must become an unlimited one.
    json["manual_until"] = json!(-1);
    let past = Snapshot::from_json(json.to_string().as_bytes()).unwrap();
    assert_eq!(past.manual_until, Some(SystemTime::UNIX_EPOCH - Duration::from_secs(1)));
    for invalid in [json!(1e300), json!("soon")] {
        json["manual_until"] = invalid;
        Snapshot::from_json(json.to_string().as_bytes()).unwrap_err();
    }
}

#[test]
fn a_time_beyond_the_range_of_the_clock_never_ends() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock);
    breaker.force_open_for(Duration::MAX);
    clock.advance(MINUTE * 60 * 24 * 365);
    assert_eq!(breaker.state(), State::ForcedOpen);
    assert_eq!(breaker.try_acquire().unwrap_err().retry_after(), None);
    breaker.force_open_for(Duration::ZERO);
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn metrics_only_reports_once_each_time_it_would_have_opened() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock);
    let mut receiver = breaker.subscribe();
    breaker.metrics_only();
    fail(&breaker, 1);
    assert_eq!(would_trips(&mut receiver), []);
    fail(&breaker, 1);
    let first = would_trips(&mut receiver);
    let [event] = &first[..] else { panic!("{first:?}") };
    assert_eq!((&*event.name, event.at), ("by hand", clock.wall()));
    assert_eq!((event.reason, event.failure_count), (Reason::ConsecutiveFailures, 2));
    // While the rule is still met, nothing more is reported.
    fail(&breaker, 10);
    breaker.try_acquire().unwrap().ignore();
    drop(breaker.try_acquire().unwrap());
    fail(&breaker, 1);
    assert_eq!(would_trips(&mut receiver), []);
    breaker.try_acquire().unwrap().success();
    fail(&breaker, 2);
    assert_eq!(would_trips(&mut receiver).len(), 1);
    assert_eq!(breaker.state(), State::MetricsOnly);
    breaker.reset();
    fail(&breaker, 2);
    assert_eq!(breaker.state(), State::Open);
    assert_eq!(would_trips(&mut receiver), []);
}

#[test]
fn metrics_only_reports_again_when_the_rule_is_met_anew_after_an_update() {
    let breaker = breaker(&ManualClock::new());
    let mut receiver = breaker.subscribe();
    breaker.metrics_only();
    fail(&breaker, 2);
    assert_eq!(would_trips(&mut receiver).len(), 1);
    let mut config = (*breaker.config()).clone();
    config.trip_on = vec![Trip::consecutive_failures(3)];
    breaker.update(config.clone()).unwrap();
    fail(&breaker, 1);
    assert_eq!(would_trips(&mut receiver).len(), 1, "it was not met after the update");
    config.trip_on = vec![Trip::consecutive_failures(2)];
    breaker.update(config).unwrap();
    fail(&breaker, 1);
    assert_eq!(would_trips(&mut receiver), [], "it was met all the time");
}

#[test]
fn metrics_only_reports_again_after_the_old_failures_have_left_the_window() {
    let clock = ManualClock::new();
    let rule = Trip::failure_rate(0.5, Window::time(MINUTE)).minimum_calls(1);
    let observed = [false, true].map(|observed| {
        let builder = Breaker::builder("by hand").clock(clock.clone()).trip_on(rule);
        let breaker = builder.build().unwrap();
        let mut receiver = breaker.subscribe();
        breaker.metrics_only();
        fail(&breaker, 3);
        clock.advance(MINUTE);
        if observed {
            let _ = (breaker.state(), breaker.stats(), breaker.snapshot());
        }
        fail(&breaker, 1);
        would_trips(&mut receiver).len()
    });
    assert_eq!(observed, [2, 2]);
}

#[test]
fn a_restart_does_not_report_it_again() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock);
    breaker.metrics_only();
    fail(&breaker, 2);
    let builder = Breaker::builder("by hand").clock(clock.clone()).restore(breaker.snapshot());
    let restored = builder.trip_on(Trip::consecutive_failures(2)).build().unwrap();
    let mut receiver = restored.subscribe();
    fail(&restored, 1);
    assert_eq!(would_trips(&mut receiver), []);
    restored.try_acquire().unwrap().success();
    fail(&restored, 2);
    assert_eq!(would_trips(&mut receiver).len(), 1);
}

#[test]
fn the_snapshot_of_a_temporary_state_does_not_expire_before_its_end() {
    let clock = ManualClock::starting_at(SystemTime::UNIX_EPOCH + MINUTE);
    let breaker = breaker(&clock);
    let year = MINUTE * 60 * 24 * 365;
    breaker.force_open_for(year);
    let snapshot = breaker.snapshot();
    assert_eq!(snapshot.expires_at, Some(clock.wall() + year));
}

/// An operator says who they are and why.
fn change() -> ManualChange {
    ManualChange::new().by("on-call").note("pager\n\"4711\"")
}

#[test]
fn a_note_and_who_made_the_change_are_in_the_event_and_in_the_state() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock);
    let mut receiver = breaker.subscribe();
    let commands: [fn(&Breaker, ManualChange); 4] = [
        Breaker::force_open_with,
        Breaker::disable_with,
        Breaker::metrics_only_with,
        Breaker::reset_with,
    ];
    for command in commands {
        clock.advance(MINUTE);
        command(&breaker, change());
        let snapshot = breaker.snapshot();
        assert_eq!(snapshot.by.as_deref(), Some("on-call"));
        assert_eq!(snapshot.note.as_deref(), Some("pager\n\"4711\""));
        assert_eq!(snapshot.since, Some(clock.wall()));
    }
    let transitions = transitions(&mut receiver);
    let states: Vec<State> = transitions.iter().map(|transition| transition.to).collect();
    assert_eq!(states, [State::ForcedOpen, State::Disabled, State::MetricsOnly, State::Closed]);
    for transition in &transitions {
        assert!(transition.manual);
        assert_eq!(transition.by.as_deref(), Some("on-call"));
        assert_eq!(transition.note.as_deref(), Some("pager\n\"4711\""));
        let json = serde_json::to_value(transition).unwrap();
        assert_eq!(json["note"], "pager\n\"4711\"");
        assert_eq!(&serde_json::from_value::<Transition>(json).unwrap(), transition);
    }
    // What happens next has no author.
    fail(&breaker, 2);
    let snapshot = breaker.snapshot();
    assert_eq!((snapshot.state, snapshot.by, snapshot.note), (State::Open, None, None));
    assert_eq!(snapshot.reason, Some(Reason::ConsecutiveFailures));
    let json: Value = serde_json::from_str(&breaker.snapshot().to_json().unwrap()).unwrap();
    assert_eq!((json.get("by"), json.get("note")), (None, None));
}

#[test]
fn a_change_by_hand_may_last_for_a_time() {
    for command in [Breaker::force_open_with, Breaker::disable_with, Breaker::metrics_only_with]
        as [fn(&_, _); 3]
    {
        let clock = ManualClock::new();
        let breaker = breaker(&clock);
        command(&breaker, change().lasting(MINUTE));
        assert_eq!(breaker.snapshot().manual_until, Some(clock.wall() + MINUTE));
        clock.advance(MINUTE);
        let ended = breaker.snapshot();
        assert_eq!((ended.state, ended.by), (State::Closed, None));
        assert_eq!(ended.reason, Some(Reason::ManualExpired));
    }
    let clock = ManualClock::new();
    let breaker = breaker(&clock);
    breaker.reset_with(change().lasting(MINUTE));
    assert_eq!(breaker.snapshot().manual_until, None);
}

#[test]
fn the_same_state_again_is_a_transition_only_with_another_note_or_name() {
    let breaker = breaker(&ManualClock::new());
    let mut receiver = breaker.subscribe();
    breaker.force_open_with(change());
    breaker.force_open_with(change());
    // A program that repeats itself does not take the operator's name away.
    breaker.force_open();
    assert_eq!(breaker.snapshot().by.as_deref(), Some("on-call"));
    breaker.force_open_with(change().by("deploy"));
    let by: Vec<_> = transitions(&mut receiver).into_iter().map(|step| step.by.unwrap()).collect();
    assert_eq!(by.iter().map(|by| &**by).collect::<Vec<_>>(), ["on-call", "deploy"]);
}

#[test]
fn notes_and_names_are_bounded_in_whole_characters() {
    let breaker = breaker(&ManualClock::new());
    breaker.force_open_with(ManualChange::new().note("é".repeat(10_000)).by("x€".repeat(10_000)));
    let snapshot = breaker.snapshot();
    assert_eq!(snapshot.note.as_deref(), Some(&*"é".repeat(ManualChange::MAX_NOTE / 2)));
    assert_eq!(snapshot.by.as_deref(), Some(&*"x€".repeat(ManualChange::MAX_BY / 4)));
    breaker.force_open_with(ManualChange::new().note("a".repeat(999) + "€"));
    assert_eq!(breaker.snapshot().note.as_deref(), Some(&*"a".repeat(999)));
    breaker.disable_with(ManualChange::new().note("").by(""));
    assert_eq!((breaker.snapshot().note, breaker.snapshot().by), (None, None));
}

#[test]
fn how_a_state_began_survives_a_restart() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock);
    let began = clock.wall();
    breaker.force_open_with(change());
    clock.advance(MINUTE * 90);
    let restart = |snapshot: Snapshot| {
        let builder = Breaker::builder("by hand").clock(clock.clone());
        builder.trip_on(Trip::consecutive_failures(2)).restore(snapshot).build().unwrap()
    };
    let saved = breaker.snapshot().to_json().unwrap();
    let restored = restart(Snapshot::from_json(saved.as_bytes()).unwrap()).snapshot();
    assert_eq!((restored.state, restored.since), (State::ForcedOpen, Some(began)));
    assert_eq!(restored.reason, Some(Reason::Manual));
    assert_eq!(restored.by.as_deref(), Some("on-call"));
    assert_eq!(restored.note.as_deref(), Some("pager\n\"4711\""));

    // Early versions lack these fields, and newer ones may have others.
    let mut json: Value = serde_json::from_str(&saved).unwrap();
    for field in ["since", "note", "by"] {
        json.as_object_mut().unwrap().remove(field);
    }
    json["reason"] = json!("moon_phase");
    let old = restart(Snapshot::from_json(json.to_string().as_bytes()).unwrap()).snapshot();
    assert_eq!((old.state, old.since), (State::ForcedOpen, None));
    assert_eq!((old.reason, old.by), (None, None));
}
