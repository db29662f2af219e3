//! The ramp-up after the circuit has closed.

use std::time::Duration;

use crate::{clock::Tick, config::RampUp};

/// Admits a growing share of the calls.
///
/// Each call adds the current share to a credit, and a call that fills it is admitted: a share
/// of a third admits every third call, evenly spaced.
#[derive(Debug)]
pub(super) struct Ramp {
    pub(super) began: Tick,
    credit: u64,
}

impl Ramp {
    /// The credit that admits a call. Fixed point, so that ten tenths add up to exactly one.
    const WHOLE: u64 = 1 << 32;

    pub(super) fn new(began: Tick) -> Self {
        Self { began, credit: 0 }
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped to 0..=1
    pub(super) fn resume(began: Tick, credit: f64) -> Self {
        let credit = credit.clamp(0.0, 1.0) * Self::WHOLE as f64;
        Self { began, credit: credit as u64 }
    }

    /// The credit towards the next admission, from 0 to 1.
    pub(super) fn credit(&self) -> f64 {
        self.credit as f64 / Self::WHOLE as f64
    }

    pub(super) fn admit(&mut self, config: &RampUp, now: Tick) -> bool {
        self.credit += Self::share(config, now.since(self.began));
        let admitted = self.credit >= Self::WHOLE;
        if admitted {
            self.credit -= Self::WHOLE;
        }
        admitted
    }

    /// Whether a call would be refused now, for a balancer that asks about two services for each
    /// call. So the question adds half of what the call would add.
    #[allow(dead_code, reason = "used where balancers ask")]
    pub(super) fn refuses_balancer(&mut self, config: &RampUp, now: Tick) -> bool {
        let share = Self::share(config, now.since(self.began));
        let refuses = self.credit + share < Self::WHOLE;
        if refuses {
            self.credit += share / 2;
        }
        refuses
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a share is in 0..=1
    fn share(config: &RampUp, elapsed: Duration) -> u64 {
        let progress = (elapsed.as_secs_f64() / config.time.as_secs_f64()).min(1.0);
        let share = config.start + (1.0 - config.start) * progress;
        (share * Self::WHOLE as f64).ceil() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_spaces_its_admissions_evenly_and_ends_by_admitting_all() {
        let config = RampUp::new(0.1, Duration::from_secs(10));
        let began = Tick::new(Duration::ZERO);
        let mut ramp = Ramp::new(began);
        let admitted: Vec<u32> = (1..=40).filter(|_| ramp.admit(&config, began)).collect();
        assert_eq!(admitted, [10, 20, 30, 40]);
        let end = began.after(Duration::from_secs(10));
        assert!((0..100).all(|_| ramp.admit(&config, end)));
    }

    #[test]
    fn a_balancer_that_asks_twice_for_a_call_gets_the_share_and_no_refusal() {
        let config = RampUp::new(0.1, Duration::from_secs(10));
        let began = Tick::new(Duration::ZERO);
        let mut ramp = Ramp::new(began);
        let mut admitted = 0;
        for _ in 0..2000 {
            if !ramp.refuses_balancer(&config, began) {
                assert!(ramp.admit(&config, began));
                admitted += 1;
            }
        }
        assert!((95..=105).contains(&admitted), "{admitted} of a thousand calls");
        let end = began.after(Duration::from_secs(10));
        assert!(!ramp.refuses_balancer(&config, end));
    }
}
