//! Faults of a Redis server.

use std::path::Path;

use super::{
    cells::{Begins, Cell, Ends, Moment, cell},
    fault::Fault,
};
use crate::support::{kind::Kind, redis::Control};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerFault {
    /// The process is killed, and comes back with what it held.
    Gone,
    /// The process is stopped by a signal.
    Stopped,
    /// What it held is gone.
    Emptied,
    WrongPassword,
    /// It has become a replica.
    ReadOnly,
    OutOfMemory,
}

impl ServerFault {
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Gone => "killed",
            Self::Stopped => "SIGSTOP",
            Self::Emptied => "FLUSHALL",
            Self::WrongPassword => "wrong password",
            Self::ReadOnly => "READONLY",
            Self::OutOfMemory => "OOM",
        }
    }

    /// Begins the fault of the server of this folder.
    pub(crate) fn strike(self, folder: &Path) {
        let server = Control::of(folder);
        let say = |command: &[&str]| assert_eq!(server.command(command), "OK");
        match self {
            Self::Gone => server.stop(),
            Self::Stopped => server.signal("STOP"),
            Self::Emptied => say(&["FLUSHALL"]),
            Self::WrongPassword => {
                say(&["CONFIG", "SET", "requirepass", "another"]);
                server.command_as(&["another"], &["CLIENT", "KILL", "TYPE", "normal"]);
            }
            Self::ReadOnly => say(&["REPLICAOF", "127.0.0.1", "1"]),
            Self::OutOfMemory => say(&["CONFIG", "SET", "maxmemory", "1"]),
        }
    }

    pub(crate) fn lift(self, folder: &Path) {
        let server = Control::of(folder);
        let say = |command: &[&str]| assert_eq!(server.command(command), "OK");
        match self {
            Self::Gone => server.restart(),
            Self::Stopped => server.signal("CONT"),
            Self::Emptied => {}
            Self::WrongPassword => {
                let open = ["CONFIG", "SET", "requirepass", ""];
                assert_eq!(server.command_as(&["another"], &open), "OK");
            }
            Self::ReadOnly => say(&["REPLICAOF", "NO", "ONE"]),
            Self::OutOfMemory => say(&["CONFIG", "SET", "maxmemory", "0"]),
        }
    }
}

const HANGS: &[&str] = &["does not answer"];
const LOST: &[&str] = &["has lost what was saved"];

pub(super) fn cells() -> Vec<Cell> {
    use ServerFault::{Gone, OutOfMemory, ReadOnly, WrongPassword};
    let gone = &["cannot be reached", "is loading"];
    let password = &["refuses the user or the password", "cannot be reached"];
    let mut cells = Vec::new();
    cells.extend(unusable(Gone, Begins::ClosedAtFirst, gone));
    cells.extend(unusable(WrongPassword, Begins::ClosedAtFirst, password));
    cells.extend(unusable(ReadOnly, Begins::Restored, &["read-only replica"]));
    cells.extend(unusable(OutOfMemory, Begins::Restored, &["is full"]));
    cells.extend(stopped());
    cells.extend(emptied());
    cells.extend(of_any_store());
    cells
}

fn of(
    (fault, moment): (ServerFault, Moment),
    begins: Begins,
    says: &'static [&'static str],
    ends: Ends,
    note: &'static str,
) -> Cell {
    cell((Kind::Redis, Fault::Server(fault), moment), begins, says, ends, note)
}

/// Nothing can be saved.
fn unusable(fault: ServerFault, begins: Begins, says: &'static [&'static str]) -> [Cell; 4] {
    use Moment::{Run, Start, Stop, StopBriefly};
    [
        of((fault, Start), begins, says, Ends::Newest, ""),
        of((fault, Run), Begins::Restored, says, Ends::Newest, ""),
        of((fault, Stop), Begins::Restored, says, Ends::Flushed, "nothing can be saved"),
        of((fault, StopBriefly), Begins::Restored, says, Ends::Newest, ""),
    ]
}

fn stopped() -> [Cell; 4] {
    use Moment::{Run, Start, Stop, StopBriefly};
    let later = "what it was sent is executed when it goes on";
    let of =
        |moment, begins, ends, note| of((ServerFault::Stopped, moment), begins, HANGS, ends, note);
    [
        of(Start, Begins::ClosedAtFirst, Ends::Newest, ""),
        of(Run, Begins::Restored, Ends::Newest, ""),
        of(Stop, Begins::Restored, Ends::NewestOrFlushed, later),
        of(StopBriefly, Begins::Restored, Ends::NewestOrFlushed, later),
    ]
}

fn emptied() -> [Cell; 3] {
    use Moment::{Run, Start, Stop};
    let again = "filled again with what is in memory";
    let of = |moment, begins, says, note| {
        of((ServerFault::Emptied, moment), begins, says, Ends::Newest, note)
    };
    [
        of(Start, Begins::Closed, &[], "what it held is gone"),
        of(Run, Begins::Restored, LOST, again),
        of(Stop, Begins::Restored, LOST, again),
    ]
}

/// Faults that are not those of a server.
fn of_any_store() -> [Cell; 3] {
    use Moment::{Run, Stop};
    let errs: &[&str] = &["an error at random"];
    let of = |fault, moment, says, ends| {
        cell((Kind::Redis, fault, moment), Begins::Restored, says, ends, "")
    };
    [
        of(Fault::Slow, Run, HANGS, Ends::Newest),
        of(Fault::ErrsAtRandom, Run, errs, Ends::Newest),
        of(Fault::ErrsAtRandom, Stop, errs, Ends::NewestOrFlushed),
    ]
}
