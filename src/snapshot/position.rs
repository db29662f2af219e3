//! How far a window has come.

/// How far a count window has come. That of a new copy is one of no window.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct WindowPosition {
    window: u32,
    recorded: u64,
}

impl WindowPosition {
    /// The window of this id has recorded this many calls.
    pub(crate) const fn new(window: u32, recorded: u64) -> Self {
        Self { window, recorded }
    }

    /// How many calls a window has recorded since, if it is this window and they are not too many
    /// to count.
    pub(crate) fn calls_until(self, window: u32, recorded: u64) -> Option<u32> {
        let calls = u32::try_from(recorded.checked_sub(self.recorded)?).ok()?;
        (self.window == window).then_some(calls)
    }
}
