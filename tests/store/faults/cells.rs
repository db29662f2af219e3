//! The cells of the matrix, and what to expect where a fault cannot be hidden completely.

use super::{fault::Fault, server};
use crate::support::kind::Kind;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The fault exists before the breakers are built.
    Start,
    /// It begins during the traffic, and ends after it.
    Run,
    /// It exists when the last handles are dropped, and stays.
    Stop,
    /// It exists when the last handles are dropped, and ends during the drop or soon after.
    StopBriefly,
}

impl Moment {
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Run => "run",
            Self::Stop => "stop",
            Self::StopBriefly => "stop, passes",
        }
    }
}

/// The state with which the breakers begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begins {
    /// The stored state.
    Restored,
    /// Closed. A breaker without transitions of its own restores the stored state later.
    ClosedAtFirst,
    /// Closed, because the stored state is gone.
    Closed,
    /// Each breaker is restored or closed.
    Either,
}

/// The state that a process finds that starts afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    Newest,
    /// The state at the start of the fault, because nothing could be saved since.
    Flushed,
    /// One of the two.
    NewestOrFlushed,
    /// A state that was stored at some time, or a closed circuit.
    AnyOrClosed,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) kind: Kind,
    pub(crate) fault: Fault,
    pub(crate) moment: Moment,
    pub(crate) begins: Begins,
    /// The health contains one of these texts; none if nothing is wrong.
    pub(crate) says: &'static [&'static str],
    pub(crate) ends: Ends,
    /// A limitation, and its reason.
    pub(crate) note: &'static str,
}

/// The drops do not wait for the last attempts, which may come after the end of the fault.
const RETRIED: &str = "saved if the fault ends while the process runs";

/// The number of places that are damaged in turn, for each store and each kind of damage.
pub(crate) const PLACES: usize = 125;

pub(super) const fn cell(
    (kind, fault, moment): (Kind, Fault, Moment),
    begins: Begins,
    says: &'static [&'static str],
    ends: Ends,
    note: &'static str,
) -> Cell {
    Cell { kind, fault, moment, begins, says, ends, note }
}

/// The cells that take longest come first.
pub(crate) fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for kind in Kind::ALL {
        cells.extend(slow(kind));
        cells.extend(damage(kind));
    }
    for kind in Kind::ALL {
        cells.extend(hung(kind));
        cells.extend(full(kind));
        cells.extend(held(kind, Fault::HeldByAHandle));
        cells.extend(held(kind, Fault::HeldByAProcess));
        cells.extend(read_only(kind));
        cells.extend(deleted(kind));
        cells.extend(errs(kind));
        cells.extend(sync_fails(kind));
    }
    cells.extend(server::cells());
    let damaged = (Kind::Sled, Fault::DamagedSummary, Moment::Start);
    cells.push(cell(damaged, Begins::Restored, &[], Ends::Newest, "the log is read without it"));
    cells
}

fn slow(kind: Kind) -> Vec<Cell> {
    use Moment::{Run, Stop};
    const SAYS: &[&str] = &["does not answer"];
    let of = |moment, note| {
        cell((kind, Fault::Slow, moment), Begins::Restored, SAYS, Ends::Newest, note)
    };
    match kind {
        Kind::Sled | Kind::Redb | Kind::Redis => vec![of(Run, "")],
        Kind::File => vec![of(Stop, "stored when the store answers, if the process still runs")],
    }
}

fn hung(kind: Kind) -> Vec<Cell> {
    use Moment::{Run, Start, Stop, StopBriefly};
    const SAYS: &[&str] = &["does not answer"];
    let of =
        |moment, begins, ends, note| cell((kind, Fault::Hangs, moment), begins, SAYS, ends, note);
    vec![
        of(Start, Begins::ClosedAtFirst, Ends::Newest, ""),
        of(Run, Begins::Restored, Ends::Newest, ""),
        of(
            Stop,
            Begins::Restored,
            Ends::Flushed,
            "the process ends before its last state is saved",
        ),
        of(StopBriefly, Begins::Restored, Ends::Newest, "stored when the store answers"),
    ]
}

fn full(kind: Kind) -> Vec<Cell> {
    use Moment::{Run, Start, Stop, StopBriefly};
    const SAYS: &[&str] = &["No space left"];
    let of = |moment, begins, ends, note| {
        cell((kind, Fault::FullDisk, moment), begins, SAYS, ends, note)
    };
    let mut cells = vec![
        of(Start, Begins::Restored, Ends::Newest, ""),
        of(Run, Begins::Restored, Ends::Newest, ""),
    ];
    cells.extend(match kind {
        Kind::Sled | Kind::File | Kind::Redis => [
            of(Stop, Begins::Restored, Ends::NewestOrFlushed, RETRIED),
            of(StopBriefly, Begins::Restored, Ends::Newest, ""),
        ],
        Kind::Redb => {
            const NOTE: &str = "there may be room in its file";
            [Stop, StopBriefly]
                .map(|moment| of(moment, Begins::Restored, Ends::NewestOrFlushed, NOTE))
        }
    });
    if kind == Kind::Sled {
        const NOTE: &str = "what is large is not written";
        let large = (kind, Fault::FullDiskForLarge, Stop);
        cells.push(cell(large, Begins::Restored, SAYS, Ends::NewestOrFlushed, NOTE));
    }
    cells
}

