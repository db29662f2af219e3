//! Counts the allocations of each candidate and prints one line for each, which the bench `table`
//! reads. It is a separate program because it installs a counting allocator.

use tower_breaker_peers::{Candidate, CandidateService, PATTERN, Scenario, Visitor, drive, visit};

struct Count(Scenario);

impl Visitor for Count {
    type Output = (u64, u64);

    /// Returns the allocations and bytes of the calls of a scenario.
    fn visit<S: CandidateService>(self, mut service: S) -> Self::Output {
        let requests = self.0.requests();
        // Not counted: what only a first call allocates.
        drive(&mut service, &requests, 1);
        let counted = allocation_counter::measure(|| {
            drive(&mut service, &requests, 1);
        });
        (counted.count_total, counted.bytes_total)
    }
}

fn main() {
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(Box::new(7))));
    assert_eq!(counted.count_total, 1, "the allocator counts");
    for scenario in Scenario::ALL {
        for candidate in Candidate::ALL {
            if let Some((count, bytes)) = visit::<false, _>(candidate, scenario, Count(scenario)) {
                let (count, bytes) = (count as f64 / PATTERN as f64, bytes as f64 / PATTERN as f64);
                println!("{} {} {count} {bytes}", scenario.key, candidate.key());
            }
        }
    }
}
