//! Shows what a store on disk holds, a sled folder or one of JSON files, and changes nothing in it:
//! `cargo run --example tower-breaker-inspect -- state` lists its breakers, and
//! `cargo run --example tower-breaker-inspect -- state history payments` shows what one of them
//! went through, the newest first.
//!
//! It ends with 0 when it has shown what it was asked for, with 2 when a running server holds the
//! folder and so nothing can be shown, and with 1 when anything else is wrong.

mod folder;
mod history;
mod show;

use std::{env, ffi::OsString, fmt, io::Write as _, path::PathBuf, process::ExitCode};

use folder::Content;

const USAGE: &str = "usage: tower-breaker-inspect [--json] FOLDER [history NAME]";

/// Why nothing can be shown.
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
                "a running server holds {}, and sled lets nobody else look: stop the server and try again, \
                 or ask the server itself (its breakers' snapshot() says the same)",
                folder.display()
            ),
            Self::Other(reason) => f.write_str(reason),
        }
    }
}

struct Arguments {
    folder: PathBuf,
    json: bool,
    /// Whose history is wanted, instead of all breakers.
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
                    return Err(usage(format!("there is no option {option}")));
                }
                _ => words.push(word),
            }
        }
        let mut words = words.into_iter();
        let folder = words.next().ok_or_else(|| usage("which folder?".to_owned()))?.into();
        let history = match words.next() {
            None => None,
            Some(word) if word == "history" => {
                let name = words.next().ok_or_else(|| usage("whose history?".to_owned()))?;
                let name = name.into_string();
                Some(name.map_err(|_| usage("a breaker's name is UTF-8".to_owned()))?)
            }
            Some(word) => return Err(usage(format!("what is {}?", word.display()))),
        };
        if let Some(word) = words.next() {
            return Err(usage(format!("{} is one word too many", word.display())));
        }
        Ok(Self { folder, json, history })
    }
}

fn run(arguments: &Arguments) -> Result<String, Fault> {
    let content = Content::of(&arguments.folder)?;
    if content.held {
        eprintln!(
            "a running server holds {}: this is what it has saved so far",
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
            // Whoever closed the pipe has seen enough.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(fault) => {
            eprintln!("{fault}");
            ExitCode::from(if matches!(fault, Fault::Held(_)) { 2 } else { 1 })
        }
    }
}
