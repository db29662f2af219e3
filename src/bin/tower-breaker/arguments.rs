//! The arguments of the command line.

use std::{ffi::OsString, path::PathBuf};

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
    pub(super) command: CliCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum CliCommand {
    /// Shows what a store holds, on disk (sled, redb, or JSON files) or in Redis, and changes
    /// nothing.
    Inspect(Inspected),
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
        /// Ends after this many transitions.
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
pub(super) struct Inspected {
    /// The folder of the store, or the URL of a Redis server, of sentinels or of a cluster. Other
    /// users of the machine can read an argument, so better give a URL with a password in the
    /// variable.
    #[arg(env = "TOWER_BREAKER_STORE", hide_env_values = true)]
    pub(super) store: OsString,
    /// Shows the transitions of this breaker instead, the newest first.
    #[arg(long, value_name = "NAME")]
    pub(super) history: Option<String>,
    /// What the keys in Redis begin with, if not with `circuit_breaker`.
    #[arg(long)]
    pub(super) prefix: Option<String>,
    /// The instance whose keys in Redis are shown.
    #[arg(long, value_name = "ID")]
    pub(super) instance: Option<String>,
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
