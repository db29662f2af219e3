//! Reads and changes of the whole state. `None` means that the cell has no breaker, or another one.

use std::sync::Arc;

use super::{Cell, prepare};
use crate::{
    breaker::{
        command::Command,
        core::Core,
        decoded::{self, Decoded},
        effects::Effects,
        machine::Machine,
        notify::Observer,
        restore::SavedState,
        rules::NextRules,
        window::{Rounds, WindowCopies},
    },
    clock::{Reading, Tick, TimeSource},
    config::Config,
    manual::Remark,
    snapshot::Snapshot,
};

impl Cell {
    /// Reads the machine, brought up to now.
    pub(crate) fn inspect<T>(
        &'static self,
        inspect: impl FnOnce(&Machine, Reading) -> T,
    ) -> Option<T> {
        self.with_core(|core| core.inspect(self.successes(), inspect))
    }

    /// Works on what the lock guards, for a caller that may outlive the breaker: `None` if the cell
    /// is no longer that of the breaker with this observer.
    pub(super) fn with_owned_core<T>(
        &'static self,
        observer: &dyn Observer,
        work: impl FnOnce(&mut Core) -> Option<T>,
    ) -> Option<T> {
        self.with_core(|core| if core.is_owned_by(observer) { work(core) } else { None })
    }

    /// Like [`inspect`](Self::inspect), of the breaker with this observer.
    pub(crate) fn inspect_owned<T>(
        &'static self,
        observer: &dyn Observer,
        inspect: impl FnOnce(&Machine, Reading) -> T,
    ) -> Option<T> {
        self.with_owned_core(observer, |core| core.inspect(self.successes(), inspect))
    }

    /// Like [`inspect_owned`](Self::inspect_owned), for a snapshot that is to be saved.
    pub(in crate::breaker) fn inspect_to_save<T>(
        &'static self,
        observer: &dyn Observer,
        inspect: impl FnOnce(&Machine, Reading) -> T,
    ) -> Option<T> {
        self.with_owned_core(observer, |core| core.inspect_to_save(self.successes(), inspect))
    }

    /// The state as data, if the cell is (still) that of the breaker with this observer. The calls
    /// of count windows are still to be [encoded](WindowCopies::encode_into).
    ///
    /// Under the lock they are only copied, and of what the `copies` know, only what is new.
    pub(crate) fn snapshot(
        &'static self,
        observer: &dyn Observer,
        copies: &mut WindowCopies,
    ) -> Option<Snapshot> {
        with_copies(copies, |copies| {
            self.inspect_owned(observer, |machine, now| machine.snapshot(now, copies))
        })
    }

    /// Like [`snapshot`](Self::snapshot), to be saved.
    pub(crate) fn snapshot_to_save(
        &'static self,
        observer: &dyn Observer,
        copies: &mut WindowCopies,
    ) -> Option<Snapshot> {
        with_copies(copies, |copies| {
            self.inspect_to_save(observer, |machine, now| machine.snapshot(now, copies))
        })
    }

    /// Changes the machine, brought up to now.
    pub(in crate::breaker) fn transact<T>(
        &'static self,
        transact: impl FnOnce(&mut Machine, &mut Effects) -> T,
    ) -> Option<T> {
        self.with_core(|core| core.transact(self.successes(), transact))
    }

    pub(crate) fn command(&'static self, command: Command) {
        self.command_with(command, None);
    }

    /// Like [`command`](Self::command), with what is said about it.
    pub(crate) fn command_with(&'static self, command: Command, remark: Option<Arc<Remark>>) {
        self.transact(|machine, effects| machine.command(command, remark, effects));
    }

    pub(crate) fn update(&'static self, config: Arc<Config>) {
        if !self.has_custom_clock() {
            prepare(&TimeSource::System, &config);
        }
        let mut rules = NextRules::new(&config);
        let mut config = Some(config);
        let mut rounds = Rounds::default();
        let mut goes_on = true;
        loop {
            let left = self.transact(|machine, effects| {
                let left = rules.copy(&machine.rules);
                let Some(config) = config.take_if(|_| left == 0 || !goes_on) else { return left };
                machine.update(config, &mut rules, effects);
                0
            });
            match left {
                None | Some(0) => return,
                Some(left) => goes_on = rounds.note(left),
            }
            rules.convert();
        }
    }

