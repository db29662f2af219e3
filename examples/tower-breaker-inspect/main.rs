//! Shows the contents of a store on disk (sled, redb, or JSON files) without
//! changing it. `cargo run --example tower-breaker-inspect -- state` lists the breakers, and `cargo
//! run --example tower-breaker-inspect -- state history payments` lists the transitions of one of
//! them, the newest first.
//!
//! The exit code is 0 on success, 2 if the folder cannot be read because a running server holds it,
//! and 1 on any other error.

mod folder;
mod history;
mod show;

use std::{env, ffi::OsString, fmt, io::Write as _, path::PathBuf, process::ExitCode};

use folder::Content;

const USAGE: &str = "usage: tower-breaker-inspect [--json] FOLDER [history NAME]";

/// Why the contents cannot be shown.
#[derive(Debug)]
pub(crate) enum Fault {
    /// A running server holds the folder.
    Held(PathBuf),
    Other(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held(folder) => write!(
                f,
                "a running server holds {}, and its store does not allow a second reader: stop the \
                 server and try again, or get the snapshots from the server itself \
                 (Breaker::snapshot)",
                folder.display()
            ),
            Self::Other(reason) => f.write_str(reason),
        }
    }
}

struct Arguments {
    folder: PathBuf,
    json: bool,
    /// The breaker whose history to show, instead of the list of breakers.
    history: Option<String>,
}

impl Arguments {
    fn read(given: impl Iterator<Item = OsString>) -> Result<Self, Fault> {
        let usage = |reason: String| Fault::Other(format!("{reason}\n{USAGE}"));
        let mut json = false;
        let mut words = Vec::new();
        for word in given {
            match word.to_str() {
                Some("--json") => json = true,
                Some(option) if option.starts_with("--") => {
                    return Err(usage(format!("unknown option {option}")));
                }
                _ => words.push(word),
            }
        }
        let mut words = words.into_iter();
        let folder =
            words.next().ok_or_else(|| usage("missing argument FOLDER".to_owned()))?.into();
        let history = match words.next() {
            None => None,
            Some(word) if word == "history" => {
                let name = words.next().ok_or_else(|| usage("missing argument NAME".to_owned()))?;
                let name = name.into_string();
                Some(name.map_err(|_| usage("NAME is not valid UTF-8".to_owned()))?)
            }
            Some(word) => return Err(usage(format!("unknown command {}", word.display()))),
        };
        if let Some(word) = words.next() {
            return Err(usage(format!("unexpected argument {}", word.display())));
        }
        Ok(Self { folder, json, history })
    }
}

fn run(arguments: &Arguments) -> Result<String, Fault> {
    let content = Content::of(&arguments.folder)?;
    if content.held {
        eprintln!(
            "a running server holds {}; showing what it has saved so far",
            arguments.folder.display()
        );
    }
    let Arguments { folder, json, history } = arguments;
    match history {
        Some(name) => history::show(folder, &content, name, *json),
        None => show::all(folder, &content, *json),
    }
}

fn main() -> ExitCode {
    match Arguments::read(env::args_os().skip(1)).and_then(|arguments| run(&arguments)) {
        Ok(text) => {
            // A closed pipe is not an error: its reader has seen enough.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(fault) => {
            eprintln!("{fault}");
            ExitCode::from(if matches!(fault, Fault::Held(_)) { 2 } else { 1 })
        }
    }
}
