//! Repeats one path for a profiler: `one_path <candidate> <scenario> <calls>`.

use std::process::ExitCode;

use tower_breaker_peers::{Candidate, CandidateService, PATTERN, Scenario, Visitor, drive, visit};

struct Run {
    scenario: Scenario,
    times: u64,
}

impl Visitor for Run {
    type Output = ();

    fn visit<S: CandidateService>(self, mut service: S) {
        let seen = drive(&mut service, &self.scenario.requests(), self.times);
        println!("{seen:?}");
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [candidate, scenario, calls] = &args[..] else {
        eprintln!("usage: one_path <candidate> <scenario> <calls>");
        return ExitCode::from(2);
    };
    let candidate = Candidate::ALL.into_iter().find(|known| known.key() == candidate);
    let scenario = Scenario::ALL.into_iter().find(|known| known.key == scenario);
    let (Some(candidate), Some(scenario), Ok(calls)) = (candidate, scenario, calls.parse::<u64>())
    else {
        eprintln!("candidates: {}", Candidate::ALL.map(Candidate::key).join(", "));
        eprintln!("scenarios: {}", Scenario::ALL.map(|scenario| scenario.key).join(", "));
        return ExitCode::from(2);
    };
    let run = Run { scenario, times: calls / PATTERN as u64 };
    if visit::<false, _>(candidate, scenario, run).is_none() {
        eprintln!("{} has no such rule", candidate.key());
        return ExitCode::from(3);
    }
    ExitCode::SUCCESS
}
