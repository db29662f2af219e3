//! What a run does: random settings, and random operations on a breaker that has them.

use proptest::{
    collection::vec,
    option,
    prelude::{Just, Strategy},
    prop_oneof,
};

use super::settings::{Backoff, Ramp, Rate, Rule, Settings, Span};

/// An operation. One that does not apply, such as the end of a call that was never admitted, is
/// passed over.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// A whole call: time passes between its admission and its end.
    Call(Ending, Wait),
    Acquire(usize),
    Finish(usize, Ending),
    /// Ends with a time that the caller measured.
    Report(usize, Ending, Wait),
    Cancel(usize),
    Advance(Wait),
    ForceOpen,
    Disable,
    MetricsOnly,
    Reset,
    /// Takes the other settings of the run, or the first ones again.
    Update,
    Restart {
        after: Wait,
        shift: i64,
    },
    /// The wall clock jumps, and nothing else.
    JumpWall(i64),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Ending {
    Success,
    Failure(Option<u64>),
    Throttled(Option<u64>),
    Ignore,
}

/// A time, which may be meant in terms of what is about to happen.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wait {
    Millis(u64),
    /// Until time alone changes something, or so many milliseconds more.
    Boundary(i64),
    /// As long as a call may take that is not slow, or so many milliseconds more.
    Slow(i64),
}

/// The slots for calls that overlap.
const SLOTS: usize = 4;
const TWO_HOURS: i64 = 2 * 3600 * 1000;

/// Settings, and others for `update` that differ from them in numbers only.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    pub(crate) others: Settings,
    pub(crate) ops: Vec<Op>,
}

/// Which kinds of windows a run has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Windows {
    Counts,
    CountsAndTimes,
}

impl Plan {
    /// The settings that one update after another takes.
    pub(crate) fn updates(&self) -> impl Iterator<Item = &Settings> {
        [&self.others, &self.settings].into_iter().cycle()
    }

