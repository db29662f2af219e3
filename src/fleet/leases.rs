//! When a replica asks for a lease, renews it, and gives it back.
//!
//! A lease is fetched in the background for a half-open circuit that has had a call within the last
//! second, so no call waits for one. Calls are noted from a second before the end of the open time,
//! and the lease is fetched as soon as it has ended. It is given back after a second without a
//! call. If it went back unused, the next one is kept for twice as long: otherwise replicas with a
//! call now and then would pass a lease round without ever using it. If other replicas have calls
//! meanwhile and ask for it, which the answer to its renewal says, it goes back after a second all
//! the same.

use std::time::{Duration, Instant};

use super::{protocol::fence::Fence, retry_pause::RetryPause};
use crate::{
    breaker::sharing::{DEMAND_TIME, Lease, SharedView},
    clock::Tick,
};

/// How long the first lease of a half-open state is kept without a call.
const FIRST_HOLD: Duration = Duration::from_secs(1);
/// If calls are rarer than this, none may ever meet a lease.
const LONGEST_HOLD: Duration = Duration::from_secs(3600);

/// The leases of one breaker.
#[derive(Debug)]
pub(super) struct Leases {
    /// Those that this replica holds, to be given back when the breaker is gone.
    held: Vec<u64>,
    /// The state that they belong to.
    fence: Fence,
    /// How long a lease is kept without a call, unless others want it.
    hold: Duration,
    is_wanted: bool,
    /// There is no lease before this time.
    denied_until: Option<Instant>,
    /// No lease is renewed before this time.
    renewal_denied_until: Option<Instant>,
    /// For what the server has ignored because it was late.
    pause: RetryPause,
    /// All are renewed at once.
    renews: bool,
}

/// What to ask of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaseRequest {
    Acquire,
    Renew(u64),
    Return(u64),
}

impl Leases {
    pub(super) fn new() -> Self {
        Self {
            held: Vec::new(),
            fence: Fence::NONE,
            hold: FIRST_HOLD,
            is_wanted: false,
            denied_until: None,
            renewal_denied_until: None,
            pause: RetryPause::default(),
            renews: false,
        }
    }

    pub(super) fn held(&self) -> &[u64] {
        &self.held
    }

    /// What to do now for a circuit in the state of this fence.
    pub(super) fn requests(
        &mut self,
        view: &SharedView,
        fence: Fence,
        lasts: Duration,
        now: Instant,
    ) -> Vec<LeaseRequest> {
        if !view.is_probing {
            self.held.clear();
            return Vec::new();
        }
        if fence != self.fence {
            *self = Self { fence, ..Self::new() };
        }
        self.held.retain(|token| view.leases.iter().any(|lease| lease.token == *token));
        let is_denied = |until: Option<Instant>| until.is_some_and(|until| now < until);
        let is_renewal_denied = is_denied(self.renewal_denied_until);
        let mut requests: Vec<LeaseRequest> = view
            .leases
            .iter()
            .filter_map(|lease| self.request_for(lease, view.now, lasts))
            .filter(|request| !(is_renewal_denied && matches!(request, LeaseRequest::Renew(_))))
            .collect();
        self.renews = false;
        if view.wants_lease && !is_denied(self.denied_until) {
            requests.push(LeaseRequest::Acquire);
        }
        requests
    }

    fn request_for(&self, lease: &Lease, now: Tick, lasts: Duration) -> Option<LeaseRequest> {
        let is_idle = lease.probe.is_none() && now.since(lease.idle_since) >= self.hold();
        if is_idle {
            return Some(LeaseRequest::Return(lease.token));
        }
        let left = lease.until.since(now);
        (left < lasts / 2 || self.renews).then_some(LeaseRequest::Renew(lease.token))
    }

