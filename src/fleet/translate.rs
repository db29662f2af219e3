//! What a machine says, in the words and units of the protocol.

use super::protocol::{
    command::Verdict,
    member::{Cause, Decision},
    record::Micros,
};
use crate::{
    breaker::sharing::{Decided, ProbeEnd},
    clock::Tick,
    event::Reason,
};

/// A share between 0 and 1.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the share is checked")]
pub(super) fn to_millionths(share: f64) -> u32 {
    (share * 1_000_000.0).round() as u32
}

pub(super) fn to_decision(decided: &Decided) -> Decision {
    Decision {
        cause: to_cause(decided.reason, decided.probe),
        state: decided.state,
        until: decided.until.filter(|until| *until != Tick::NEVER).map(to_micros),
        opens: decided.opens,
    }
}

pub(super) fn to_cause(reason: Reason, probe: Option<ProbeEnd>) -> Cause {
    match (reason, probe) {
        (Reason::Manual | Reason::Reset, _) => Cause::ByHand,
        (Reason::Restored, _) => Cause::Restored,
        (_, Some(end)) => {
            let verdict = match end {
                ProbeEnd { timed_out: true, .. } => Verdict::TimedOut,
                ProbeEnd { is_good: true, .. } => Verdict::Good,
                ProbeEnd { .. } => Verdict::Bad,
            };
            Cause::Probe { lease: end.lease, serial: end.serial, verdict }
        }
        (Reason::ProbesSucceeded, None) => Cause::RecoveredAlone,
        _ => Cause::Trip,
    }
}

/// The breaker's own clock, in the protocol's unit.
pub(super) fn to_micros(tick: Tick) -> Micros {
    tick.as_nanos() / 1000
}

pub(super) fn to_tick(time: Micros) -> Tick {
    Tick::from_nanos(time.saturating_mul(1000))
}
