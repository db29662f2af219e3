//! `tower-breaker`: shows what a store on disk or in Redis holds, and shows and changes the
//! breakers of a running program through its admin service.
//!
//! The exit code is 0 on success, 2 for wrong arguments, 3 if the service refuses (a missing or
//! wrong token, or a read-only service), 4 if there is no such breaker, 5 if the answer cannot be
//! had now (no service or server answers, or a running server holds the folder), and 1 on any other
//! error.

mod arguments;
mod client;
mod fault;
mod inspect;
mod remote;
mod table;
mod watch;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{CommandFactory as _, Parser as _};

use self::{
    arguments::{Arguments, CliCommand},
    client::Client,
    fault::Fault,
};

fn run(Arguments { url, token_file, json, command }: Arguments) -> Result<String, Fault> {
    let client = |needs_token| Client::new(&url, token_file.as_deref(), needs_token);
    match command {
        CliCommand::Inspect(inspected) => inspect::run(&inspected, json),
        CliCommand::List(selection) => remote::list(&client(false)?, &selection, json),
        CliCommand::History { name, limit } => remote::history(&client(false)?, &name, limit, json),
        CliCommand::Watch { count } => watch::run(&client(false)?, count, json),
        CliCommand::ForceOpen(change) => {
            remote::change(&client(true)?, "force-open", &change, json)
        }
        CliCommand::Disable(change) => remote::change(&client(true)?, "disable", &change, json),
        CliCommand::MetricsOnly(change) => {
            remote::change(&client(true)?, "metrics-only", &change, json)
        }
        CliCommand::Trip(change) => remote::note(&client(true)?, "trip", &change, json),
        CliCommand::Reset(change) => remote::note(&client(true)?, "reset", &change, json),
        CliCommand::Completions { shell } => {
            let mut command = Arguments::command();
            let name = command.get_name().to_owned();
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut command, name, &mut text);
            String::from_utf8(text).map_err(|error| Fault::Other(error.to_string()))
        }
    }
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(text) => {
            // A closed pipe is not an error: its reader has seen enough.
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(fault) => {
            eprintln!("{fault}");
            fault.exit_code()
        }
    }
}
