//! Why a command fails.

use std::{fmt, path::PathBuf, process::ExitCode};

#[derive(Debug)]
pub(super) enum Fault {
    /// A running server holds the folder.
    Held(PathBuf),
    /// No service answers.
    Unreachable(String),
    /// The service does not allow it.
    Refused(String),
    /// There is no such breaker.
    NotFound(String),
    Other(String),
}

impl Fault {
    pub(super) fn exit_code(&self) -> ExitCode {
        // 2 is that of clap, for wrong arguments.
        ExitCode::from(match self {
            Self::Other(_) => 1,
            Self::Refused(_) => 3,
            Self::NotFound(_) => 4,
            Self::Held(_) | Self::Unreachable(_) => 5,
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held(folder) => write!(
                f,
                "a running server holds {}, and its store does not allow a second reader: stop the \
                 server and try again, or ask its admin service (tower-breaker list)",
                folder.display()
            ),
            Self::Unreachable(reason)
            | Self::Refused(reason)
            | Self::NotFound(reason)
            | Self::Other(reason) => f.write_str(reason),
        }
    }
}
