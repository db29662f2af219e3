//! How many commands are sent at once.

use std::time::Duration;

/// How long the server may take for what is sent at once: until then, messages wait.
const TARGET: Duration = Duration::from_millis(50);
/// The most that is sent at once.
pub(super) const MOST: usize = 200;
/// The least: these take a server a quarter of a millisecond. If it is late with them, it is not
/// because of them, but busy with something else, or gets too little CPU time: by single commands,
/// thousands of trips would take minutes then.
const LEAST: usize = 8;

/// The size of a pipeline, which follows from how long the server takes: when thousands of circuits
/// trip, many commands share one round trip, and where many replicas send at once, none waits for
/// the server for long.
#[derive(Debug)]
pub(super) struct Pace {
    size: usize,
    /// The shortest round trip so far.
    shortest: Duration,
}

impl Pace {
    pub(super) const fn new() -> Self {
        Self { size: 16, shortest: Duration::MAX }
    }

    /// How many commands to send at once.
    pub(super) const fn size(&self) -> usize {
        self.size
    }

    /// `sent` commands were sent at once, and took this long.
    pub(super) fn record(&mut self, sent: usize, took: Duration) {
        self.shortest = self.shortest.min(took);
        let is_slow = took > self.shortest.saturating_mul(2).saturating_add(TARGET);
        if is_slow && sent > self.size / 2 {
            self.size = (self.size / 2).max(LEAST);
        } else if !is_slow && sent >= self.size {
            self.size = (self.size * 2).min(MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_millis(1);
    const SLOW: Duration = Duration::from_millis(400);

    fn grown() -> Pace {
        let mut pace = Pace::new();
        for _ in 0..10 {
            pace.record(pace.size(), QUICK);
        }
        pace
    }

    #[test]
    fn more_is_sent_at_once_while_the_server_is_quick_up_to_a_bound() {
        assert_eq!(grown().size(), MOST);
    }

    #[test]
    fn less_is_sent_at_once_to_a_server_that_is_slow_down_to_a_few_commands() {
        let mut pace = grown();
        for _ in 0..10 {
            pace.record(pace.size(), SLOW);
        }
        assert_eq!(pace.size(), LEAST);
        pace.record(LEAST, QUICK);
        assert_eq!(pace.size(), 2 * LEAST);
    }

    #[test]
    fn a_server_that_is_far_away_is_not_slow() {
        let mut pace = Pace::new();
        for _ in 0..10 {
            pace.record(pace.size(), SLOW);
        }
        assert_eq!(pace.size(), MOST);
    }

    #[test]
    fn a_few_commands_that_are_slow_or_quick_change_nothing() {
        let mut pace = grown();
        pace.record(1, SLOW);
        assert_eq!(pace.size(), MOST);
        let before = Pace::new().size();
        let mut pace = Pace::new();
        pace.record(1, QUICK);
        assert_eq!(pace.size(), before);
    }
}
