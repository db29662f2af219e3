//! Counts that are added and taken back, model-checked: batches and withdrawals that are late or
//! lost, a server that forgets, and states that follow each other.

use std::collections::BTreeMap;

use stateright::{Checker, HasDiscoveries, Model, Property, UniformChooser};

use crate::fleet::protocol::{
    counts::{Bucket, Ledger, RuleKey, Series, Tally},
    fence::Fence,
    record::Micros,
    tests::counter::Counter,
};

/// A bucket is one unit of time.
const RULE: RuleKey = RuleKey { slower_than: None, window: 20 };
const TAKEN_BACK: &str = "counts are taken back";

/// A defect to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    /// The server takes back from whatever counts of the state it has.
    CountsOfAnotherSeries,
    /// A replica takes back what it has sent, whether or not it was counted.
    SentIsCounted,
    /// A replica takes the same back again.
    TakenBackTwice,
}

#[derive(Debug, Clone)]
struct Counting {
    bug: Option<Bug>,
    /// How often each of these happens.
    calls: u8,
    withdrawals: u8,
    ticks: u8,
    faults: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    Tick,
    /// A replica counts a call.
    Call(usize),
    Send(usize),
    Arrive(usize),
    Answer(usize),
    /// A replica's vote has ended.
    TakeBack(usize),
    Withdraw(usize),
    Forget,
    NewState,
    /// A replica learns of the newest state.
    Learn(usize),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    now: Micros,
    stored: Fence,
    counter: Counter,
    replicas: [Replica; 2],
    batches: Vec<Batch>,
    answers: Vec<(Batch, Series, Micros)>,
    withdrawals: Vec<(usize, Series, Vec<Bucket>)>,
    /// What the server has counted of each replica in each bucket of its series.
    own: BTreeMap<(usize, u64), u64>,
    left: Left,
    is_taken_back: bool,
    broken: Option<&'static str>,
}

/// How often things may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Left {
    calls: u8,
    withdrawals: u8,
    ticks: u8,
    faults: u8,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Replica {
    seen: Fence,
    ledger: Ledger,
    recorded: u64,
    sent: u64,
}

/// What a replica has counted, on its way. It is carried out once or never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Batch {
    replica: usize,
    seen: Fence,
    calls: u64,
}

impl Batch {
    const fn rules(&self) -> [(RuleKey, Tally); 1] {
        [(RULE, Tally { calls: self.calls, bad: 0 })]
    }
}

impl World {
    fn send(&mut self, index: usize, bug: Option<Bug>) {
        let now = self.now;
        let series = self.counter.series;
        let replica = &mut self.replicas[index];
        let recorded = Tally { calls: replica.recorded, bad: 0 };
        let calls = replica.ledger.take(0, &[recorded])[0].calls;
        replica.sent = replica.recorded;
        let batch = Batch { replica: index, seen: replica.seen, calls };
        if bug == Some(Bug::SentIsCounted) {
            let series = series.unwrap_or(Series { fence: batch.seen, begun: now });
            replica.ledger.note(series, now, &batch.rules());
        }
        self.batches.push(batch);
    }

    fn count(&mut self, batch: Batch) {
        let before = self.counter.series;
        let answer = self.counter.add(self.now, self.stored, batch.seen, &batch.rules());
        if answer.is_none() {
            return;
        }
        let series = self.counter.series.expect("it has counted");
        if before != Some(series) {
            self.own.clear();
        }
        *self.own.entry((batch.replica, self.now / RULE.width())).or_default() += batch.calls;
        self.answers.push((batch, series, self.now));
    }

    fn take_back(&mut self, index: usize, bug: Option<Bug>) {
        let replica = &mut self.replicas[index];
        let seen = replica.seen;
        let (series, buckets) = match bug {
            Some(Bug::TakenBackTwice) => replica.ledger.clone().withdraw(seen),
            _ => replica.ledger.withdraw(seen),
        };
        if !buckets.is_empty() {
            self.left.withdrawals -= 1;
            self.withdrawals.push((index, series, buckets));
        }
    }

    fn withdraw(
        &mut self,
        (replica, series, buckets): (usize, Series, Vec<Bucket>),
        bug: Option<Bug>,
    ) {
        let is_lax = bug == Some(Bug::CountsOfAnotherSeries);
        let found = self
            .counter
            .series
            .filter(|found| *found == series || (is_lax && found.fence == series.fence));
        let Some(found) = found else { return };
        for Bucket { number, tally, .. } in &buckets {
            let own = self.own.entry((replica, *number)).or_default();
            if *own < tally.calls {
                self.broken = Some("more was taken back than was counted");
            }
            *own = own.saturating_sub(tally.calls);
        }
        self.counter.withdraw(found, &buckets);
        self.is_taken_back = true;
    }

