//! Whether the server's clock goes as a replica's does.

use super::record::Micros;

/// The least difference that is a step.
const STEP: Micros = 2_000_000;

/// Compares the server's clock with a replica's own, which does not jump.
#[derive(Debug)]
pub(crate) struct ClockWatch {
    /// A difference that delays of answers do not make: they are bounded by the timeout of a
    /// command.
    step: Micros,
    /// The times of both at the last look.
    last: Option<(Micros, Micros)>,
}

impl ClockWatch {
    /// For commands with this timeout.
    pub(crate) fn new(timeout: Micros) -> Self {
        Self { step: STEP.max(timeout.saturating_mul(2)), last: None }
    }

    /// Whether the server's clock has gone back or ahead since the last look. Both clocks are given
    /// in one place: `server` when the answer came, at `own`.
    pub(crate) fn has_stepped(&mut self, server: Micros, own: Micros) -> bool {
        let Some((last_server, last_own)) = self.last.replace((server, own)) else { return false };
        let expected = last_server.saturating_add(own.saturating_sub(last_own));
        server.abs_diff(expected) > self.step
    }

    /// From here on it may be another server.
    pub(crate) fn forget(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::{ClockWatch, STEP};

    #[test]
    fn steps_in_both_directions_are_seen_once_and_delays_are_none() {
        let mut watch = ClockWatch::new(1_000_000);
        let hour = 3_600_000_000;
        let mut looks = |server, own| watch.has_stepped(server, own);
        assert!(!looks(10 * hour, 5));
        // An answer that was late by the longest timeout, and one that was not.
        assert!(!looks(10 * hour + 1_000_000, 1_500_000));
        assert!(!looks(10 * hour + 3_000_000, 3_000_005));
        assert!(looks(9 * hour, 4_000_000));
        assert!(!looks(9 * hour + 1_000_000, 5_000_000));
        assert!(looks(9 * hour + 2_000_000 + STEP + 1, 6_000_000));
        watch.forget();
        assert!(!watch.has_stepped(1, 7_000_000));
    }

    #[test]
    fn an_answer_that_is_late_by_a_long_timeout_is_no_step() {
        let mut watch = ClockWatch::new(5_000_000);
        assert!(!watch.has_stepped(1_000_000, 6_000_000));
        // The first answer came after five seconds, this one at once.
        assert!(!watch.has_stepped(7_000_000, 7_000_000));
        assert!(watch.has_stepped(18_000_001, 8_000_000));
    }
}