    /// Restores a snapshot of the breaker with this observer, unless the circuit has made a
    /// transition of its own meanwhile: then its state is newer than the snapshot.
    ///
    /// Calls that were recorded before it are newer than its counts.
    pub(crate) fn restore(&'static self, observer: &dyn Observer, snapshot: &Snapshot) {
        let mut decoded = self.decode(observer, snapshot);
        self.catch_up(observer, snapshot, &mut decoded);
        let saved = SavedState { snapshot, decoded: decoded.as_mut() };
        self.restore_with(observer, |machine, now, effects| machine.restore(saved, now, effects));
    }

    /// Restores what a part of the store holds, until the [whole](Self::restore) of it can be read.
    pub(crate) fn restore_early(&'static self, observer: &dyn Observer, snapshot: &Snapshot) {
        self.restore_with(observer, |machine, now, effects| {
            machine.restore_early(snapshot, now, effects);
        });
    }

    fn restore_with(
        &'static self,
        observer: &dyn Observer,
        restore: impl FnOnce(&mut Machine, Reading, &mut Effects),
    ) {
        self.with_owned_core(observer, |core| {
            let now = core.clock.reading();
            core.transact_at(now.tick, self.successes(), |machine, effects| {
                if !machine.has_transitioned() {
                    restore(machine, now, effects);
                }
            })
        });
    }

    /// Continues with the state of another breaker in place of its own, if `is_wanted`, which is
    /// asked under the lock. `gone_since` is the time by the system's clock at which that breaker
    /// had it, unless it has it now. See [`Machine::take_over`].
    pub(crate) fn take_over(
        &'static self,
        observer: &dyn Observer,
        state: &Snapshot,
        gone_since: Option<Tick>,
        is_newer: bool,
        is_wanted: &dyn Fn() -> bool,
    ) {
        let mut decoded = self.decode(observer, state);
        let saved = SavedState { snapshot: state, decoded: decoded.as_mut() };
        self.with_owned_core(observer, |core| {
            if !is_wanted() {
                return None;
            }
            let age = gone_since.map(|gone| core.clock.elapsed(gone, state.saved_at));
            core.transact(self.successes(), |machine, effects| {
                machine.take_over(saved, age.unwrap_or_default(), is_newer, effects);
            })
        });
    }

    /// Has decoded windows follow what is recorded meanwhile, without the lock, until only a little
    /// is left.
    fn catch_up(
        &'static self,
        observer: &dyn Observer,
        snapshot: &Snapshot,
        decoded: &mut Option<Decoded>,
    ) {
        let mut rounds = Rounds::default();
        while let Some(decoded) = decoded.as_mut() {
            let copied = self.inspect_owned(observer, |machine, _| decoded.copy(machine));
            let left = match copied {
                None | Some(Ok(0)) => return,
                Some(Ok(left)) => {
                    decoded.convert();
                    left
                }
                Some(Err(config)) => {
                    *decoded = Decoded::new(config, &snapshot.windows);
                    usize::MAX
                }
            };
            if !rounds.note(left) {
                return;
            }
        }
    }

    /// Decodes large windows of a snapshot, without the lock, for the rules that are in force now.
    fn decode(&'static self, observer: &dyn Observer, snapshot: &Snapshot) -> Option<Decoded> {
        if !decoded::are_large(&snapshot.windows) {
            return None;
        }
        let config = self.inspect_owned(observer, |machine, _| Arc::clone(machine.config()))?;
        Some(Decoded::new(config, &snapshot.windows))
    }
}

/// The snapshot that `take` returns once the copies are complete.
fn with_copies(
    copies: &mut WindowCopies,
    mut take: impl FnMut(&mut WindowCopies) -> Option<Option<Snapshot>>,
) -> Option<Snapshot> {
    let mut rounds = Rounds::default();
    copies.limit(true);
    loop {
        if let Some(snapshot) = take(copies)? {
            return Some(snapshot);
        }
        copies.grow();
        copies.limit(rounds.note(copies.left()));
    }
}
