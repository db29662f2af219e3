//! The scenarios on one thread, with criterion: `cargo bench --bench criterion`. Each figure is a
//! complete call, including the cost of the bare service. The bench `table` writes the table.

use std::time::Duration;

use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use tower_breaker_peers::{
    Candidate, CandidateService, PATTERN, Rule, Scenario, Visitor, drive, visit,
};

struct Bench<'a, 'c> {
    group: &'a mut BenchmarkGroup<'c, WallTime>,
    candidate: Candidate,
    scenario: Scenario,
}

impl Visitor for Bench<'_, '_> {
    type Output = ();

    fn visit<S: CandidateService>(self, mut service: S) {
        let requests = self.scenario.requests();
        self.group.bench_function(self.candidate.key(), |b| {
            b.iter(|| drive(&mut service, &requests, 1));
        });
    }
}

fn all(c: &mut Criterion) {
    for scenario in Scenario::ALL {
        let mut group = c.benchmark_group(scenario.key);
        group
            .throughput(Throughput::Elements(PATTERN as u64))
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1));
        for candidate in Candidate::ALL {
            // Its time window grows with each call, and with it the cost of a call.
            if (candidate, scenario.rule) != (Candidate::TowerResilience, Rule::TimeWindow) {
                visit::<false, _>(
                    candidate,
                    scenario,
                    Bench { group: &mut group, candidate, scenario },
                );
            }
        }
        group.finish();
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
