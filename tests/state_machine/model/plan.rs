//! A plan: random settings, and random operations on a breaker that has them.

use proptest::{
    collection::vec,
    option,
    prelude::{Just, Strategy},
    prop_oneof,
};

use super::settings::{Backoff, Ramp, Rate, Rule, Settings, Share, Span};

/// An operation. One that does not apply, such as the end of a call that was never admitted, is
/// skipped.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// A whole call: time passes between its admission and its end.
    Call(Ending, Wait),
    Acquire(usize),
    /// A call whose response begins to stream at once. A probe succeeds after this much of it.
    Stream(usize, Wait),
    Finish(usize, Ending),
    /// Ends with a duration that the caller measured.
    Record(usize, Ending, Wait),
    Cancel(usize),
    /// Drops the permit, after a while.
    GiveUp(usize, Wait),
    /// The call panics.
    Panic(usize),
    Advance(Wait),
    ForceOpen,
    Disable,
    MetricsOnly,
    /// Sets a state by hand for a time.
    ForATime(ByHand, Wait),
    Trip,
    Reset,
    /// Takes the other settings of the plan, or the first ones again.
    Update,
    Restart {
        after: Wait,
        shift: i64,
    },
    /// The wall clock jumps, and nothing else happens.
    JumpWall(i64),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum ByHand {
    ForceOpen,
    Disable,
    MetricsOnly,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Ending {
    Success,
    Failure(Option<u64>),
    Throttled(Option<u64>),
    Ignore,
}

/// A duration, possibly relative to what happens next.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wait {
    Millis(u64),
    /// Until time alone changes something, plus the offset.
    UntilBoundary(i64),
    /// The longest duration of a call that is not slow, plus the offset.
    UntilSlow(i64),
    /// The longest duration of a call that may be given up and is no failure, plus the offset.
    UntilAbandoned(i64),
    /// The longest time that a probe may be out, plus the offset.
    UntilProbeTimeout(i64),
    /// The age up to which the snapshot of a closed circuit counts, plus the offset.
    UntilExpiry(i64),
}

/// The number of slots for calls that overlap.
const SLOTS: usize = 8;
const HOUR: u64 = 3600 * 1000;
const TWO_HOURS: i64 = 2 * 3600 * 1000;
const YEAR: u64 = 365 * 24 * HOUR;

/// Settings, and others for `update` that differ only in their numbers.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    pub(crate) others: Settings,
    pub(crate) ops: Vec<Op>,
}

/// The kinds of windows in a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Windows {
    Counts,
    CountsAndTimes,
}

impl Plan {
    /// The settings that successive updates take.
    pub(crate) fn updates(&self) -> impl Iterator<Item = &Settings> {
        [&self.others, &self.settings].into_iter().cycle()
    }

    /// Keeps the open time the same in updates. A restart honours at most the open time of the
    /// current settings, so after an update to a shorter one it is visible.
    pub(crate) fn with_one_open_time(mut self) -> Self {
        self.others.recovery_timeout = self.settings.recovery_timeout;
        self.others.backoff = self.settings.backoff;
        self
    }
}

pub(crate) fn plan(windows: Windows) -> impl Strategy<Value = Plan> {
    (settings(windows), vec(op(), 1..200), vec(1..=3_u64, 8)).prop_map(
        |(settings, ops, factors)| {
            let others = vary(settings.clone(), &factors);
            Plan { settings, others, ops }
        },
    )
}

/// A plan that begins in a ramp, because few random ones reach it.
pub(crate) fn ramping() -> impl Strategy<Value = Plan> {
    (plan(Windows::Counts), ramp()).prop_map(|(mut plan, ramp)| {
        let start = [
            Op::Call(Ending::Failure(None), Wait::Millis(0)),
            Op::Advance(Wait::UntilBoundary(0)),
            Op::Call(Ending::Success, Wait::Millis(0)),
        ];
        for settings in [&mut plan.settings, &mut plan.others] {
            settings.ramp = Some(ramp);
            settings.rules = vec![Rule::ConsecutiveFailures(1)];
            settings.success_threshold = 1;
            settings.probe_failure_rate = None;
        }
        plan.ops.splice(..0, start);
        plan
    })
}