    /// Leaves the open time as it is in updates. A restart honours at most the open time that
    /// the settings of today give, and so differs from none where they were made shorter.
    pub(crate) fn with_one_open_time(mut self) -> Self {
        self.others.recovery = self.settings.recovery;
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

/// A plan that begins in a ramp, for few random ones come to it.
pub(crate) fn ramping() -> impl Strategy<Value = Plan> {
    (plan(Windows::Counts), ramp()).prop_map(|(mut plan, ramp)| {
        let start = [
            Op::Call(Ending::Failure(None), Wait::Millis(0)),
            Op::Advance(Wait::Boundary(0)),
            Op::Call(Ending::Success, Wait::Millis(0)),
        ];
        for settings in [&mut plan.settings, &mut plan.others] {
            settings.ramp = Some(ramp);
            settings.rules = vec![Rule::Row(1)];
            settings.success_threshold = 1;
            settings.probe_failure_percent = None;
        }
        plan.ops.splice(..0, start);
        plan
    })
}

fn ramp() -> impl Strategy<Value = Ramp> {
    (0..100_u64, 1..500_u64).prop_map(|(start_percent, time)| Ramp { start_percent, time })
}

fn settings(windows: Windows) -> impl Strategy<Value = Settings> {
    let probes = (1..4_u32, option::of(1..4_u32), option::weighted(0.3, 1..=100_u64));
    let timeout = prop_oneof![1 => Just(None), 3 => (1..300_u64).prop_map(Some)];
    let backoff = option::of((1..4_u64, 0..2000_u64));
    let times = (1..500_u64, backoff, timeout, option::weighted(0.3, ramp()));
    (vec(rule(windows), 1..4), times, probes).prop_map(
        |(rules, (recovery, backoff, probe_timeout, ramp), probes)| Settings {
            rules,
            recovery,
            backoff: backoff
                .map(|(multiplier, above)| Backoff { multiplier, max: recovery + above }),
            success_threshold: probes.0,
            max_probes: probes.1,
            probe_failure_percent: probes.2,
            probe_timeout,
            ramp,
        },
    )
}

fn rule(windows: Windows) -> impl Strategy<Value = Rule> {
    let calls = (1..20_u64).prop_map(Span::Calls);
    let time = (1..1000_u64).prop_map(Span::Time);
    let span = match windows {
        Windows::Counts => calls.boxed(),
        Windows::CountsAndTimes => prop_oneof![calls, time].boxed(),
    };
    let rate = (option::of(1..100_u64), 1..=100_u64, span, 1..25_u64).prop_map(
        |(slower_than, percent, span, minimum)| Rate { slower_than, percent, span, minimum },
    );
    prop_oneof![1 => (1..6_u32).prop_map(Rule::Row), 2 => rate.prop_map(Rule::Rate)]
}

/// The same rules with other numbers. What runs or is counted under the old numbers stays as it
/// is; the description does not say what becomes of a probe's timeout or of a ramp, so those
/// stay.
fn vary(mut settings: Settings, factors: &[u64]) -> Settings {
    for rule in &mut settings.rules {
        match rule {
            Rule::Row(limit) => *limit *= u32::try_from(factors[0]).unwrap(),
            Rule::Rate(rate) => {
                rate.percent = (rate.percent * factors[1]).min(100);
                rate.minimum = rate.minimum.div_ceil(factors[2]);
                rate.slower_than = rate.slower_than.map(|limit| limit * factors[3]);
                if let Span::Calls(calls) = &mut rate.span {
                    *calls = calls.div_ceil(factors[4]) + factors[5] - 1;
                }
            }
        }
    }
    settings.recovery = settings.recovery.div_ceil(factors[6]);
    if let Some(backoff) = &mut settings.backoff {
        backoff.multiplier = factors[7];
    }
    settings
}

fn op() -> impl Strategy<Value = Op> {
    let slot = || 0..SLOTS;
    let down = (wait(), prop_oneof![4 => Just(0), 1 => Just(TWO_HOURS), 1 => Just(-TWO_HOURS)]);
    prop_oneof![
        30 => (ending(), wait()).prop_map(|(ending, takes)| Op::Call(ending, takes)),
        15 => slot().prop_map(Op::Acquire),
        8 => (slot(), ending()).prop_map(|(slot, ending)| Op::Finish(slot, ending)),
        3 => (slot(), ending(), wait()).prop_map(|(slot, end, took)| Op::Report(slot, end, took)),
        4 => slot().prop_map(Op::Cancel),
        10 => wait().prop_map(Op::Advance),
        // Else few circuits would come as far as half-open.
        15 => Just(Op::Advance(Wait::Boundary(0))),
        1 => Just(Op::ForceOpen),
        1 => Just(Op::Disable),
        1 => Just(Op::MetricsOnly),
        6 => Just(Op::Reset),
        3 => Just(Op::Update),
        5 => down.prop_map(|(after, shift)| Op::Restart { after, shift }),
        2 => (-TWO_HOURS..TWO_HOURS).prop_map(Op::JumpWall),
    ]
}

fn ending() -> impl Strategy<Value = Ending> {
    let asked = || option::weighted(0.3, 1..3000_u64);
    prop_oneof![
        6 => Just(Ending::Success),
        6 => asked().prop_map(Ending::Failure),
        2 => asked().prop_map(Ending::Throttled),
        1 => Just(Ending::Ignore),
    ]
}

fn wait() -> impl Strategy<Value = Wait> {
    prop_oneof![
        6 => Just(Wait::Millis(0)),
        4 => (0..200_u64).prop_map(Wait::Millis),
        1 => (0..3000_u64).prop_map(Wait::Millis),
        8 => (-1..=1_i64).prop_map(Wait::Boundary),
        3 => (0..=1_i64).prop_map(Wait::Slow),
    ]
}
