//! A window that continues another one, of another size.

use super::{CallWindow, copy::WindowCopy, count::CountWindow};
use crate::{clock::Tick, snapshot::WindowPosition};

/// This many calls are converted with the breaker's lock: that takes less than a microsecond.
pub(super) const FEW: u32 = 512;

/// What a new window has taken from an old one.
#[derive(Default)]
pub(crate) struct SuccessorWindow {
    copy: WindowCopy,
    /// How far the new window has followed the old one.
    position: WindowPosition,
}

impl SuccessorWindow {
    /// Copies what the old window holds and the new one does not, in at most this many words.
    /// Returns how many calls that is, or 0 if they are so few that they need not be converted
    /// without the lock.
    pub(crate) fn copy(
        &mut self,
        new: &CallWindow,
        old: Option<&CallWindow>,
        words: &mut usize,
    ) -> usize {
        let (CallWindow::Count(new), Some(CallWindow::Count(old))) = (new, old) else {
            return 0;
        };
        let missing = missing(self.position, old);
        let is_obsolete = new.length() > 0 && !continues(self.position, old);
        if old.size() == new.size() || (missing <= FEW && !is_obsolete) {
            return 0;
        }
        self.copy.update(old, words);
        missing.max(1) as usize
    }

    /// Converts what was copied.
    pub(crate) fn convert(&mut self, new: &mut CallWindow) {
        let CallWindow::Count(new) = new else { return };
        if !self.copy.is_large_enough() {
            return self.copy.grow();
        }
        if let Some(calls) = self.copy.calls_after(self.position) {
            new.record_newest_of(&self.copy.calls(), calls);
        } else {
            new.clear();
            new.record_newest_of(&self.copy.calls(), self.copy.length());
        }
        // The old window may have dropped calls that the new one still has room for.
        new.keep_newest(self.copy.length());
        self.position = self.copy.position();
    }

    /// Makes the new window hold what the old one does. With the same size, they are swapped.
    pub(crate) fn finish(&mut self, new: &mut CallWindow, old: &mut CallWindow, now: Tick) {
        match (new, old) {
            (CallWindow::Count(new), CallWindow::Count(old)) if new.size() == old.size() => {
                std::mem::swap(new, old);
            }
            (CallWindow::Count(new), CallWindow::Count(old)) => {
                if !continues(self.position, old) {
                    new.clear();
                }
                new.record_newest_of(&old.calls(), missing(self.position, old));
                new.keep_newest(old.length());
            }
            (CallWindow::Time(new), CallWindow::Time(old)) => new.continue_from(old, now),
            _ => {}
        }
    }
}

/// Whether a window still holds all calls after a position.
fn continues(position: WindowPosition, window: &CountWindow) -> bool {
    window.calls_after(position).is_some_and(|calls| calls <= window.length())
}

/// How many of the newest calls of a window come after a position: all, if that is none of it.
pub(super) fn missing(position: WindowPosition, window: &CountWindow) -> u32 {
    window.calls_after(position).unwrap_or(window.length()).min(window.length())
}
