//! The fault matrix: each store with each fault at each moment. During a fault, calls have the same
//! results as without a store, and the health names the fault. After it, the newest state and a
//! complete history are stored. The limitations are in the table (`cells.rs`), and are checked too.
//!
//! `cargo test --test store faults -- --nocapture` prints the table. `BREAKER_FAULTS_ONLY` selects
//! the cells whose titles contain its text. With `BREAKER_FAULTS_MOUNT=never`, no disk is mounted,
//! and a store pretends that its disk is full.
#![cfg(target_os = "linux")]

mod asides;
mod cells;
pub(crate) mod child;
mod damage;
pub(crate) mod descriptors;
mod failing_sync;
mod fault;
pub(crate) mod few_threads;
pub(crate) mod forked;
mod histories;
mod known;
pub(crate) mod mishaps;
mod pair;
mod panics;
mod play;
mod processes;
mod reported;
mod server;
mod stop;
pub(crate) mod threadless;
pub(crate) mod threadless_later;
pub(crate) mod unwritable;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use serde_json::Value;
use tower_breaker::{Breaker, clock::ManualClock, store::StoreHealth};

use self::{
    cells::{Cell, Ends, cells},
    child::{Ended, Player},
    fault::Fault,
    histories::{Found, Loss},
    known::Known,
    pair::{LONGEST_OPEN, builder},
    play::is_flushed,
    processes::{ProcessCell, process_cells},
};
use crate::support::{child::Unprivileged, fork, kind::Around, wait::holds_in_time};

/// The number of cells that run at once. They mostly wait.
const AT_ONCE: usize = 6;
/// The longest time for one cell, and for the end of its process after the result.
const BOUND: Duration = Duration::from_secs(300);
const LAST: Duration = Duration::from_secs(20);