    /// Whether to watch for calls: the circuit becomes half-open within a second. Callers that meet
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
        let left = |until: Instant| until.saturating_duration_since(Instant::now());
        let renewal_denied = self.renewal_denied_until.map(left).unwrap_or_default();
        let of_leases = view.leases.iter().map(|lease| {
            let renewal = lease.until.since(view.now).saturating_sub(lasts / 2);
            let renewal = renewal.max(renewal_denied);
            let idle = self.hold().saturating_sub(view.now.since(lease.idle_since));
            if lease.probe.is_some() { renewal } else { renewal.min(idle) }
        });
        let denied = self.denied_until.filter(|_| view.wants_lease).map(left);
        of_leases.chain(denied).min().map(|wait| wait.max(soonest))
    }

    /// The server's clock has stepped: it may take leases for expired, or let them last longer.
    pub(super) fn renew_all(&mut self) {
        self.renews = true;
        self.renewal_denied_until = None;
    }

    fn hold(&self) -> Duration {
        if self.is_wanted { FIRST_HOLD } else { self.hold }
    }

    pub(super) fn granted(&mut self, token: u64, is_wanted: bool) {
        (self.denied_until, self.renewal_denied_until) = (None, None);
        self.is_wanted = is_wanted;
        self.pause.reset();
        if !self.held.contains(&token) {
            self.held.push(token);
        }
    }

    pub(super) fn denied(&mut self, request: LeaseRequest, wait: Duration, now: Instant) {
        // One that is not used goes back before it expires. And not all replicas at one moment.
        let wait = wait.min(FIRST_HOLD);
        self.pause.reset();
        self.wait(request, now + wait + Duration::from_millis(fastrand::u64(1..20)));
    }

    /// The server has ignored the request, and would do so again at once.
    pub(super) fn late(&mut self, request: LeaseRequest, now: Instant) {
        let until = now + self.pause.next();
        self.wait(request, until);
    }

    fn wait(&mut self, request: LeaseRequest, until: Instant) {
        match request {
            LeaseRequest::Renew(_) => self.renewal_denied_until = Some(until),
            LeaseRequest::Acquire | LeaseRequest::Return(_) => self.denied_until = Some(until),
        }
    }

    /// A lease went back without having been used last.
    pub(super) fn returned(&mut self, token: u64) {
        self.held.retain(|held| *held != token);
        if !std::mem::take(&mut self.is_wanted) {
            self.hold = (self.hold * 2).min(LONGEST_HOLD);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{config::Config, state::State};

    const LASTS: Duration = Duration::from_secs(5);

    /// A half-open circuit whose lease has expired while its probe is out.
    fn view() -> SharedView {
        let now = Tick::new(Duration::from_secs(100));
        let probe = Some(1);
        SharedView {
            now,
            config: Arc::new(Config::default()),
            decisions: 0,
            decided: None,
            results: Vec::new(),
            leases: vec![Lease { token: 7, until: now, probe, idle_since: now }],
            state: State::HalfOpen,
            remark: None,
            open_until: None,
            has_demand: true,
            is_probing: true,
            wants_lease: false,
            next_open_time: LASTS,
        }
    }

    #[test]
    fn a_renewal_that_was_denied_waits_until_the_end_of_the_denial() {
        let (mut leases, now, view) = (Leases::new(), Instant::now(), view());
        let requests = |leases: &mut Leases, now| leases.requests(&view, Fence::NONE, LASTS, now);
        assert_eq!(requests(&mut leases, now), [LeaseRequest::Renew(7)]);
        leases.denied(LeaseRequest::Renew(7), LASTS, now + LASTS);
        assert_eq!(requests(&mut leases, now + LASTS), []);
        assert!(leases.recheck_after(&view, LASTS).unwrap() > FIRST_HOLD);
        assert_eq!(requests(&mut leases, now + 2 * LASTS), [LeaseRequest::Renew(7)]);
    }

    /// The view of a lease that is not used, after this time.
    fn idle(time: Duration) -> SharedView {
        let mut view = view();
        let lease = &mut view.leases[0];
        (lease.probe, lease.until) = (None, view.now.after(time).after(LASTS));
        view.now = view.now.after(time);
        view
    }

    #[test]
    fn an_unused_lease_is_kept_for_longer_each_time_unless_others_want_it() {
        let (mut leases, now) = (Leases::new(), Instant::now());
        let goes_back = |leases: &mut Leases, seconds| {
            let view = idle(Duration::from_millis(seconds * 1000));
            leases.requests(&view, Fence::NONE, LASTS, now) == [LeaseRequest::Return(7)]
        };
        for hold in [1, 2, 4, 8, 16, 32, 64] {
            leases.granted(7, false);
            assert!(!goes_back(&mut leases, hold - 1) && goes_back(&mut leases, hold));
            leases.returned(7);
        }
        // A replica with calls need not wait for that.
        leases.granted(7, true);
        assert!(!goes_back(&mut leases, 0) && goes_back(&mut leases, 1));
        assert!(leases.recheck_after(&idle(Duration::ZERO), LASTS).unwrap() <= FIRST_HOLD);
        leases.returned(7);
        leases.granted(7, false);
        assert!(!goes_back(&mut leases, 127) && goes_back(&mut leases, 128));
        for _ in 0..20 {
            leases.returned(7);
        }
        assert!(goes_back(&mut leases, LONGEST_HOLD.as_secs()));
    }

    #[test]
    fn requests_that_stay_late_wait_for_longer_each_time() {
        let (mut leases, now, view) = (Leases::new(), Instant::now(), view());
        let mut at = now;
        let mut pauses = Vec::new();
        for _ in 0..10 {
            leases.late(LeaseRequest::Renew(7), at);
            assert_eq!(leases.requests(&view, Fence::NONE, LASTS, at), []);
            let until = leases.renewal_denied_until.unwrap();
            pauses.push(until - at);
            at = until;
        }
        assert!(pauses[9] >= Duration::from_secs(1) && pauses[0] < pauses[9] / 10, "{pauses:?}");
        leases.granted(7, false);
        leases.late(LeaseRequest::Renew(7), at);
        assert!(leases.renewal_denied_until.unwrap() - at < pauses[9] / 10);
    }

    #[test]
    fn a_further_lease_that_was_denied_delays_no_renewal() {
        let (mut leases, now, view) = (Leases::new(), Instant::now(), view());
        leases.denied(LeaseRequest::Acquire, LASTS, now);
        assert_eq!(leases.requests(&view, Fence::NONE, LASTS, now), [LeaseRequest::Renew(7)]);
    }
}
