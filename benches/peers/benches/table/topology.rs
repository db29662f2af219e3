//! The processor's cores, and threads that stay on them.
//!
//! Two threads on one physical core share its caches and its units, and a thread that is moved to
//! another core leaves its cache lines behind: figures for several threads differ severalfold.

use std::{
    collections::BTreeSet,
    fmt, fs,
    process::{Command, Stdio},
    thread,
};

/// The logical processors of each physical core.
pub(crate) struct Topology {
    cores: Vec<Vec<usize>>,
    /// Whether the machine tells its physical cores apart, and threads can be pinned to them.
    pins: bool,
}

impl Topology {
    pub(crate) fn read() -> Self {
        let available = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let siblings = |processor: usize| {
            let folder = format!("/sys/devices/system/cpu/cpu{processor}/topology");
            let list = fs::read_to_string(format!("{folder}/thread_siblings_list")).ok()?;
            parse(list.trim())
        };
        let cores: Option<BTreeSet<Vec<usize>>> = (0..available).map(siblings).collect();
        let (cores, known) = match cores {
            Some(cores) => (cores.into_iter().collect(), true),
            None => ((0..available).map(|processor| vec![processor]).collect(), false),
        };
        let topology = Self { cores, pins: known };
        let pins = thread::scope(|scope| scope.spawn(|| topology.pin(0)).join());
        Self { pins: pins.unwrap_or(false), ..topology }
    }

    /// The number of physical cores.
    pub(crate) fn cores(&self) -> usize {
        self.cores.len()
    }

    /// Keeps the current thread on a physical core. Returns whether it does.
    pub(crate) fn pin(&self, thread: usize) -> bool {
        let core = &self.cores[thread % self.cores.len()];
        let Ok(own) = fs::read_link("/proc/thread-self") else { return false };
        let Some(id) = own.file_name() else { return false };
        self.pins
            && Command::new("taskset")
                .arg("-cp")
                .arg(core[0].to_string())
                .arg(id)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
    }
}

/// `0-1,8` and the like.
fn parse(list: &str) -> Option<Vec<usize>> {
    let mut processors = Vec::new();
    for range in list.split(',') {
        let (first, end) = range.split_once('-').unwrap_or((range, range));
        processors.extend(first.parse::<usize>().ok()?..=end.parse().ok()?);
    }
    Some(processors)
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let processors: usize = self.cores.iter().map(Vec::len).sum();
        let pinned = if self.pins { "each on a core of its own" } else { "not pinned to cores" };
        write!(
            f,
            "{} physical cores with {processors} logical processors; threads are {pinned}",
            self.cores.len()
        )
    }
}
