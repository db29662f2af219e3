//! The table of `benches/README.md`: measures every candidate in every scenario, and writes it.
//!
//! `cargo bench --bench table`. All candidates take turns within a round, and what counts is the
//! median of the rounds: a machine that is busy for a while is busy for all of them.

use std::{
    fmt::Write as _,
    fs,
    process::Command,
    sync::Barrier,
    thread,
    time::{Duration, Instant, SystemTime},
};

use tower_breaker_peers::{
    Candidate, CandidateService, PREPARED, Scenario, Seen, Visitor, counted_calls, drive,
    failures_until_rejected, visit,
};

const ROUNDS: usize = 31;
/// How long one measurement should take: not so long that another program gets the core before
/// it is over, as a rule.
const TARGET: Duration = Duration::from_millis(12);
const THREADS: [usize; 2] = [1, 2];
/// A service that answers costs at least this. Less, and nothing was measured.
const LEAST: f64 = 0.2;

fn main() {
    // `cargo test --benches` runs this, too, and wants no table.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let began = Instant::now();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    prove();
    let rows = measure_all();
    let sliding = Candidate::ALL.map(slide);
    let readme = report(load, &rows, &sliding, &allocations());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    fs::write(path, &readme).expect("benches/README.md can be written");
    println!("{readme}");
    println!("(written to benches/README.md after {:.0?})", began.elapsed());
}

// --- Proof ------------------------------------------------------------------------------------

/// Runs everything once over an inner service that counts: admitted calls reach it, each of them
/// once, and rejected ones do not.
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
        let seen = drive(&mut service, &scenario.requests(), 20);
        let reached = counted_calls() - before;
        assert_eq!(seen, expected(candidate, scenario, 20), "{candidate:?}, {scenario:?}");
        let eager = matches!(candidate, Candidate::RecloserEager | Candidate::FailsafeEager);
        let admitted = if eager { 200 } else { seen.answered + seen.failed };
        assert_eq!(reached, admitted, "{candidate:?}, {scenario:?}");
    }
}

fn expected(candidate: Candidate, scenario: Scenario, times: u64) -> Seen {
    match candidate {
        Candidate::Bare => scenario.expected_bare(times),
        _ => scenario.expected(times),
    }
}

// --- Measurements -----------------------------------------------------------------------------

