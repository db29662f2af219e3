use crate::state::State;

/// The checks in a row that ended alike while the circuit was in one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Streak {
    pub(super) state: State,
    pub(super) healthy: u32,
    pub(super) unhealthy: u32,
}

impl Streak {
    pub(super) const fn new(state: State) -> Self {
        Self { state, healthy: 0, unhealthy: 0 }
    }

    /// Whether the circuit has changed its state, which begins a new streak.
    pub(super) fn enters(&mut self, state: State) -> bool {
        let enters = self.state != state;
        if enters {
            *self = Self::new(state);
        }
        enters
    }

    pub(super) fn note(&mut self, is_healthy: bool) {
        let (longer, ended) = if is_healthy {
            (&mut self.healthy, &mut self.unhealthy)
        } else {
            (&mut self.unhealthy, &mut self.healthy)
        };
        *longer = longer.saturating_add(1);
        *ended = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_streak_ends_with_another_result_or_another_state() {
        let mut streak = Streak::new(State::Closed);
        for _ in 0..3 {
            streak.note(false);
        }
        assert_eq!((streak.healthy, streak.unhealthy), (0, 3));
        streak.note(true);
        assert_eq!((streak.healthy, streak.unhealthy), (1, 0));
        assert!(!streak.enters(State::Closed));
        assert_eq!(streak.healthy, 1);
        assert!(streak.enters(State::Open));
        assert_eq!(streak, Streak::new(State::Open));
    }
}
