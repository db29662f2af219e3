//! Processes that are forked.

/// A process, to tell it from one that is forked from it. That has the memory of this one, and none
/// of its threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process(u32);

impl Process {
    pub(crate) fn current() -> Self {
        #[cfg(test)]
        if let Some(id) = seam::PROCESS.get() {
            return Self(id);
        }
        Self(std::process::id())
    }

    pub(crate) const fn id(self) -> u32 {
        self.0
    }
}

/// What tests pretend on their own thread.
#[cfg(test)]
pub(crate) mod seam {
    use std::cell::Cell;

    thread_local! {
        /// This is the process with this number.
        pub(crate) static PROCESS: Cell<Option<u32>> = const { Cell::new(None) };
    }
}
