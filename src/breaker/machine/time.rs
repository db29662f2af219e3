//! What time alone does to a machine.

use super::{Machine, Phase};
use crate::{
    breaker::{
        admission::Ticket, effects::Effects, probes::Probes, ramp::Ramp, recording::CallResult,
    },
    clock::Tick,
    event::Reason,
    outcome::Outcome,
};

/// What happens next to the probes in flight, and when.
enum ProbeEvent {
    /// The stream of this probe has proved alive.
    Alive { probe: u64, at: Tick },
    /// The oldest probe times out.
    TimedOut { at: Tick },
}

impl Machine {
    /// Makes every transition that is due by `now`, each at its own time, however late this is
    /// called.
    pub(in crate::breaker) fn advance(&mut self, now: Tick, effects: &mut Effects) {
        self.now = self.now.max(now);
        loop {
            match &self.phase {
                Phase::Open { until, .. } if self.now >= *until => {
                    let (half_open, at) = (Phase::HalfOpen(Box::default()), *until);
                    self.enter(half_open, Reason::RecoveryTimeout.into(), at, effects);
                }
                Phase::HalfOpen(probes) => match self.next_event(probes) {
                    Some(ProbeEvent::Alive { probe, at }) if self.now >= at => {
                        self.succeed_by_stream(probe, at, effects);
                    }
                    Some(ProbeEvent::TimedOut { at }) if self.now >= at => {
                        effects.counts_changed = true;
                        if self.time_out_oldest(at) {
                            self.open(Reason::ProbeTimeout.into(), None, at, effects);
                        }
                    }
                    _ => break,
                },
                Phase::Closed(Some(ramp)) => {
                    if self.is_ramp_over(ramp) {
                        self.phase = Phase::Closed(None);
                    }
                    break;
                }
                phase => match phase.manual_until() {
                    Some(until) if self.now >= until => {
                        self.close_at_once(Reason::ManualExpired, until, effects);
                    }
                    _ => break,
                },
            }
        }
        self.rules.advance(self.now);
    }

    /// When time alone changes the state next, or ends a probe.
    pub(in crate::breaker) fn deadline(&self) -> Option<Tick> {
        match &self.phase {
            Phase::Open { until, .. } => Some(*until),
            Phase::HalfOpen(probes) => self.next_event(probes).map(|event| match event {
                ProbeEvent::Alive { at, .. } | ProbeEvent::TimedOut { at } => at,
            }),
            phase => phase.manual_until(),
        }
    }

    fn next_event(&self, probes: &Probes) -> Option<ProbeEvent> {
        let timeout = self.config.half_open_timeout;
        match probes.next_alive(timeout) {
            Some((at, probe)) => Some(ProbeEvent::Alive { probe, at }),
            None => probes.deadline(timeout).map(|at| ProbeEvent::TimedOut { at }),
        }
    }

    /// Records the success of a probe whose stream has proved alive, at its own time.
    fn succeed_by_stream(&mut self, probe: u64, at: Tick, effects: &mut Effects) {
        let Phase::HalfOpen(probes) = &mut self.phase else { return };
        let Some(stream) = probes.take_stream(probe) else { return };
        stream.proof.give();
        let now = std::mem::replace(&mut self.now, at);
        let ticket = Ticket { epoch: self.epoch, probe: Some(probe) };
        let result = CallResult { outcome: Outcome::Success, elapsed: stream.elapsed };
        self.record(ticket, result, effects);
        self.now = now;
        effects.set_stream_apart();
    }

    fn is_ramp_over(&self, ramp: &Ramp) -> bool {
        self.config.ramp_up.is_none_or(|config| self.now >= ramp.began.after(config.time))
    }
}

