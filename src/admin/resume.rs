//! Where the streams that have ended are in the events, so that the next stream of a client goes on
//! from there.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    hash::{BuildHasher as _, RandomState},
    pin::Pin,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::{event::Event, sync::std_lock};

/// Waits for the next event of one source.
pub(super) type Next =
    Pin<Box<dyn Future<Output = (Result<Event, RecvError>, Receiver<Event>)> + Send>>;

/// A client comes back within this time.
const RESUMABLE_FOR: Duration = Duration::from_secs(30);

/// The positions of streams that have ended. Events that happen meanwhile are kept where they are
/// anyway, up to a bound.
#[derive(Clone, Default)]
pub(super) struct Positions(Arc<Mutex<VecDeque<Position>>>);

struct Position {
    token: String,
    since: Instant,
    next: Vec<Next>,
}

impl Positions {
    /// Keeps a position, and the newest `limit` ones in all. Returns its token.
    pub(super) fn keep(&self, next: Vec<Next>, limit: usize) -> String {
        // Random, as the state of each hasher is.
        let token = format!("{:016x}", RandomState::new().hash_one(limit));
        let position = Position { token: token.clone(), since: Instant::now(), next };
        let mut positions = std_lock(&self.0);
        positions.push_back(position);
        drop_old(&mut positions);
        while positions.len() > limit {
            positions.pop_front();
        }
        token
    }

    /// Drops the positions to which no client has come back in time.
    pub(super) fn expire(&self) {
        drop_old(&mut std_lock(&self.0));
    }

    /// The position with this token, unless it is gone.
    pub(super) fn take(&self, token: &str) -> Option<Vec<Next>> {
        let mut positions = std_lock(&self.0);
        drop_old(&mut positions);
        let at = positions.iter().position(|position| position.token == token)?;
        positions.remove(at).map(|position| position.next)
    }
}

/// Drops the positions that have been kept for long enough. The oldest is the first.
fn drop_old(positions: &mut VecDeque<Position>) {
    let is_old = |position: &Position| position.since.elapsed() > RESUMABLE_FOR;
    while positions.front().is_some_and(is_old) {
        positions.pop_front();
    }
}

impl fmt::Debug for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Positions").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_kept_for_half_a_minute() {
        let positions = Positions::default();
        let [old, newer, taken] = [(); 3].map(|()| positions.keep(Vec::new(), 10));
        assert!(positions.take(&taken).is_some());
        assert!(positions.take(&taken).is_none(), "it was taken");
        let Some(earlier) = Instant::now().checked_sub(RESUMABLE_FOR + Duration::from_secs(1))
        else {
            return;
        };
        std_lock(&positions.0)[0].since = earlier;
        assert!(positions.take(&old).is_none(), "it is too old");
        assert_eq!(std_lock(&positions.0).len(), 1, "and gone");
        std_lock(&positions.0)[0].since = earlier;
        positions.expire();
        assert!(std_lock(&positions.0).is_empty());
        assert!(positions.take(&newer).is_none());
    }
}
