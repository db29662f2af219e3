//! When a replica asks for a lease, renews it, and gives it back.
//!
//! A lease is fetched in the background for a half-open circuit that has had a call within the last
//! second, so no call waits for one. Calls are noted from a second before the end of the open time,
//! and the lease is fetched as soon as it has ended. It is given back after a second without a
//! call. If it went back unused, the next one is kept for twice as long: otherwise replicas with a
//! call now and then would pass a lease round without ever using it.

use std::time::{Duration, Instant};

use super::protocol::fence::Fence;
use crate::{
    breaker::sharing::{DEMAND_TIME, Lease, SharedView},
    clock::Tick,
};

/// How long the first lease of a half-open state is kept without a call.
const FIRST_HOLD: Duration = Duration::from_secs(1);
const LONGEST_HOLD: Duration = Duration::from_secs(60);

/// The leases of one breaker.
#[derive(Debug)]
pub(super) struct Leases {
    /// Those that this replica holds, to be given back when the breaker is gone.
    held: Vec<u64>,
    /// The state that they belong to.
    fence: Fence,
    hold: Duration,
    /// There is no lease before this time.
    denied_until: Option<Instant>,
    /// All are renewed at once.
    renews: bool,
}

/// What to ask of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Ask,
    Renew(u64),
    Return(u64),
}

impl Leases {
    pub(super) fn new() -> Self {
        Self {
            held: Vec::new(),
            fence: Fence::NONE,
            hold: FIRST_HOLD,
            denied_until: None,
            renews: false,
        }
    }

    pub(super) fn held(&self) -> &[u64] {
        &self.held
    }

    /// What to do now for a circuit in the state of this fence.
    pub(super) fn wishes(
        &mut self,
        view: &SharedView,
        fence: Fence,
        lasts: Duration,
        now: Instant,
    ) -> Vec<Wish> {
        if !view.is_probing {
            self.held.clear();
            return Vec::new();
        }
        if fence != self.fence {
            *self = Self { fence, ..Self::new() };
        }
        self.held.retain(|token| view.leases.iter().any(|lease| lease.token == *token));
        let mut wishes: Vec<Wish> =
            view.leases.iter().filter_map(|lease| self.wish_for(lease, view.now, lasts)).collect();
        self.renews = false;
        let is_denied = self.denied_until.is_some_and(|until| now < until);
        if view.wants_lease && !is_denied {
            wishes.push(Wish::Ask);
        }
        wishes
    }

    fn wish_for(&self, lease: &Lease, now: Tick, lasts: Duration) -> Option<Wish> {
        let is_idle = lease.probe.is_none() && now.since(lease.idle_since) >= self.hold;
        if is_idle {
            return Some(Wish::Return(lease.token));
        }
        let left = lease.until.since(now);
        (left < lasts / 2 || self.renews).then_some(Wish::Renew(lease.token))
    }

    /// Whether to watch for calls: the circuit becomes half-open within a second. Those who meet
    /// it say that this replica would use a lease.
    pub(super) fn watches_calls(view: &SharedView) -> bool {
        let is_near = |until: Tick| until.since(view.now) <= DEMAND_TIME;
        !view.has_demand && view.open_until.is_some_and(is_near)
    }

    /// How soon to look again, if at all.
    pub(super) fn recheck_after(&self, view: &SharedView, lasts: Duration) -> Option<Duration> {
        if let Some(until) = view.open_until {
            let left = until.since(view.now);
            let before_watch = left.saturating_sub(DEMAND_TIME);
            let wait = if before_watch.is_zero() { left } else { before_watch };
            return Some(wait.max(Duration::from_millis(1)));
        }
        if !view.is_probing {
            return None;
        }
        let soonest = Duration::from_millis(10);
        let of_leases = view.leases.iter().map(|lease| {
            let renewal = lease.until.since(view.now).saturating_sub(lasts / 2);
            let idle = self.hold.saturating_sub(view.now.since(lease.idle_since));
            if lease.probe.is_some() { renewal } else { renewal.min(idle) }
        });
        let denied = self
            .denied_until
            .filter(|_| view.wants_lease)
            .map(|until| until.saturating_duration_since(Instant::now()));
        of_leases.chain(denied).min().map(|wait| wait.max(soonest))
    }

    /// The server's clock has stepped: it may take leases for expired, or let them last longer.
    pub(super) fn renew_all(&mut self) {
        self.renews = true;
    }

    pub(super) fn granted(&mut self, token: u64) {
        self.denied_until = None;
        if !self.held.contains(&token) {
            self.held.push(token);
        }
    }

    pub(super) fn denied(&mut self, wait: Duration, now: Instant) {
        // One that is not used goes back before it expires. And not all replicas at one moment.
        let wait = wait.min(FIRST_HOLD);
        self.denied_until = Some(now + wait + Duration::from_millis(fastrand::u64(1..20)));
    }

    /// A lease went back without having been used last.
    pub(super) fn returned(&mut self, token: u64) {
        self.held.retain(|held| *held != token);
        self.hold = (self.hold * 2).min(LONGEST_HOLD);
    }
}
