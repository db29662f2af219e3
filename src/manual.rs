//! What an operator says about a change by hand.

use std::{sync::Arc, time::Duration};

/// A change by hand: for how long, why, and who makes it.
///
/// The note and the name are in the log, in the [`Transition`](crate::event::Transition), in the
/// history, and, for as long as the state lasts, in the [`Snapshot`](crate::snapshot::Snapshot):
/// the person on call sees who forced a circuit open, also after a restart, and on every replica of
/// a fleet.
///
/// ```
/// use std::time::Duration;
/// use tower_breaker::{Breaker, ManualChange};
///
/// let breaker = Breaker::builder("payments").build()?;
/// breaker.force_open_with(
///     ManualChange::new()
///         .by("on-call")
///         .note("double charges, see incident 4711")
///         .lasting(Duration::from_secs(1800)),
/// );
/// assert_eq!(breaker.snapshot().by.as_deref(), Some("on-call"));
/// # Ok::<(), tower_breaker::ConfigError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "a change does nothing until it is passed to a breaker"]
pub struct ManualChange {
    pub(crate) time: Option<Duration>,
    pub(crate) remark: Remark,
}

impl ManualChange {
    /// The number of bytes that are kept of a note.
    pub const MAX_NOTE: usize = 1000;

    /// The number of bytes that are kept of a name.
    pub const MAX_BY: usize = 200;

    /// A change without a note, until the next change by hand.
    pub fn new() -> Self {
        Self::default()
    }

    /// Why: any text. Of a longer one, the first [`MAX_NOTE`](Self::MAX_NOTE) bytes are kept. An
    /// empty one counts as none.
    pub fn note(mut self, note: impl AsRef<str>) -> Self {
        self.remark.note = bounded(note.as_ref(), Self::MAX_NOTE);
        self
    }

    /// Who makes the change: a person, or the program that does it. Of a longer text, the first
    /// [`MAX_BY`](Self::MAX_BY) bytes are kept. An empty one counts as none.
    pub fn by(mut self, by: impl AsRef<str>) -> Self {
        self.remark.by = bounded(by.as_ref(), Self::MAX_BY);
        self
    }

    /// How long the state lasts; then the circuit closes as after a
    /// [`reset`](crate::Breaker::reset). Default: until the next change by hand. A reset and a
    /// [trip](crate::Breaker::trip_with) have no such time, and ignore it.
    pub fn lasting(mut self, time: Duration) -> Self {
        self.time = Some(time);
        self
    }
}

/// The texts of a change by hand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Remark {
    pub(crate) note: Option<Arc<str>>,
    pub(crate) by: Option<Arc<str>>,
}

impl Remark {
    pub(crate) const fn is_empty(&self) -> bool {
        self.note.is_none() && self.by.is_none()
    }

    /// `None` if there is no text.
    pub(crate) fn into_shared(self) -> Option<Arc<Self>> {
        (!self.is_empty()).then(|| Arc::new(self))
    }
}

/// At most this many bytes of a text, in whole characters.
fn bounded(text: &str, limit: usize) -> Option<Arc<str>> {
    let end = (0..=limit.min(text.len())).rev().find(|end| text.is_char_boundary(*end))?;
    (end > 0).then(|| text[..end].into())
}