fn held(kind: Kind, fault: Fault) -> Vec<Cell> {
    use Moment::{Run, Start, Stop, StopBriefly};
    const SAYS: &[&str] = &["held by another process"];
    const REPLACED: &[&str] = &["held by another process", "removed or replaced"];
    let of =
        |moment, begins, says, ends, note| cell((kind, fault, moment), begins, says, ends, note);
    vec![
        of(Start, Begins::ClosedAtFirst, SAYS, Ends::Newest, ""),
        of(Run, Begins::Restored, SAYS, Ends::Newest, "the folder was replaced by one in use"),
        of(Stop, Begins::Restored, REPLACED, Ends::Flushed, "in the folder that was moved away"),
        of(StopBriefly, Begins::Restored, REPLACED, Ends::Newest, "in the new folder"),
    ]
}

fn read_only(kind: Kind) -> Vec<Cell> {
    use Moment::{Run, Start, Stop, StopBriefly};
    const SAYS: &[&str] = &["Permission denied"];
    let of = |moment, begins, says, ends, note| {
        cell((kind, Fault::ReadOnly, moment), begins, says, ends, note)
    };
    match kind {
        Kind::Sled => {
            const NOTE: &str = "files that are open stay writable";
            let same = |moment| of(moment, Begins::Restored, &[], Ends::Newest, NOTE);
            vec![
                of(Start, Begins::Restored, SAYS, Ends::Newest, "a copy answers reads"),
                same(Run),
                same(Stop),
                same(StopBriefly),
            ]
        }
        Kind::Redb => {
            const NOTE: &str = "a file that is open stays writable";
            let same = |moment| of(moment, Begins::Restored, &[], Ends::Newest, NOTE);
            vec![
                of(Start, Begins::Restored, SAYS, Ends::Newest, ""),
                same(Run),
                same(Stop),
                same(StopBriefly),
            ]
        }
        Kind::File | Kind::Redis => vec![
            of(Start, Begins::Restored, SAYS, Ends::Newest, ""),
            of(Run, Begins::Restored, SAYS, Ends::Newest, ""),
            of(Stop, Begins::Restored, SAYS, Ends::NewestOrFlushed, RETRIED),
            of(StopBriefly, Begins::Restored, SAYS, Ends::Newest, ""),
        ],
    }
}

fn deleted(kind: Kind) -> Vec<Cell> {
    use Moment::{Run, Start, Stop};
    // The last two, if the folder was deleted during a write or while it was opened.
    const SAYS: &[&str] =
        &["removed or replaced", "No such file or directory", "replaced while it was opened"];
    let of = |moment, begins, says, note| {
        cell((kind, Fault::Deleted, moment), begins, says, Ends::Newest, note)
    };
    vec![
        of(Start, Begins::Closed, &[], "a folder that is missing is made; what it held is gone"),
        of(Run, Begins::Restored, SAYS, "made again with what is in memory"),
        of(Stop, Begins::Restored, SAYS, "made again with what is in memory"),
    ]
}

fn errs(kind: Kind) -> Vec<Cell> {
    use Moment::{Run, Start, Stop};
    const SAYS: &[&str] = &["an error at random"];
    let of = |moment, begins, ends, note| {
        cell((kind, Fault::ErrsAtRandom, moment), begins, SAYS, ends, note)
    };
    vec![
        of(Start, Begins::Either, Ends::Newest, ""),
        of(Run, Begins::Restored, Ends::Newest, ""),
        of(Stop, Begins::Restored, Ends::NewestOrFlushed, "as often as it is tried in a second"),
    ]
}

fn sync_fails(kind: Kind) -> Vec<Cell> {
    use Moment::{Run, Start, Stop, StopBriefly};
    const SAYS: &[&str] = &["Input/output error"];
    const NOTE: &str = "written, and perhaps not durable";
    let of = |moment, ends, note| {
        cell((kind, Fault::SyncFails, moment), Begins::Restored, SAYS, ends, note)
    };
    vec![
        of(Start, Ends::Newest, ""),
        of(Run, Ends::Newest, ""),
        of(Stop, Ends::NewestOrFlushed, NOTE),
        of(StopBriefly, Ends::Newest, ""),
    ]
}

fn damage(kind: Kind) -> Vec<Cell> {
    use Moment::{Run, Start, Stop};
    let mut cells = Vec::new();
    for fault in [Fault::Truncated, Fault::BitsFlipped] {
        let of = |moment, begins, ends, note| cell((kind, fault, moment), begins, &[], ends, note);
        match kind {
            Kind::Sled | Kind::Redb | Kind::Redis => {
                const LOST: &str = "it keeps no second copy: what is damaged may be gone";
                cells.push(of(Start, Begins::Either, Ends::Newest, LOST));
                cells.push(of(Run, Begins::Restored, Ends::AnyOrClosed, LOST));
                cells.push(of(Stop, Begins::Restored, Ends::AnyOrClosed, LOST));
            }
            Kind::File => {
                const LOST: &str = "the damaged snapshot starts closed, and is kept aside";
                const AGAIN: &str = "the damaged file is written again";
                cells.push(of(Start, Begins::Either, Ends::Newest, LOST));
                cells.push(of(Run, Begins::Restored, Ends::Newest, AGAIN));
                cells.push(of(Stop, Begins::Restored, Ends::Newest, AGAIN));
            }
        }
    }
    cells
}