    /// Whether the server's counts are those of its replicas that were not taken back.
    fn has_each_call_once(&self) -> bool {
        let counted: u64 = self.counter.buckets.values().map(|bucket| bucket.calls).sum();
        counted == self.own.values().sum::<u64>()
    }
}

impl Model for Counting {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let Self { calls, withdrawals, ticks, faults, .. } = *self;
        vec![World {
            now: 1,
            stored: Fence::NONE,
            counter: Counter::default(),
            replicas: Default::default(),
            batches: Vec::new(),
            answers: Vec::new(),
            withdrawals: Vec::new(),
            own: BTreeMap::new(),
            left: Left { calls, withdrawals, ticks, faults },
            is_taken_back: false,
            broken: None,
        }]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        let Left { calls, withdrawals, ticks, faults } = world.left;
        for (index, replica) in world.replicas.iter().enumerate() {
            if calls > 0 {
                steps.push(Step::Call(index));
            }
            if replica.sent < replica.recorded {
                steps.push(Step::Send(index));
            }
            if withdrawals > 0 {
                steps.push(Step::TakeBack(index));
            }
            if replica.seen != world.stored {
                steps.push(Step::Learn(index));
            }
        }
        steps.extend((0..world.batches.len()).map(Step::Arrive));
        steps.extend((0..world.answers.len()).map(Step::Answer));
        steps.extend((0..world.withdrawals.len()).map(Step::Withdraw));
        if ticks > 0 {
            steps.push(Step::Tick);
        }
        if faults > 0 {
            steps.extend([Step::Forget, Step::NewState]);
        }
    }

    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut world = last.clone();
        match step {
            Step::Tick => {
                world.left.ticks -= 1;
                world.now += 1;
            }
            Step::Call(index) => {
                world.left.calls -= 1;
                world.replicas[index].recorded += 1;
            }
            Step::Send(index) => world.send(index, self.bug),
            Step::Arrive(index) => {
                let batch = world.batches.remove(index);
                world.count(batch);
            }
            Step::Answer(index) => {
                let (batch, series, at) = world.answers.remove(index);
                world.replicas[batch.replica].ledger.note(series, at, &batch.rules());
            }
            Step::TakeBack(index) => world.take_back(index, self.bug),
            Step::Withdraw(index) => {
                let withdrawal = world.withdrawals.remove(index);
                world.withdraw(withdrawal, self.bug);
            }
            // Time passes: no two series begin at once.
            Step::Forget => {
                world.left.faults -= 1;
                world.now += 1;
                world.counter = Counter::default();
                world.own.clear();
            }
            Step::NewState => {
                world.left.faults -= 1;
                world.stored.number += 1;
            }
            Step::Learn(index) => world.replicas[index].seen = world.stored,
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing is broken", |_, world: &World| world.broken.is_none()),
            Property::always("sums hold each call once", |_, world: &World| {
                world.has_each_call_once()
            }),
            Property::sometimes(TAKEN_BACK, |_, world: &World| {
                world.is_taken_back && world.own.values().all(|calls| *calls == 0)
            }),
        ]
    }
}

const SOUND: Counting = Counting { bug: None, calls: 3, withdrawals: 2, ticks: 1, faults: 1 };

#[test]
fn each_call_counts_once_and_no_replica_takes_more_back_than_its_own() {
    let checker = SOUND.checker().threads(2).target_max_depth(15).spawn_bfs().join();
    println!("{} states", checker.unique_state_count());
    let discoveries = checker.discoveries();
    for (name, path) in &discoveries {
        println!("{name}: {:?}", path.clone().into_actions());
    }
    assert_eq!(discoveries.keys().collect::<Vec<_>>(), [&TAKEN_BACK]);
}

fn is_found(bug: Bug) -> bool {
    let model = Counting { bug: Some(bug), ..SOUND };
    let checker = model
        .checker()
        .target_max_depth(30)
        .target_state_count(1_000_000)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_simulation(7, UniformChooser)
        .join();
    checker.discoveries().into_iter().any(|(name, path)| {
        println!("{name}: {:?}", path.into_actions());
        name != TAKEN_BACK
    })
}

#[test]
fn counts_that_are_taken_back_from_a_server_that_has_begun_anew_are_found() {
    assert!(is_found(Bug::CountsOfAnotherSeries));
}

#[test]
fn counts_that_are_taken_back_although_they_never_arrived_are_found() {
    assert!(is_found(Bug::SentIsCounted));
}

#[test]
fn counts_that_are_taken_back_twice_are_found() {
    assert!(is_found(Bug::TakenBackTwice));
}
