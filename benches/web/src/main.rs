//! What a circuit breaker costs an axum server, as wrk sees it: the same router bare, behind
//! tower-breaker and behind tower-resilience, all healthy, taking turns in one run.
//!
//! `cargo run --release` compares them (it needs wrk: Debian, Ubuntu: `apt-get install wrk`), and
//! `cargo run --release serve <bare|tower-breaker|tower-resilience>` serves one for a person.

mod serve;
mod wrk;

use std::{
    error::Error,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use wrk::Figures;

type Failure = Box<dyn Error + Send + Sync>;

const ROUNDS: usize = 5;
const SERVERS: [&str; 3] = ["bare", "tower-breaker", "tower-resilience"];

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => compare(),
        ["serve", which] => serve::serve(which),
        _ => Err("usage: tower-breaker-web [serve <bare|tower-breaker|tower-resilience>]".into()),
    }
}

fn compare() -> Result<(), Failure> {
    let servers: Vec<Server> = SERVERS.into_iter().map(Server::start).collect::<Result<_, _>>()?;
    // The first requests of a server meet cold caches.
    for server in &servers {
        wrk::run(&server.url, 1)?;
    }
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        eprintln!("round {} of {ROUNDS} ...", round + 1);
        let mut figures = [Figures::default(); 3];
        // Whoever begins a round is not always the same.
        for turn in 0..SERVERS.len() {
            let index = (round + turn) % SERVERS.len();
            figures[index] = wrk::run(&servers[index].url, 5)?;
        }
        rounds.push(figures);
    }
    report(&rounds);
    Ok(())
}

fn report(rounds: &[[Figures; 3]]) {
    println!("| | requests a second | of bare | 99th percentile | of bare |");
    println!("|---|--:|--:|--:|--:|");
    for (index, name) in SERVERS.into_iter().enumerate() {
        let median = |of: &dyn Fn(&[Figures; 3]) -> f64| wrk::median(rounds.iter().map(of));
        println!(
            "| {name} | {:.0} | {:.3} | {:.0} us | {:.3} |",
            median(&|round| round[index].requests_per_second),
            median(&|round| round[index].requests_per_second / round[0].requests_per_second),
            median(&|round| round[index].p99_micros),
            median(&|round| round[index].p99_micros / round[0].p99_micros),
        );
    }
    println!("\nMedians of {ROUNDS} rounds; the ratios are medians of the rounds' own ratios.");
}

/// A server in a process of its own, on the first processor where that can be said: wrk has the
/// second.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(which: &str) -> Result<Self, Failure> {
        let program = std::env::current_exe()?;
        let mut child =
            wrk::on_processor(0, program).args(["serve", which]).stdout(Stdio::piped()).spawn()?;
        let mut url = String::new();
        let stdout = child.stdout.take().ok_or("the server has no output")?;
        BufReader::new(stdout).read_line(&mut url)?;
        Ok(Self { child, url: url.trim().to_owned() })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a program answers `--version` at all.
fn is_there(program: &str) -> bool {
    let quiet = || Stdio::null();
    Command::new(program).arg("--version").stdout(quiet()).stderr(quiet()).status().is_ok()
}
