//! Measures every candidate in every scenario and writes `benches/README.md`.
//!
//! `cargo bench --bench table`; with `-- --print`, the report is printed and no file is written.
//! All candidates take turns within a round, and each figure is the median of the rounds, so that
//! a temporary load on the machine affects all candidates alike.

mod fill;
mod lookup;
mod report;
mod steps;
mod topology;

use std::{
    fs,
    process::Command,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use topology::Topology;
use tower_breaker_peers::{
    Candidate, CandidateService, PATTERN, PREPARED, Rule, Scenario, Seen, Visitor, counted_calls,
    drive, failures_until_rejected, visit,
};

const ROUNDS: usize = 31;
/// Target duration of one measurement, short enough that the thread is rarely preempted.
const TARGET: Duration = Duration::from_millis(12);
/// As many of these as the machine has cores.
const THREADS: [usize; 4] = [1, 2, 4, 8];
/// Lower bound in nanoseconds for a call of the bare service. A smaller figure means that the
/// compiler has removed the call.
const LEAST: f64 = 0.2;

fn main() {
    let has_arg = |name| std::env::args().any(|arg| arg == name);
    // `cargo test --benches` also runs this program, without the argument.
    if !has_arg("--bench") {
        return;
    }
    let began = Instant::now();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    prove();
    let topology = Topology::read();
    let steps = steps::measure();
    let rows = measure_all(&topology);
    let lookups = lookup::measure_all(&topology);
    let sliding = Candidate::ALL.map(slide);
    let report = report::report(load, &topology, &steps, &rows, &lookups, &sliding, &allocations());
    let readme = fill::fill(&report);
    println!("{readme}");
    if !has_arg("--print") {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
        fs::write(path, &readme).expect("benches/README.md is writable");
        println!("(written to benches/README.md after {:.0?})", began.elapsed());
    }
}

// --- Checks before measuring ------------------------------------------------------------------

/// Runs everything once over an inner service that counts its calls: each admitted call reaches
/// it exactly once, and no rejected call does.
fn prove() {
    for scenario in Scenario::ALL {
        for candidate in Candidate::ALL {
            visit::<true, _>(candidate, scenario, Proof { candidate, scenario });
        }
    }
}

struct Proof {
    candidate: Candidate,
    scenario: Scenario,
}

impl Visitor for Proof {
    type Output = ();

    fn visit<S: CandidateService>(self, mut service: S) {
        let Self { candidate, scenario } = self;
        let before = counted_calls();
        let seen = drive(&mut service, &scenario.requests(), 2);
        let reached = counted_calls() - before;
        assert_eq!(seen, expected(candidate, scenario, 2), "{candidate:?}, {scenario:?}");
        let eager = matches!(candidate, Candidate::RecloserEager | Candidate::FailsafeEager);
        let admitted = if eager { 2 * PATTERN as u64 } else { seen.answered + seen.failed };
        assert_eq!(reached, admitted, "{candidate:?}, {scenario:?}");
    }
}

fn expected(candidate: Candidate, scenario: Scenario, times: u64) -> Seen {
    match candidate {
        Candidate::Bare | Candidate::ClockAndWrite => scenario.expected_bare(times),
        _ => scenario.expected(times),
    }
}

// --- Measurements -----------------------------------------------------------------------------

/// The cost of a candidate in one row of the table.
#[derive(Debug, Clone, PartialEq)]
enum Cost {
    /// Nanoseconds per complete call.
    Nanos(f64),
    /// The candidate has no such rule.
    Absent,
    /// The candidate panicked with this message.
    Panicked(String),
}

impl Cost {
    fn nanos(&self) -> Option<f64> {
        match self {
            Self::Nanos(nanos) => Some(*nanos),
            Self::Absent | Self::Panicked(_) => None,
        }
    }
}

struct Row {
    scenario: Scenario,
    threads: usize,
    /// In the order of [`Candidate::ALL`].
    costs: Vec<Cost>,
}

/// All rows of one thread come first: what a breaker has allocated for threads that met serves
/// later breakers as well.
fn measure_all(topology: &Topology) -> Vec<Row> {
    let threads = THREADS.into_iter().filter(|threads| *threads <= topology.cores());
    let by_threads: Vec<Vec<Row>> = threads
        .map(|threads| {
            let measured = Scenario::ALL.into_iter().map(|scenario| {
                eprintln!("{}, {threads} thread(s) ...", scenario.title);
                measure_row(topology, scenario, threads)
            });
            measured.collect()
        })
        .collect();
    let mut columns: Vec<_> = by_threads.into_iter().map(Vec::into_iter).collect();
    let row = |_| columns.iter_mut().filter_map(Iterator::next).collect::<Vec<_>>();
    Scenario::ALL.into_iter().flat_map(row).collect()
}

fn measure_row(topology: &Topology, scenario: Scenario, threads: usize) -> Row {
    // How often each candidate repeats its ten calls to reach the target duration.
    let times = Candidate::ALL.map(|candidate| {
        if candidate == Candidate::TowerResilience && scenario.rule == Rule::TimeWindow {
            // Its cost grows with each call in the window. This adds a tenth to the calls that
            // the preparation has made.
            return 1;
        }
        let mut times = 10;
        loop {
            match measure(topology, candidate, scenario, threads, times) {
                Cost::Nanos(nanos) => {
                    let took = Duration::from_nanos((nanos * PATTERN as f64) as u64 * times);
                    if took * 8 > TARGET {
                        return (TARGET.as_nanos() as f64 / (nanos * PATTERN as f64)) as u64;
                    }
                    times *= 4;
                }
                Cost::Absent | Cost::Panicked(_) => return times,
            }
        }
    });
    let mut rounds = vec![Vec::new(); Candidate::ALL.len()];
    for _ in 0..ROUNDS {
        for (index, candidate) in Candidate::ALL.into_iter().enumerate() {
            rounds[index].push(measure(topology, candidate, scenario, threads, times[index]));
        }
    }
    let costs: Vec<Cost> = rounds.iter().map(|rounds| median(rounds)).collect();
    let bare = costs[0].nanos().expect("the bare service never panics");
    assert!(bare > LEAST, "the bare service took {bare} ns: the call was optimised away");
    Row { scenario, threads, costs }
}

/// The median of the rounds, or the panic if any round panicked.
fn median(rounds: &[Cost]) -> Cost {
    if let Some(other) = rounds.iter().find(|cost| cost.nanos().is_none()) {
        return other.clone();
    }
    Cost::Nanos(middle(rounds.iter().filter_map(Cost::nanos).collect()))
}

/// The median.
fn middle(mut nanos: Vec<f64>) -> f64 {
    nanos.sort_by(f64::total_cmp);
    nanos[nanos.len() / 2]
}

fn measure(
    topology: &Topology,
    candidate: Candidate,
    scenario: Scenario,
    threads: usize,
    times: u64,
) -> Cost {
    let loops = Loops { topology, candidate, scenario, threads, times };
    visit::<false, _>(candidate, scenario, loops).unwrap_or(Cost::Absent)
}

/// Runs the loop on several threads that start together, each with its own clone of the service.
struct Loops<'a> {
    topology: &'a Topology,
    candidate: Candidate,
    scenario: Scenario,
    threads: usize,
    times: u64,
}