#[cfg(all(test, not(tower_breaker_loom)))]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::{
        breaker::{
            effects::StreamCounts,
            probes::{Stream, StreamProof},
        },
        config::{Config, RampUp, Trip, Window},
        state::State,
    };

    const START: Tick = Tick::new(Duration::ZERO);
    const ALIVE_AFTER: Duration = Duration::from_secs(5);

    fn at(seconds: u64) -> Tick {
        START.after(Duration::from_secs(seconds))
    }

    /// A circuit that is half-open since the start, whose probes time out after a minute.
    fn half_open(config: Config) -> Machine {
        let mut machine = Machine::new(Arc::new(config), 0, START);
        let half_open = Phase::HalfOpen(Box::default());
        machine.enter(half_open, Reason::RecoveryTimeout.into(), START, &mut Effects::default());
        machine
    }

    fn begin(machine: &mut Machine, ticket: Ticket, elapsed: Option<Duration>) -> StreamProof {
        let proof = StreamProof::default();
        let stream = Stream { elapsed, proof: proof.clone() };
        machine.begin_stream(ticket, ALIVE_AFTER, stream, &mut Effects::default());
        proof
    }

    /// The machine at this time, and what has happened on the way: in each second, or at once.
    fn go(machine: &mut Machine, to: Tick, by_second: bool) -> Effects {
        let mut effects = Effects::default();
        let mut now = if by_second { machine.now } else { to };
        machine.advance(now, &mut effects);
        while now < to {
            now = now.after(Duration::from_secs(1));
            machine.advance(now, &mut effects);
        }
        effects
    }

    fn steps(effects: &Effects) -> Vec<(State, Reason, Tick)> {
        effects.steps.iter().map(|step| (step.to, step.reason, step.at)).collect()
    }

    #[test]
    fn a_probe_whose_stream_goes_on_is_a_success_at_its_time_whenever_that_is_noticed() {
        for by_second in [true, false] {
            let mut machine = half_open(Config::default());
            let ticket = machine.admit().unwrap();
            go(&mut machine, at(1), true);
            let proof = begin(&mut machine, ticket, None);
            assert_eq!(machine.deadline(), Some(at(6)));
            go(&mut machine, at(6).before(Duration::from_nanos(1)), false);
            assert!(!proof.is_given() && machine.admit().is_err(), "the probe is out");
            let effects = go(&mut machine, at(3600), by_second);
            assert_eq!(steps(&effects), [(State::Closed, Reason::ProbesSucceeded, at(6))]);
            assert_eq!(effects.streams, StreamCounts { in_time: 1, slow: 0 });
            assert!(proof.is_given());
            let mut late = Effects::default();
            let failed = CallResult { outcome: Outcome::failure(), elapsed: None };
            machine.record(ticket, failed, &mut late);
            machine.cancel(ticket, &mut late);
            assert_eq!((machine.stats().consecutive_failures(), late.change()), (0, None));
        }
    }

    #[test]
    fn a_probe_times_out_unless_its_stream_has_proved_alive_by_then() {
        for (begins, expected) in [
            (55, (State::Closed, Reason::ProbesSucceeded, at(60))),
            (56, (State::Open, Reason::ProbeTimeout, at(60))),
        ] {
            let mut machine = half_open(Config::default());
            let ticket = machine.admit().unwrap();
            go(&mut machine, at(begins), true);
            let proof = begin(&mut machine, ticket, None);
            assert_eq!(machine.deadline(), Some(at(60)));
            assert_eq!(steps(&go(&mut machine, at(70), false)), [expected]);
            assert_eq!(proof.is_given(), begins == 55);
        }
    }

    #[test]
    fn each_stream_proves_alive_at_its_own_time() {
        for by_second in [true, false] {
            let mut machine = half_open(Config { success_threshold: 2, ..Config::default() });
            let [late, early] = [(); 2].map(|()| machine.admit().unwrap());
            begin(&mut machine, early, None);
            go(&mut machine, at(3), true);
            begin(&mut machine, late, None);
            let effects = go(&mut machine, at(30), by_second);
            assert_eq!(steps(&effects), [(State::Closed, Reason::ProbesSucceeded, at(8))]);
            assert_eq!(effects.streams, StreamCounts { in_time: 2, slow: 0 });
        }
    }

    #[test]
    fn a_slot_is_free_once_its_stream_has_proved_alive() {
        let config =
            Config { success_threshold: 2, half_open_max_calls: Some(1), ..Config::default() };
        let mut machine = half_open(config);
        let ticket = machine.admit().unwrap();
        begin(&mut machine, ticket, None);
        go(&mut machine, at(5), false);
        assert_eq!(machine.state(), State::HalfOpen);
        let next = machine.admit().unwrap();
        assert!(machine.admit().is_err());
        begin(&mut machine, next, None);
        assert_eq!(
            steps(&go(&mut machine, at(90), false)),
            [(State::Closed, Reason::ProbesSucceeded, at(10))]
        );
    }

    /// The time of a call is measured until its head, or until its stream has proved alive.
    #[test]
    fn a_stream_that_proves_alive_may_be_a_slow_probe() {
        let slow = Trip::slow_call_rate(1.0, Duration::from_secs(2), Window::calls(10));
        for (elapsed, expected) in [
            (None, (State::Open, Reason::ProbeSlow, at(5))),
            (Some(Duration::from_secs(3)), (State::Open, Reason::ProbeSlow, at(5))),
            (Some(Duration::from_secs(1)), (State::Closed, Reason::ProbesSucceeded, at(5))),
        ] {
            let mut machine = half_open(Config { trip_on: vec![slow], ..Config::default() });
            let ticket = machine.admit().unwrap();
            begin(&mut machine, ticket, elapsed);
            let effects = go(&mut machine, at(20), false);
            assert_eq!(steps(&effects), [expected], "{elapsed:?}");
            let is_slow = u32::from(expected.0 == State::Open);
            let counts = StreamCounts { in_time: 1 - is_slow, slow: is_slow };
            assert_eq!((effects.streams, effects.slow), (counts, false));
        }
    }

    #[test]
    fn a_stream_that_has_ended_proves_nothing() {
        let mut machine = half_open(Config::default());
        let ticket = machine.admit().unwrap();
        let proof = begin(&mut machine, ticket, None);
        machine.cancel(ticket, &mut Effects::default());
        assert_eq!(machine.deadline(), None);
        assert!(steps(&go(&mut machine, at(3600), false)).is_empty());
        assert!(!proof.is_given());
        // One of an earlier state neither.
        let ticket = machine.admit().unwrap();
        machine.close_at_once(Reason::Reset, machine.now, &mut Effects::default());
        let proof = begin(&mut machine, ticket, None);
        go(&mut machine, at(7200), false);
        assert!(!proof.is_given());
    }

    #[test]
    fn a_ramp_begins_when_a_stream_has_proved_alive() {
        let ramp = RampUp::new(0.1, Duration::from_secs(10));
        for (now, is_over) in [(14, false), (15, true)] {
            let mut machine = half_open(Config { ramp_up: Some(ramp), ..Config::default() });
            let ticket = machine.admit().unwrap();
            begin(&mut machine, ticket, None);
            go(&mut machine, at(now), false);
            assert_eq!(matches!(machine.phase, Phase::Closed(None)), is_over);
        }
    }
}