/// A plan that only records into a time window, over several times its length, with restarts.
pub(crate) fn recording() -> impl Strategy<Value = Plan> {
    let result = prop_oneof![Just(Ending::Success), Just(Ending::Failure(None))];
    let restart = prop_oneof![13 => Just(false), 1 => Just(true)];
    (settings(Windows::Counts), 40..5000_u64, vec((0..800_u64, result, restart), 1..150)).prop_map(
        |(mut settings, time, results)| {
            settings.rules = vec![Rule::Rate(Rate {
                slower_than: None,
                threshold: Share::percent(100),
                span: Span::Time(time),
                minimum_calls: 1,
            })];
            let mut ops = vec![Op::MetricsOnly];
            for (pause, ending, restart) in results {
                ops.push(Op::Advance(Wait::Millis(pause)));
                ops.push(Op::Call(ending, Wait::Millis(0)));
                if restart {
                    ops.push(Op::Restart { after: Wait::Millis(pause), shift: 0 });
                }
            }
            Plan { others: settings.clone(), settings, ops }
        },
    )
}

fn ramp() -> impl Strategy<Value = Ramp> {
    (0..100_u64, 1..500_u64).prop_map(|(start_percent, time)| Ramp { start_percent, time })
}

fn settings(windows: Windows) -> impl Strategy<Value = Settings> {
    let probes = (1..4_u32, option::of(1..4_u32), option::weighted(0.3, share()));
    let timeout = prop_oneof![1 => Just(None), 3 => (1..300_u64).prop_map(Some)];
    let backoff = option::of((1..4_u64, 0..2000_u64));
    let ttl = prop_oneof![3 => Just(YEAR), 2 => Just(HOUR), 1 => 1..300_u64];
    let ramp = option::weighted(0.3, ramp());
    let abandoned = option::weighted(0.4, 1..200_u64);
    let times = (1..500_u64, backoff, timeout, ramp, ttl, abandoned);
    let all = (vec(rule(windows), 1..4), times, probes, proptest::bool::ANY);
    all.prop_map(|(rules, times, probes, metered)| {
        let (recovery_timeout, backoff, probe_timeout, ramp, closed_ttl, abandoned_after) = times;
        Settings {
            rules,
            recovery_timeout,
            backoff: backoff
                .map(|(multiplier, above)| Backoff { multiplier, max: recovery_timeout + above }),
            success_threshold: probes.0,
            max_probes: probes.1,
            probe_failure_rate: probes.2,
            probe_timeout,
            ramp,
            abandoned_after,
            closed_ttl,
            metered,
        }
    })
}

/// Any percentage, and often one that results meet exactly.
fn share() -> impl Strategy<Value = Share> {
    let exact = [(1, 4), (1, 3), (1, 2), (4, 5), (1, 1)];
    let exact = exact.map(|(numerator, denominator)| Share { numerator, denominator });
    prop_oneof![
        2 => (1..=100_u64).prop_map(Share::percent),
        1 => proptest::sample::select(exact.to_vec()),
    ]
}

fn rule(windows: Windows) -> impl Strategy<Value = Rule> {
    let calls = (1..20_u64).prop_map(Span::Calls);
    let time = (1..1000_u64).prop_map(Span::Time);
    let span = match windows {
        Windows::Counts => calls.boxed(),
        Windows::CountsAndTimes => prop_oneof![calls, time].boxed(),
    };
    let rate = (option::of(1..100_u64), share(), span, 1..25_u64).prop_map(
        |(slower_than, threshold, span, minimum_calls)| Rate {
            slower_than,
            threshold,
            span,
            minimum_calls,
        },
    );
    prop_oneof![
        1 => (1..6_u32).prop_map(Rule::ConsecutiveFailures),
        2 => rate.prop_map(Rule::Rate),
    ]
}