impl Visitor for Loops<'_> {
    type Output = Cost;

    fn visit<S: CandidateService>(self, service: S) -> Cost {
        let Self { topology, candidate, scenario, threads, times } = self;
        let requests = scenario.requests();
        let barrier = Barrier::new(threads);
        let results: Vec<_> = quietly(|| {
            thread::scope(|scope| {
                let handles: Vec<_> = (0..threads)
                    .map(|thread| {
                        let (mut service, barrier) = (service.clone(), &barrier);
                        scope.spawn(move || {
                            topology.pin(thread);
                            barrier.wait();
                            let began = Instant::now();
                            let seen = drive(&mut service, &requests, times);
                            (began.elapsed(), seen)
                        })
                    })
                    .collect();
                handles.into_iter().map(thread::ScopedJoinHandle::join).collect()
            })
        });
        let mut nanos = 0.0;
        for result in results {
            match result {
                Ok((elapsed, seen)) => {
                    let expected = expected(candidate, scenario, times);
                    assert_eq!(seen, expected, "{candidate:?}, {scenario:?}, {threads} threads");
                    nanos += elapsed.as_nanos() as f64 / (PATTERN as u64 * times) as f64;
                }
                Err(payload) => {
                    let message = payload.downcast_ref::<String>().map(String::as_str);
                    let message = message.or_else(|| payload.downcast_ref().copied());
                    return Cost::Panicked(message.unwrap_or("no message").to_owned());
                }
            }
        }
        Cost::Nanos(nanos / threads as f64)
    }
}

/// Runs `work` without printing panic messages; they go into the report instead.
fn quietly<T>(work: impl FnOnce() -> T) -> T {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let result = work();
    std::panic::set_hook(hook);
    result
}

// --- Sliding windows --------------------------------------------------------------------------

const HEALTHY_BEFORE: u64 = 100_000;

/// Number of consecutive failures that open the circuit at a failure rate of one half of the last
/// 100 calls, after a long run of successes.
fn slide(candidate: Candidate) -> Option<u64> {
    if matches!(candidate, Candidate::Bare | Candidate::ClockAndWrite) {
        return None;
    }
    visit::<false, _>(candidate, Scenario::COUNT, Slide)
}

struct Slide;

impl Visitor for Slide {
    type Output = u64;

    fn visit<S: CandidateService>(self, mut service: S) -> u64 {
        // The preparation has already made some of the calls.
        drive(
            &mut service,
            &Scenario::COUNT.requests(),
            HEALTHY_BEFORE / PATTERN as u64 - PREPARED,
        );
        failures_until_rejected(&mut service, 100 * HEALTHY_BEFORE).expect("every circuit opens")
    }
}

// --- Allocations ------------------------------------------------------------------------------

/// The output lines of the counting program: scenario, candidate, allocations, bytes.
fn allocations() -> Vec<[String; 4]> {
    let output = Command::new(env!("CARGO_BIN_EXE_allocations")).output();
    let output = output.expect("the counting program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("the output is text");
    let line = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        std::array::from_fn(|_| words.next().expect("four words per line"))
    };
    text.lines().map(line).collect()
}