/// What a candidate costs in one row of the table.
#[derive(Debug, Clone, PartialEq)]
enum Cost {
    /// Nanoseconds a whole call.
    Nanos(f64),
    /// It has no such rule.
    Absent,
    /// It panicked, and said this.
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

fn measure_all() -> Vec<Row> {
    let rows = Scenario::ALL.into_iter().flat_map(|scenario| {
        THREADS.map(|threads| {
            eprintln!("{}, {threads} thread(s) ...", scenario.title());
            measure_row(scenario, threads)
        })
    });
    rows.collect()
}

fn measure_row(scenario: Scenario, threads: usize) -> Row {
    // How often each repeats its ten calls so that a measurement takes as long as it should.
    let times = Candidate::ALL.map(|candidate| {
        if candidate == Candidate::TowerResilience && scenario == Scenario::TimeWindow {
            // It costs more with each call in the window. So it gets as many as there are after
            // the preparation, and a tenth on top.
            return 100;
        }
        let mut times = 1000;
        loop {
            match measure(candidate, scenario, threads, times) {
                Cost::Nanos(nanos) => {
                    let took = Duration::from_nanos((nanos * 10.0) as u64 * times);
                    if took * 8 > TARGET {
                        return (TARGET.as_nanos() as f64 / (nanos * 10.0)) as u64;
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
            rounds[index].push(measure(candidate, scenario, threads, times[index]));
        }
    }
    let costs: Vec<Cost> = rounds.iter().map(|rounds| median(rounds)).collect();
    let bare = costs[0].nanos().expect("the bare service does not panic");
    assert!(bare > LEAST, "the bare service took {bare} ns: it was optimised away");
    Row { scenario, threads, costs }
}

/// The median; a panic in any round is the whole answer.
fn median(rounds: &[Cost]) -> Cost {
    if let Some(other) = rounds.iter().find(|cost| cost.nanos().is_none()) {
        return other.clone();
    }
    let mut nanos: Vec<f64> = rounds.iter().filter_map(Cost::nanos).collect();
    nanos.sort_by(f64::total_cmp);
    Cost::Nanos(nanos[nanos.len() / 2])
}

fn measure(candidate: Candidate, scenario: Scenario, threads: usize, times: u64) -> Cost {
    let loops = Loops { candidate, scenario, threads, times };
    visit::<false, _>(candidate, scenario, loops).unwrap_or(Cost::Absent)
}

/// Threads that begin together, each with its clone of the service.
struct Loops {
    candidate: Candidate,
    scenario: Scenario,
    threads: usize,
    times: u64,
}

impl Visitor for Loops {
    type Output = Cost;

    fn visit<S: CandidateService>(self, service: S) -> Cost {
        let Self { candidate, scenario, threads, times } = self;
        let requests = scenario.requests();
        let barrier = Barrier::new(threads);
        let results: Vec<_> = quietly(|| {
            thread::scope(|scope| {
                let handles: Vec<_> = (0..threads)
                    .map(|_| {
                        let (mut service, barrier) = (service.clone(), &barrier);
                        scope.spawn(move || {
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
                    nanos += elapsed.as_nanos() as f64 / (10 * times) as f64;
                }
                Err(payload) => {
                    let said = payload.downcast_ref::<String>().map(String::as_str);
                    let said = said.or_else(|| payload.downcast_ref().copied());
                    return Cost::Panicked(said.unwrap_or("no message").to_owned());
                }
            }
        }
        Cost::Nanos(nanos / threads as f64)
    }
}

/// Without messages of panics: what they say goes into the table.
fn quietly<T>(work: impl FnOnce() -> T) -> T {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let result = work();
    std::panic::set_hook(hook);
    result
}

// --- The window that slides -------------------------------------------------------------------

const HEALTHY_BEFORE: u64 = 100_000;

/// How many failures in a row it takes, after long health, to open at half of 100 calls.
fn slide(candidate: Candidate) -> Option<u64> {
    if candidate == Candidate::Bare {
        return None;
    }
    visit::<false, _>(candidate, Scenario::CountWindow, Slide)
}

struct Slide;

impl Visitor for Slide {
    type Output = u64;

    fn visit<S: CandidateService>(self, mut service: S) -> u64 {
        // The preparation has made some already.
        drive(&mut service, &Scenario::CountWindow.requests(), HEALTHY_BEFORE / 10 - PREPARED);
        failures_until_rejected(&mut service, 100 * HEALTHY_BEFORE).expect("it opens in the end")
    }
}

// --- Allocations ------------------------------------------------------------------------------

/// The lines of the program that counts them: scenario, candidate, allocations, bytes.
fn allocations() -> Vec<[String; 4]> {
    let output = Command::new(env!("CARGO_BIN_EXE_allocations")).output();
    let output = output.expect("the program that counts allocations runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("it writes text");
    let line = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        std::array::from_fn(|_| words.next().expect("four words a line"))
    };
    text.lines().map(line).collect()
}

// --- The report -------------------------------------------------------------------------------

/// Those that stand in the table; the eager ones have one of their own.
const COLUMNS: [Candidate; 4] =
    [Candidate::Ours, Candidate::TowerResilience, Candidate::Recloser, Candidate::Failsafe];

fn place(candidate: Candidate) -> usize {
    Candidate::ALL.iter().position(|&known| known == candidate).expect("it is one of all")
}

fn report(
    load: &str,
    rows: &[Row],
    sliding: &[Option<u64>],
    allocations: &[[String; 4]],
) -> String {
    let mut text = String::new();
    text.push_str(&head(load));
    text.push_str("\n## Nanoseconds a call adds\n\n");
    text.push_str(
        "Over the bare service, which has a column of its own; in brackets how many times what \
         tower-breaker adds.\nWith two threads it is one breaker for both, and the time a call \
         takes on each.\n\n",
    );
    text.push_str(&table(rows, &COLUMNS, true));
    text.push_str(
        "\n1. tower-resilience keeps a time window call by call, and looks at all of them at \
         each: measured\n   with 10,000 calls in it, that is 1,000 a second. With more it costs \
         more.\n2. failsafe has no count window. Measured is its rule for failures in a row.\n\
         3. failsafe's window over time is a success rate that fades.\n\
         \nA dash: the crate has no such rule.\n",
    );
    for row in rows {
        for candidate in COLUMNS {
            if let Cost::Panicked(said) = &row.costs[place(candidate)] {
                let _ = writeln!(
                    text,
                    "\n{}, with {} threads, {}: panics,\n\"{said}\".\nA lock that another thread \
                     holds is answered by a sleep of tokio's, and there is no tokio here.",
                    candidate.key(),
                    row.threads,
                    row.scenario.title(),
                );
            }
        }
    }
    text.push_str(
        "\nrecloser and failsafe are no tower services. In the table they stand as one would \
         write the service:\nthe inner one is called within the guarded future, only when the \
         breaker lets it, and that future has no\nname, so it is boxed. Without the box, the \
         inner service is called (and its future dropped) also while\nthe circuit is open; then \
         they add:\n\n",
    );
    text.push_str(&table(
        rows,
        &[Candidate::Ours, Candidate::RecloserEager, Candidate::FailsafeEager],
        false,
    ));
    text.push_str("\n## Allocations a call\n\n");
    text.push_str(&allocation_table(allocations));
    let _ = write!(
        text,
        "\n## Does the window slide?\n\nFailures that it takes to open at half of the last 100 \
         calls, after 100,000 healthy ones (50 are what it\nshould take; failsafe has no such \
         rule):\n\n| {} |\n|{}\n| {} |\n",
        [Candidate::Ours, Candidate::TowerResilience, Candidate::Recloser]
            .map(Candidate::key)
            .join(" | "),
        "---|".repeat(3),
        [Candidate::Ours, Candidate::TowerResilience, Candidate::Recloser]
            .map(|candidate| thousands(sliding[place(candidate)]))
            .join(" | "),
    );
    text
}

fn head(load: &str) -> String {
    let date = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let cores = thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = info.lines().find(|line| line.starts_with("model name"));
    let processor = processor.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown");
    let rustc = Command::new("rustc").arg("--version").output();
    let rustc = rustc.map_or_else(
        |_| "rustc unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    );
    format!(
        "<!-- Written by benches/peers/benches/table.rs: change it there. -->\n\n\
         # What a call costs\n\n\
         {}. {cores} cores, processor \"{}\", {rustc}, fat LTO, one codegen unit.\n\
         The load average of the minute before was {load} (the build counts, too); a busy machine \
         blurs the figures,\nabove all those of two threads.\n\
         Each figure is the median of {ROUNDS} rounds in which all candidates took turns. A call \
         is `poll_ready`, `call`,\nand the future polled to its end, without a runtime.\n\n\
         Again, in about two minutes (and then the instructions a call takes, with \
         valgrind):\n\n\
         ```sh\ncargo bench --manifest-path benches/peers/Cargo.toml --bench table\n\
         benches/instructions.sh\n```\n",
        &date[..10],
        processor.trim(),
    )
}

fn table(rows: &[Row], columns: &[Candidate], with_ratios: bool) -> String {
    let mut text = "| | threads | bare |".to_owned();
    for column in columns {
        let _ = write!(text, " {} |", column.key());
    }
    let _ = write!(text, "\n|---|{}\n", "--:|".repeat(columns.len() + 2));
    for row in rows {
        let bare = row.costs[0].nanos().unwrap_or_default();
        let over = |candidate| row.costs[place(candidate)].nanos().map(|nanos| nanos - bare);
        let ours = over(Candidate::Ours);
        let _ = write!(text, "| {} | {} | {bare:.1} |", row.scenario.title(), row.threads);
        for &column in columns {
            let cell = match (&row.costs[place(column)], over(column)) {
                (Cost::Panicked(_), _) => "panics".to_owned(),
                (_, None) => "-".to_owned(),
                (_, Some(nanos)) => {
                    let note = note(column, row.scenario);
                    let figure = if nanos < 100.0 {
                        format!("{nanos:.1}")
                    } else {
                        thousands(Some(nanos.round() as u64))
                    };
                    match ours {
                        // Noise can take the bare service past a breaker that costs next to
                        // nothing, and a ratio to that says nothing.
                        Some(ours) if with_ratios && column != Candidate::Ours && ours > 0.1 => {
                            format!("{figure}{note} ({:.0}x)", nanos / ours)
                        }
                        _ => format!("{figure}{note}"),
                    }
                }
            };
            let _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
    text
}

fn note(candidate: Candidate, scenario: Scenario) -> &'static str {
    match (candidate, scenario) {
        (Candidate::TowerResilience, Scenario::TimeWindow) => " [1]",
        (Candidate::Failsafe | Candidate::FailsafeEager, Scenario::OneInTen) => " [2]",
        (Candidate::Failsafe | Candidate::FailsafeEager, Scenario::TimeWindow) => " [3]",
        _ => "",
    }
}

fn allocation_table(allocations: &[[String; 4]]) -> String {
    let mut text = "| |".to_owned();
    for column in COLUMNS {
        let _ = write!(text, " {} |", column.key());
    }
    let _ = write!(text, "\n|---|{}\n", "--:|".repeat(COLUMNS.len()));
    for scenario in Scenario::ALL {
        let _ = write!(text, "| {} |", scenario.title());
        for column in COLUMNS {
            let found = allocations
                .iter()
                .find(|[row, candidate, ..]| row == scenario.key() && candidate == column.key());
            let cell = match found {
                Some([_, _, count, _]) if count == "0" => "0".to_owned(),
                Some([_, _, count, bytes]) => format!("{count} ({bytes} bytes)"),
                None => "-".to_owned(),
            };
            let _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
    text
}

fn thousands(number: Option<u64>) -> String {
    let Some(number) = number else { return "-".to_owned() };
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
