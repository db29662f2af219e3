//! The cells whose fault is that of a process: it can have no threads or files, or was forked.

use std::path::Path;

use super::{Tools, descriptors, forked, threadless, threadless_later};
use crate::support::kind::Kind;

#[derive(Clone, Copy)]
pub(super) enum ProcessFault {
    /// No thread can be started.
    NoThreads,
    /// The same from some time on.
    NoMoreThreads,
    /// It was forked after its breakers were built.
    Forked,
    /// No file can be opened.
    NoDescriptors,
    /// The same from some time on.
    NoMoreDescriptors,
}

/// A store in such a process.
#[derive(Clone, Copy)]
pub(super) struct ProcessCell {
    kind: Kind,
    fault: ProcessFault,
}

/// What was seen.
#[derive(Default)]
pub(super) struct Played {
    pub(super) said: String,
    pub(super) problems: Vec<String>,
}

impl Played {
    pub(super) fn check(&mut self, so: bool, problem: &str) {
        if !so {
            self.problems.push(format!("not as expected: {problem:?}"));
        }
    }
}

pub(super) fn process_cells() -> impl Iterator<Item = ProcessCell> {
    Kind::ALL.into_iter().flat_map(|kind| {
        [
            ProcessFault::NoThreads,
            ProcessFault::NoMoreThreads,
            ProcessFault::Forked,
            ProcessFault::NoDescriptors,
            ProcessFault::NoMoreDescriptors,
        ]
        .map(|fault| ProcessCell { kind, fault })
    })
}

impl ProcessCell {
    pub(super) const fn kind(self) -> Kind {
        self.kind
    }

    /// The fault, and when it begins.
    pub(super) const fn words(self) -> (&'static str, &'static str) {
        match self.fault {
            ProcessFault::NoThreads => ("no threads", "start"),
            ProcessFault::NoMoreThreads => ("no threads", "run"),
            ProcessFault::Forked => ("forked child", "run"),
            ProcessFault::NoDescriptors => ("no descriptors", "start"),
            ProcessFault::NoMoreDescriptors => ("no descriptors", "run"),
        }
    }

    /// What comes of the fault.
    pub(super) const fn note(self) -> &'static str {
        match self.fault {
            ProcessFault::NoThreads | ProcessFault::NoMoreThreads => {
                "saved once threads can be started"
            }
            ProcessFault::Forked => "the child goes on in memory, and its parent saves",
            ProcessFault::NoDescriptors | ProcessFault::NoMoreDescriptors => {
                "saved once files can be opened"
            }
        }
    }

    /// `Err`: why it cannot be played here.
    pub(super) fn play(self, tools: &Tools) -> Result<Played, &'static str> {
        match self.fault {
            ProcessFault::NoThreads | ProcessFault::NoMoreThreads => {
                let unprivileged = tools.unprivileged.as_ref();
                let unprivileged = unprivileged.ok_or("limits apply to no process here")?;
                let is_later = matches!(self.fault, ProcessFault::NoMoreThreads);
                let play = if is_later { threadless_later::play } else { threadless::play };
                Ok(play(self.kind, unprivileged))
            }
            ProcessFault::NoDescriptors => Ok(descriptors::play(self.kind, "start")),
            ProcessFault::NoMoreDescriptors => Ok(descriptors::play(self.kind, "run")),
            ProcessFault::Forked => {
                let library: Option<&Path> = tools.forking.as_deref();
                Ok(forked::play(self.kind, library.ok_or("there is no C compiler here")?))
            }
        }
    }
}
