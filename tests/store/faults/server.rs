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

pub(super) fn cells() -> Vec<Cell> {
    use Moment::{Run, Start, Stop, StopBriefly};
    use ServerFault::{Emptied, Gone, OutOfMemory, ReadOnly, Stopped, WrongPassword};
    let of = |fault, moment, begins, says, ends, note| {
        cell((Kind::Redis, Fault::Server(fault), moment), begins, says, ends, note)
    };
    let mut cells = Vec::new();
    let unreachable: [(_, &'static [&'static str]); 2] = [
        (Gone, &["cannot be reached", "is loading"]),
        (WrongPassword, &["refuses the user or the password", "cannot be reached"]),
    ];
    for (fault, says) in unreachable {
        cells.extend([
            of(fault, Start, Begins::ClosedAtFirst, says, Ends::Newest, ""),
            of(fault, Run, Begins::Restored, says, Ends::Newest, ""),
            of(fault, Stop, Begins::Restored, says, Ends::Flushed, "nothing can be saved"),
            of(fault, StopBriefly, Begins::Restored, says, Ends::Newest, ""),
        ]);
    }
    const HANGS: &[&str] = &["does not answer"];
    const LATER: &str = "what it was sent is executed when it goes on";
    cells.extend([
        of(Stopped, Start, Begins::ClosedAtFirst, HANGS, Ends::Newest, ""),
        of(Stopped, Run, Begins::Restored, HANGS, Ends::Newest, ""),
        of(Stopped, Stop, Begins::Restored, HANGS, Ends::NewestOrFlushed, LATER),
        of(Stopped, StopBriefly, Begins::Restored, HANGS, Ends::NewestOrFlushed, LATER),
    ]);
    const LOST: &[&str] = &["has lost what was saved"];
    const AGAIN: &str = "filled again with what is in memory";
    cells.extend([
        of(Emptied, Start, Begins::Closed, &[], Ends::Newest, "what it held is gone"),
        of(Emptied, Run, Begins::Restored, LOST, Ends::Newest, AGAIN),
        of(Emptied, Stop, Begins::Restored, LOST, Ends::Newest, AGAIN),
    ]);
    let unwritable: [(_, &'static [&'static str]); 2] =
        [(ReadOnly, &["read-only replica"]), (OutOfMemory, &["is full"])];
    for (fault, says) in unwritable {
        cells.extend([
            of(fault, Start, Begins::Restored, says, Ends::Newest, ""),
            of(fault, Run, Begins::Restored, says, Ends::Newest, ""),
            of(fault, Stop, Begins::Restored, says, Ends::Flushed, "nothing can be saved"),
            of(fault, StopBriefly, Begins::Restored, says, Ends::Newest, ""),
        ]);
    }
    for (fault, moments) in [(Fault::Slow, &[Run][..]), (Fault::ErrsAtRandom, &[Run, Stop])] {
        for moment in moments.iter().copied() {
            let (says, ends): (&'static [&'static str], _) = match fault {
                Fault::Slow => (HANGS, Ends::Newest),
                _ if moment == Run => (&["an error at random"], Ends::Newest),
                _ => (&["an error at random"], Ends::NewestOrFlushed),
            };
            let of = (Kind::Redis, fault, moment);
            cells.push(cell(of, Begins::Restored, says, ends, ""));
        }
    }
    cells
}
