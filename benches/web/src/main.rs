//! Measures the cost of a circuit breaker in an axum server with wrk: the same router alone, behind
//! tower-breaker and behind tower-resilience, all healthy, taking turns in one run.
//!
//! `cargo run --release` compares them and needs wrk (Debian, Ubuntu: `apt-get install wrk`);
//! `cargo run --release serve <bare|tower-breaker|tower-resilience>` only serves one of them.

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
    // Warms up each server.
    for server in &servers {
        wrk::run(&server.url, 1)?;
    }
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        eprintln!("round {} of {ROUNDS} ...", round + 1);
        let mut figures = [Figures::default(); 3];
        // Each round starts with another server.
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
    println!("| | requests per second | relative to bare | 99th percentile | relative to bare |");
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
    println!("\nMedians of {ROUNDS} rounds; the ratios are medians of the ratios of each round.");
}

/// A server in its own process, pinned to the first processor where taskset is available; wrk runs
/// on the second.
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

/// Whether a program can be started.
fn is_there(program: &str) -> bool {
    let quiet = || Stdio::null();
    Command::new(program).arg("--version").stdout(quiet()).stderr(quiet()).status().is_ok()
}