/// The same rules with other numbers. The description does not say how an update affects a probe
/// that is out or a ramp that has begun, so their settings stay.
fn vary(mut settings: Settings, factors: &[u64]) -> Settings {
    for rule in &mut settings.rules {
        match rule {
            Rule::ConsecutiveFailures(limit) => *limit *= u32::try_from(factors[0]).unwrap(),
            Rule::Rate(rate) => {
                rate.threshold = rate.threshold.times(factors[1]);
                rate.minimum_calls = rate.minimum_calls.div_ceil(factors[2]);
                rate.slower_than = rate.slower_than.map(|limit| limit * factors[3]);
                if let Span::Calls(calls) = &mut rate.span {
                    *calls = calls.div_ceil(factors[4]) + factors[5] - 1;
                }
            }
        }
    }
    settings.recovery_timeout = settings.recovery_timeout.div_ceil(factors[6]);
    if let Some(backoff) = &mut settings.backoff {
        backoff.multiplier = factors[7];
    }
    settings
}

fn op() -> impl Strategy<Value = Op> {
    let slot = || 0..SLOTS;
    let shift = prop_oneof![
        4 => Just(0),
        1 => Just(TWO_HOURS),
        1 => Just(-TWO_HOURS),
        1 => -10_000_000..10_000_000_i64,
    ];
    let after = prop_oneof![6 => wait(), 1 => (0..=1_i64).prop_map(Wait::UntilExpiry)];
    let down = (after, shift);
    let alive_after = prop_oneof![
        1 => Just(Wait::Millis(0)),
        4 => (1..200_u64).prop_map(Wait::Millis),
        2 => (-1..=1_i64).prop_map(Wait::UntilProbeTimeout),
    ];
    let by_hand =
        prop_oneof![Just(ByHand::ForceOpen), Just(ByHand::Disable), Just(ByHand::MetricsOnly)];
    prop_oneof![
        30 => (ending(), wait()).prop_map(|(ending, takes)| Op::Call(ending, takes)),
        15 => slot().prop_map(Op::Acquire),
        8 => (slot(), alive_after).prop_map(|(slot, after)| Op::Stream(slot, after)),
        8 => (slot(), ending()).prop_map(|(slot, ending)| Op::Finish(slot, ending)),
        3 => (slot(), ending(), wait()).prop_map(|(slot, end, took)| Op::Record(slot, end, took)),
        2 => slot().prop_map(Op::Cancel),
        6 => (slot(), wait()).prop_map(|(slot, after)| Op::GiveUp(slot, after)),
        1 => slot().prop_map(Op::Panic),
        10 => wait().prop_map(Op::Advance),
        // Otherwise few circuits would reach half-open.
        15 => Just(Op::Advance(Wait::UntilBoundary(0))),
        1 => Just(Op::ForceOpen),
        1 => Just(Op::Disable),
        1 => Just(Op::MetricsOnly),
        3 => (by_hand, wait()).prop_map(|(state, time)| Op::ForATime(state, time)),
        1 => Just(Op::Trip),
        6 => Just(Op::Reset),
        3 => Just(Op::Update),
        5 => down.prop_map(|(after, shift)| Op::Restart { after, shift }),
        2 => (-TWO_HOURS..TWO_HOURS).prop_map(Op::JumpWall),
    ]
}

fn ending() -> impl Strategy<Value = Ending> {
    let retry_after = || option::weighted(0.3, 1..3000_u64);
    prop_oneof![
        6 => Just(Ending::Success),
        6 => retry_after().prop_map(Ending::Failure),
        2 => retry_after().prop_map(Ending::Throttled),
        1 => Just(Ending::Ignore),
    ]
}

fn wait() -> impl Strategy<Value = Wait> {
    prop_oneof![
        6 => Just(Wait::Millis(0)),
        4 => (0..200_u64).prop_map(Wait::Millis),
        1 => (0..3000_u64).prop_map(Wait::Millis),
        8 => (-1..=1_i64).prop_map(Wait::UntilBoundary),
        3 => (0..=1_i64).prop_map(Wait::UntilSlow),
        2 => (0..=1_i64).prop_map(Wait::UntilAbandoned),
    ]
}
