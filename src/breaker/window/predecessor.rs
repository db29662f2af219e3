//! A window of saved calls that comes before another one of its size, and takes its place.

use super::{
    CallWindow,
    copy::WindowCopy,
    count::CountWindow,
    successor::{FEW, missing},
};
use crate::snapshot::WindowPosition;

/// What a window of saved calls has taken from the one that goes on recording.
#[derive(Default)]
pub(crate) struct PredecessorWindow {
    copy: WindowCopy,
    /// How far the saved window has followed the other one.
    position: WindowPosition,
}

impl PredecessorWindow {
    /// Copies what `own` holds and `saved` does not, in at most this many words. Returns how many
    /// calls that is, or 0 if they are so few that they need not be converted without the lock.
    pub(crate) fn copy(
        &mut self,
        saved: &CallWindow,
        own: &CallWindow,
        words: &mut usize,
    ) -> usize {
        let (CallWindow::Count(saved), CallWindow::Count(own)) = (saved, own) else { return 0 };
        let missing = missing(self.position, own);
        // A window that is full displaces all saved calls.
        if saved.size() != own.size() || own.is_full() || missing <= FEW {
            return 0;
        }
        self.copy.update(own, words);
        missing as usize
    }

    /// Records what was copied after the saved calls.
    pub(crate) fn convert(&mut self, saved: &mut CallWindow) {
        let CallWindow::Count(saved) = saved else { return };
        if !self.copy.is_large_enough() {
            return self.copy.grow();
        }
        let calls = self.copy.calls_after(self.position).unwrap_or(self.copy.length());
        saved.record_newest_of(&self.copy.calls(), calls);
        self.position = self.copy.position();
    }

    /// Has `saved` hold what `own` holds, too, and puts it in its place.
    pub(super) fn finish(&self, saved: &mut CountWindow, own: &mut CountWindow) {
        saved.record_newest_of(&own.calls(), missing(self.position, own));
        std::mem::swap(saved, own);
    }
}
