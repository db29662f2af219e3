//! Measures the cost of a circuit breaker in an axum server with wrk: the same router alone, with
//! tower-breaker by `Router::layer` and around the whole router, and with tower-resilience, taking
//! turns in one run. First all healthy, then with one response in a hundred a 500.
//!
//! `cargo run --release` compares them and needs wrk (Debian, Ubuntu: `apt-get install wrk`);
//! `cargo run --release failing <n>` only with one response in n a 500;
//! `cargo run --release processor-time [n]` the processor time per request, on Linux;
//! `cargo run --release serve <server> [n]` only serves one of them (`bare`, `tower-breaker`,
//! `tower-breaker-around` or `tower-resilience`), with one response in n a 500. `WEB_ROUNDS` is the
//! number of rounds: the median of more scatters less.

mod processor_time;
mod serve;
mod wrk;

use std::{
    error::Error,
    io::{BufRead, BufReader},
    num::NonZeroU32,
    process::{Child, Command, Stdio},
};

use wrk::Figures;

type Failure = Box<dyn Error + Send + Sync>;

const SERVERS: [&str; 4] = ["bare", "tower-breaker", "tower-breaker-around", "tower-resilience"];

/// The figures of each server.
type Round = [Figures; SERVERS.len()];

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {
            println!("All requests succeed:\n");
            compare(None)?;
            println!("\nOne response in a hundred is a 500:\n");
            compare(NonZeroU32::new(100))
        }
        ["failing", fails] => compare(Some(fails.parse()?)),
        ["processor-time"] => processor_time::compare(None),
        ["processor-time", fails] => processor_time::compare(Some(fails.parse()?)),
        ["serve", which] => serve::serve(which, None),
        ["serve", which, fails] => serve::serve(which, Some(fails.parse()?)),
        _ => {
            let servers = SERVERS.join("|");
            let modes = format!("failing <n> | processor-time [n] | serve <{servers}> [n]");
            Err(format!("usage: tower-breaker-web [{modes}]").into())
        }
    }
}

fn compare(fails: Option<NonZeroU32>) -> Result<(), Failure> {
    let count = count(60)?;
    let share = share(fails);
    let mut rounds = Vec::new();
    for round in 0..count {
        eprintln!("round {} of {count} ...", round + 1);
        // Started anew: where a process lies in memory makes a difference of some percent.
        let servers = start_all(fails)?;
        let mut figures = [Figures::default(); SERVERS.len()];
        // Each round starts with another server.
        for turn in 0..SERVERS.len() {
            let index = (round + turn) % SERVERS.len();
            // Warms it up.
            wrk::run(&servers[index].url, 1, share)?;
            figures[index] = wrk::run(&servers[index].url, 1, share)?;
        }
        rounds.push(figures);
    }
    report(&rounds);
    Ok(())
}

fn start_all(fails: Option<NonZeroU32>) -> Result<Vec<Server>, Failure> {
    SERVERS.into_iter().map(|which| Server::start(which, fails)).collect()
}

fn count(default: usize) -> Result<usize, Failure> {
    Ok(std::env::var("WEB_ROUNDS").map_or(Ok(default), |count| count.parse())?)
}

fn share(fails: Option<NonZeroU32>) -> f64 {
    fails.map_or(0.0, |fails| 1.0 / f64::from(fails.get()))
}

fn report(rounds: &[Round]) {
    println!(
        "| | requests per second | relative to bare | half of the rounds | 99th percentile | \
         relative to bare |"
    );
    println!("|---|--:|--:|--:|--:|--:|");
    for (index, name) in SERVERS.into_iter().enumerate() {
        let median = |of: &dyn Fn(&Round) -> f64| wrk::median(rounds.iter().map(of));
        let relative =
            |round: &Round| round[index].requests_per_second / round[0].requests_per_second;
        println!(
            "| {name} | {:.0} | {:.3} | {:.2} to {:.2} | {:.0} us | {:.3} |",
            median(&|round| round[index].requests_per_second),
            median(&relative),
            wrk::quartile(rounds.iter().map(relative), 1),
            wrk::quartile(rounds.iter().map(relative), 3),
            median(&|round| round[index].p99_micros),
            median(&|round| round[index].p99_micros / round[0].p99_micros),
        );
    }
    let count = rounds.len();
    println!("\nMedians of {count} rounds; the ratios are medians of the ratios of each round.");
}

/// A server in its own process, pinned to the first processor where taskset is available; wrk runs
/// on the second.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(which: &str, fails: Option<NonZeroU32>) -> Result<Self, Failure> {
        let program = std::env::current_exe()?;
        let mut command = wrk::on_processor(0, program);
        command.args(["serve", which]).args(fails.map(|fails| fails.to_string()));
        let mut child = command.stdout(Stdio::piped()).spawn()?;
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
