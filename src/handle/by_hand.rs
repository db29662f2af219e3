//! Manual commands.

use std::time::Duration;

use super::Breaker;
use crate::{breaker::command::Command, manual::ManualChange};

/// Operating a breaker by hand.
///
/// A state that was set by hand survives restarts. One that was set for a time ends at the same
/// moment after a restart, by the wall clock; if that clock jumps, it lasts no longer than the time
/// that was left when it was last saved. At its end the circuit closes as after a
/// [`reset`](Self::reset), with the reason
/// [`ManualExpired`](crate::event::Reason::ManualExpired). A time that the clock cannot represent
/// never ends.
impl Breaker {
    /// Rejects every call until the breaker is operated by hand again. Survives restarts.
    pub fn force_open(&self) {
        self.cell.command(Command::ForceOpen(None));
    }

    /// Rejects every call for this time, also over restarts; then the circuit closes as after a
    /// [`reset`](Self::reset). The
    /// [`retry_after`](crate::Rejected::retry_after) of a rejection is the remaining time.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_breaker::{Breaker, State, clock::ManualClock};
    ///
    /// let clock = ManualClock::new();
    /// let breaker = Breaker::builder("payments").clock(clock.clone()).build()?;
    /// breaker.force_open_for(Duration::from_secs(600));
    /// assert_eq!(breaker.state(), State::ForcedOpen);
    /// clock.advance(Duration::from_secs(600));
    /// assert_eq!(breaker.state(), State::Closed);
    /// # Ok::<(), tower_breaker::ConfigError>(())
    /// ```
    pub fn force_open_for(&self, time: Duration) {
        self.cell.command(Command::ForceOpen(Some(time)));
    }

    /// The same as [`force_open`](Self::force_open), with a note, who makes the change, and for how
    /// long. The same state again with another note or name is a transition.
    pub fn force_open_with(&self, change: ManualChange) {
        self.change(Command::ForceOpen(change.time), change);
    }

    /// Admits every call and records none until the breaker is operated by hand again. Survives
    /// restarts.
    pub fn disable(&self) {
        self.cell.command(Command::Disable(None));
    }

    /// Admits every call and records none for this time, also over restarts; then the circuit
    /// closes as after a [`reset`](Self::reset). Unlike [`disable`](Self::disable), it takes a
    /// short lock for each call.
    pub fn disable_for(&self, time: Duration) {
        self.cell.command(Command::Disable(Some(time)));
    }

    /// The same as [`disable`](Self::disable), with a note, who makes the change, and for how long.
    /// The same state again with another note or name is a transition.
    pub fn disable_with(&self, change: ManualChange) {
        self.change(Command::Disable(change.time), change);
    }

    /// Admits and records every call, but never opens, until the breaker is operated by hand
    /// again. Survives restarts. Each time the circuit would have opened, there is an
    /// [`Event::WouldTrip`](crate::Event::WouldTrip).
    pub fn metrics_only(&self) {
        self.cell.command(Command::MetricsOnly(None));
    }

    /// The same as [`metrics_only`](Self::metrics_only) for this time, also over restarts; then
    /// the circuit closes as after a [`reset`](Self::reset). Unlike `metrics_only`, it takes a
    /// short lock for each call.
    pub fn metrics_only_for(&self, time: Duration) {
        self.cell.command(Command::MetricsOnly(Some(time)));
    }

    /// The same as [`metrics_only`](Self::metrics_only), with a note, who makes the change, and for
    /// how long. The same state again with another note or name is a transition.
    pub fn metrics_only_with(&self, change: ManualChange) {
        self.change(Command::MetricsOnly(change.time), change);
    }

    /// Opens the circuit as if a rule had tripped: for the open time, with the next step of the
    /// backoff, and probes decide afterwards. Ends a state that was set by hand. A circuit that is
    /// open stays as it is.
    pub fn trip(&self) {
        self.cell.command(Command::Trip);
    }

    /// The same as [`trip`](Self::trip), with a note and who makes the change. A
    /// [time](ManualChange::lasting) is ignored: the circuit is open for its open time. A circuit
    /// that is open stays as it is, also its note.
    ///
    /// ```
    /// use tower_breaker::{Breaker, ManualChange, State};
    ///
    /// let breaker = Breaker::builder("payments").build()?;
    /// breaker.trip_with(ManualChange::new().by("deploy 812").note("restarts the dependency"));
    /// assert_eq!(breaker.state(), State::Open);
    /// assert_eq!(breaker.snapshot().by.as_deref(), Some("deploy 812"));
    /// # Ok::<(), tower_breaker::ConfigError>(())
    /// ```
    pub fn trip_with(&self, change: ManualChange) {
        self.change(Command::Trip, change);
    }

    /// Closes the circuit, clears its counts and its backoff, and ends a state that was set by
    /// hand. Calls in flight are not counted when they finish.
    pub fn reset(&self) {
        self.cell.command(Command::Reset);
    }

    /// The same as [`reset`](Self::reset), with a note and who makes the change. A
    /// [time](ManualChange::lasting) is ignored.
    pub fn reset_with(&self, change: ManualChange) {
        self.change(Command::Reset, change);
    }

    fn change(&self, command: Command, change: ManualChange) {
        self.cell.command_with(command, change.remark.into_shared());
    }
}
