//! The processor time per request, of all servers at once: what slows the machine down slows all of
//! them down, so it scatters far less than turns.

use std::{fs, num::NonZeroU32, thread};

use crate::{Failure, Round, SERVERS, Server, count, share, start_all, wrk};

const SECONDS: u32 = 3;

/// Compares the servers, all on one processor, each with a wrk of its own on the other one.
pub(crate) fn compare(fails: Option<NonZeroU32>) -> Result<(), Failure> {
    let count = count(20)?;
    let mut rounds = Vec::new();
    for round in 0..count {
        eprintln!("round {} of {count} ...", round + 1);
        let servers = start_all(fails)?;
        run_all(&servers, 1, share(fails))?;
        let before = nanos_of_all(&servers)?;
        let figures = run_all(&servers, SECONDS, share(fails))?;
        let after = nanos_of_all(&servers)?;
        rounds.push(std::array::from_fn(|index| {
            (after[index] - before[index]) / figures[index].requests
        }));
    }
    report(&rounds);
    Ok(())
}

fn run_all(servers: &[Server], seconds: u32, fails: f64) -> Result<Round, Failure> {
    let figures = thread::scope(|scope| {
        let start = |server| scope.spawn(move || wrk::run(server, seconds, fails));
        let runs: Vec<_> = servers.iter().map(|server| start(&server.url)).collect();
        let end = |run: thread::ScopedJoinHandle<'_, _>| run.join().map_err(|_| "wrk panicked")?;
        runs.into_iter().map(end).collect::<Result<Vec<_>, Failure>>()
    })?;
    figures.try_into().map_err(|_| "a server has no figures".into())
}

fn nanos_of_all(servers: &[Server]) -> Result<Vec<f64>, Failure> {
    servers.iter().map(|server| nanos(server.child.id())).collect()
}

/// The processor time of a process so far, of all its threads, as Linux counts it.
fn nanos(process: u32) -> Result<f64, Failure> {
    let mut sum = 0.0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let times = fs::read_to_string(thread?.path().join("schedstat"))?;
        sum += times.split_whitespace().next().ok_or("no processor time")?.parse::<f64>()?;
    }
    Ok(sum)
}

#[expect(clippy::cast_precision_loss, reason = "a few rounds")]
fn report(rounds: &[[f64; SERVERS.len()]]) {
    println!("| | processor time per request | relative to bare | standard error |");
    println!("|---|--:|--:|--:|");
    let count = rounds.len() as f64;
    for (index, name) in SERVERS.into_iter().enumerate() {
        let ratios = || rounds.iter().map(|round| round[index] / round[0]);
        let mean = ratios().sum::<f64>() / count;
        let squares = ratios().map(|ratio| (ratio - mean).powi(2)).sum::<f64>();
        println!(
            "| {name} | {:.0} ns | {mean:.3} | {:.3} |",
            wrk::median(rounds.iter().map(|round| round[index])),
            (squares / (count - 1.0).max(1.0) / count).sqrt(),
        );
    }
    println!("\nMeans of {count} rounds of {SECONDS} s; the times are medians.");
}
