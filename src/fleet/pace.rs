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
/// If the server takes this long even for the least, that is its usual time from then on. No more:
/// where many replicas send at once, twice as long is well within the timeout of a command.
const MOST_USUAL: Duration = Duration::from_millis(100);

/// The size of a pipeline, which follows from how long the server takes: when thousands of circuits
/// trip, many commands share one round trip, and where many replicas send at once, none waits for
/// the server for long.
#[derive(Debug)]
pub(super) struct Pace {
    size: usize,
    /// How long a round trip takes however little is sent, as far as is known: the shortest so far,
    /// or what the least has taken since.
    usual: Duration,
}

impl Pace {
    pub(super) const fn new() -> Self {
        Self { size: 16, usual: Duration::MAX }
    }

    /// How many commands to send at once.
    pub(super) const fn size(&self) -> usize {
        self.size
    }

    /// `sent` commands were sent at once, and took this long.
    pub(super) fn record(&mut self, sent: usize, took: Duration) {
        self.usual = self.usual.min(took);
        let is_slow = took > self.usual.saturating_mul(2).saturating_add(TARGET);
        if is_slow && sent > self.size / 2 {
            if self.size == LEAST {
                // It is not because of what was sent.
                self.usual = took.min(MOST_USUAL);
            }
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

    /// As on a machine with too little CPU time, where each round trip waits for its turn.
    #[test]
    fn a_server_that_takes_as_long_for_a_few_commands_gets_many_again() {
        const WAITS: Duration = Duration::from_millis(80);
        let mut pace = grown();
        let sizes = (0..30).map(|_| {
            pace.record(pace.size(), WAITS);
            pace.size()
        });
        let sizes: Vec<_> = sizes.collect();
        assert!(sizes.contains(&LEAST), "{sizes:?}");
        assert_eq!(sizes.last(), Some(&MOST));
        // Once it is quick, it may not take that long for many.
        pace.record(1, QUICK);
        pace.record(pace.size(), WAITS);
        assert_eq!(pace.size(), MOST / 2);
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
