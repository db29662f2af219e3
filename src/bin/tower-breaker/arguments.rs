//! The arguments of the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

/// Shows and changes circuit breakers.
#[derive(Debug, Parser)]
#[command(name = "tower-breaker", version)]
pub(super) struct Arguments {
    /// Where the admin service is.
    #[arg(
        long,
        global = true,
        env = "TOWER_BREAKER_URL",
        default_value = "http://127.0.0.1:3000/admin"
    )]
    pub(super) url: String,
    /// A file with the token for changes. By default, the variable `TOWER_BREAKER_TOKEN` has it.
    /// (Other users of the machine could read an argument.)
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
    /// Prints JSON instead of tables.
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Shows what a store on disk holds (sled, redb, or JSON files), and changes nothing.
    Inspect {
        /// The folder of the store.
        folder: PathBuf,
        /// Shows the transitions of this breaker instead, the newest first.
        #[arg(long, value_name = "NAME")]
        history: Option<String>,
    },
    /// Lists the breakers of a running program.
    List(Selection),
    /// Shows the transitions of a breaker of a running program, the newest first.
    History {
        /// The breaker's name.
        name: String,
        /// How many at most.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
    },
    /// Prints the transitions of a running program as they happen, and connects again when the
    /// connection is lost.
    Watch {
        /// Ends after so many.
        #[arg(long)]
        count: Option<u64>,
    },
    /// Opens a circuit for its open time, as if a rule had tripped; it recovers as usual.
    Trip(Change),
    /// Has a breaker reject every call.
    ForceOpen(TimedChange),
    /// Has a breaker admit every call and count none.
    Disable(TimedChange),
    /// Has a breaker admit and count every call, and never open.
    MetricsOnly(TimedChange),
    /// Closes a circuit and clears its counts.
    Reset(Change),
    /// Prints a script that completes arguments in a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub(super) struct Selection {
    /// Only breakers of this group of breakers by key.
    #[arg(long)]
    pub(super) group: Option<String>,
    /// Only breakers whose name contains this text.
    #[arg(long, value_name = "TEXT")]
    pub(super) search: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Change {
    /// The breaker's name.
    pub(super) name: String,
    /// Why.
    #[arg(long)]
    pub(super) note: Option<String>,
    /// Who makes the change.
    #[arg(long, env = "USER")]
    pub(super) by: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct TimedChange {
    #[command(flatten)]
    pub(super) change: Change,
    /// How long, such as `30m` or `1h 15m`. By default until the next change by hand.
    #[arg(long = "for", value_name = "TIME")]
    pub(super) time: Option<String>,
}