#[test]
fn no_fault_of_a_store_affects_a_call_and_every_fault_heals() {
    let began = Instant::now();
    let only = std::env::var("BREAKER_FAULTS_ONLY").unwrap_or_default();
    let mut plays: Vec<Play> = (cells().into_iter().enumerate())
        .map(|(number, cell)| Play::Cell(number, cell))
        .chain(process_cells().map(Play::Process))
        .collect();
    plays.retain(|play| play.title().contains(&only));
    let around = tempfile::tempdir().unwrap();
    let tools = Tools::prepare(around.path());
    let next = AtomicUsize::new(0);
    let rows = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, SeqCst);
                    let Some(play) = plays.get(number) else { break };
                    let row = play.run(&tools);
                    rows.lock().unwrap().push((number, row));
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap();
    rows.sort_by_key(|(number, _)| *number);
    let mut failed = Vec::new();
    for (number, row) in &rows {
        println!("{}", row.text);
        for problem in &row.problems {
            println!("    ! {problem}");
            failed.push(format!("{}: {problem}", plays[*number].title()));
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("{} cells, {} problems, {seconds:.1} s", rows.len(), failed.len());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(!rows.is_empty());
}

/// What some cells need. `None`: it cannot be had here, and these cells are skipped.
struct Tools {
    unprivileged: Option<Unprivileged>,
    /// The libraries for processes whose syncs fail, and that fork.
    failing_sync: Option<PathBuf>,
    forking: Option<PathBuf>,
}

impl Tools {
    fn prepare(folder: &Path) -> Self {
        Self {
            unprivileged: Unprivileged::prepare(folder),
            failing_sync: failing_sync::library(folder),
            forking: fork::library(folder),
        }
    }
}

/// A row of the table.
enum Play {
    /// With its number.
    Cell(usize, Cell),
    Process(ProcessCell),
}

struct Row {
    text: String,
    problems: Vec<String>,
}

impl Play {
    fn title(&self) -> String {
        let (kind, (fault, moment)) = match self {
            Self::Cell(_, cell) => (cell.kind, (cell.fault.words(), cell.moment.words())),
            Self::Process(cell) => (cell.kind(), cell.words()),
        };
        format!("{:4} | {fault:17} | {moment:12}", kind.name())
    }

    fn run(&self, tools: &Tools) -> Row {
        match self {
            Self::Cell(number, cell) => play(*number, cell, &self.title(), tools),
            Self::Process(cell) => match cell.play(tools) {
                Err(skipped) => Row::skipped(&self.title(), skipped),
                Ok(played) => {
                    let (said, note) = (played.said, cell.note());
                    let text = format!("{} | says \"{said:.100}\" | {note}", self.title());
                    Row { text, problems: played.problems }
                }
            },
        }
    }
}

impl Row {
    fn skipped(title: &str, why: &str) -> Self {
        Self { text: format!("{title} | skipped: {why}"), problems: Vec::new() }
    }
}

fn play(number: usize, cell: &Cell, title: &str, tools: &Tools) -> Row {
    let Tools { unprivileged, failing_sync, .. } = tools;
    let (unprivileged, failing_sync) = (unprivileged.as_ref(), failing_sync.as_deref());
    let skipped = match cell.fault {
        Fault::FullDiskForLarge if !child::can_mount() => "no disk can be mounted here",
        Fault::ReadOnly if unprivileged.is_none() => "permissions apply to no process here",
        Fault::SyncFails if failing_sync.is_none() => "there is no C compiler here",
        _ => "",
    };
    if !skipped.is_empty() {
        return Row::skipped(title, skipped);
    }
    let Some(around) = Around::of(cell.kind) else {
        return Row::skipped(title, "there is no redis-server here");
    };
    let work = around.path().join("work");
    fs::create_dir(&work).unwrap();
    let began = Instant::now();
    let mut process = Player::start(number, cell, &work, unprivileged, failing_sync);
    let Some(ended) = process.result(&work, BOUND) else {
        drop(process);
        let output = fs::read_to_string(around.path().join("output")).unwrap_or_default();
        let took = began.elapsed();
        return Row {
            text: title.to_owned(),
            problems: vec![format!("no result after {took:?}: {output}")],
        };
    };
    let mut problems = problems_of(&ended);
    if !ended.value["newest"].as_array().unwrap().is_empty() {
        let folder = Path::new(ended.value["look_in"].as_str().unwrap());
        look(cell, folder, &ended.value, &mut problems);
    }
    Row { text: text(cell, title, &ended, began.elapsed()), problems }
}

fn problems_of(ended: &Ended) -> Vec<String> {
    let list = |name: &str| ended.value[name].as_array().unwrap().clone();
    let texts = |list: Vec<Value>| list.into_iter().map(|one| one.as_str().unwrap().to_owned());
    let mut problems: Vec<String> = texts(list("problems")).collect();
    problems.extend(texts(list("panics")).map(|panic| format!("a panic: {panic}")));
    if !ended.status.success() {
        problems.push(format!("the process ended with {}", ended.status));
    }
    if ended.last > LAST {
        problems.push(format!("the process took {:?} to end", ended.last));
    }
    problems
}

/// Checks what another process finds.
fn look(cell: &Cell, folder: &Path, value: &Value, problems: &mut Vec<String>) {
    let known = |name: &str| -> Vec<Known> {
        value[name].as_array().unwrap().iter().map(Known::from_json).collect()
    };
    let (newest, flushed) = (known("newest"), known("flushed"));
    let store = cell.kind.open(folder);
    for (place, known) in newest.iter().enumerate() {
        let clock = ManualClock::starting_at(known.wall);
        let breaker = builder(&known.name, &clock).store(store.clone()).build().unwrap();
        if breaker.store_health() != StoreHealth::Healthy {
            // A snapshot that is loaded late is restored unless the state has changed.
            is_flushed(&breaker);
        }
        let (found, name) = (breaker.snapshot(), &known.name);
        let is_newest = found == known.as_revived();
        let is_as_flushed = flushed.get(place).is_some_and(|known| found == known.as_revived());
        let as_expected = match cell.ends {
            Ends::Newest => is_newest || value["too_slow"] == true,
            Ends::Flushed => is_as_flushed,
            Ends::NewestOrFlushed => is_newest || is_as_flushed,
            Ends::AnyOrClosed => {
                let rejected = breaker.try_acquire().err();
                let wait = rejected.and_then(|rejected| rejected.retry_after());
                wait.is_none_or(|wait| wait <= LONGEST_OPEN)
            }
        };
        let history = look_at_history(cell, &breaker, known, flushed.get(place));
        if let Err(problem) = history
            && value["too_slow"] != true
        {
            problems.push(format!("the history of {name}: {problem}"));
        }
        if !as_expected {
            problems.push(format!("{name} comes back with {found:?}, not {:?}", known.snapshot));
        }
        let healthy = holds_in_time(|| breaker.store_health().is_healthy());
        if !healthy || !is_flushed(&breaker) {
            problems.push(format!("afterwards, {name}: {}", breaker.store_health()));
        }
    }
}

fn look_at_history(
    cell: &Cell,
    breaker: &Breaker,
    newest: &Known,
    flushed: Option<&Known>,
) -> Result<(), String> {
    let check = |known: &Known| known.made.check(&Found::of(breaker)?, Loss::of(cell));
    let check_flushed = || flushed.map_or(Ok(()), check);
    match cell.ends {
        Ends::Newest => check(newest),
        Ends::Flushed => check_flushed(),
        Ends::NewestOrFlushed => check(newest).or_else(|_| check_flushed()),
        // A damaged history may be unreadable. Then a query gives an error.
        Ends::AnyOrClosed => Ok(()),
    }
}

fn text(cell: &Cell, title: &str, ended: &Ended, took: Duration) -> String {
    let (value, totals) = (&ended.value, &ended.value["totals"]);
    let said = value["said"].as_array().unwrap().iter().filter_map(Value::as_str);
    let said = said.map(|reason| reason.rsplit('/').next().unwrap_or(reason));
    let said = said.take(2).collect::<Vec<_>>().join("; ");
    let means = match cell.fault {
        Fault::FullDisk | Fault::FullDiskForLarge if value["mounted"] == false => " (simulated)",
        _ => "",
    };
    let ends = match value["too_slow"] {
        Value::Bool(true) => " (this machine was too slow to tell)",
        _ => "",
    };
    let contained = match value["contained"].as_u64() {
        Some(0) | None => String::new(),
        Some(panics) => format!(" | {panics} panics within the database, contained"),
    };
    format!(
        "{title}{means} | begins {} | says \"{}\" | ends {:?}{ends} | \
         {} admitted, {} rejected, {} transitions, longest {} | \
         dropped in {} | {:.1} s{contained}{}{}",
        value["begun"].as_str().unwrap(),
        said.chars().take(100).collect::<String>(),
        cell.ends,
        totals["admitted"],
        totals["rejected"],
        totals["transitions"],
        totals["longest"].as_str().unwrap(),
        value["drop"].as_str().unwrap(),
        took.as_secs_f64(),
        if cell.note.is_empty() { "" } else { " | " },
        cell.note,
    )
}
