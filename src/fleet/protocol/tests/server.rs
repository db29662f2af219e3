//! A reference of the server's side: what the Lua script does, in Rust.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    fleet::protocol::{
        command::{Answer, FleetCommand, ProbeResult, Request, Status, Verdict, Voter},
        fence::Fence,
        record::{Micros, Record, SLACK},
    },
    state::State,
};

/// How many states set by hand are known again.
const BY_HAND: usize = 8;

/// So many denials of a lease say that others want it.
const WANTED: u32 = 2;

/// What a server knows about one breaker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Server {
    /// `None` while the key is missing.
    pub(crate) entry: Option<Entry>,
    /// The highest number of a state, of which the key may be missing.
    pub(crate) top: u64,
    /// A defect to be found.
    pub(crate) bug: Option<Bug>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    pub(crate) record: Record,
    /// How long the state lasts in all.
    pub(crate) lasts: Option<Micros>,
    /// How long each vote counts.
    pub(crate) votes: BTreeMap<Voter, Span>,
    /// How long each lease counts.
    pub(crate) leases: BTreeMap<u64, Span>,
    /// How often one was denied, up to [`WANTED`].
    denials: u32,
    pub(crate) good: u32,
    pub(crate) bad: u32,
    /// The tokens of the last states set by hand, the newest first.
    pub(crate) by_hand: Vec<u64>,
}

/// Until when a vote or a lease lasts, and how long in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Span {
    pub(crate) until: Micros,
    lasts: Micros,
    /// The last result under the lease that was counted.
    counted: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Bug {
    /// The fence is `stored + 1`, whatever the caller has seen.
    FenceOfWhatIsStored,
    /// The numbers of a breaker whose key is missing begin anew.
    NumbersBeginAnew,
    /// A result counts if there is any lease.
    LeaseWithoutToken,
    /// A replica takes the answer that there is no key for a closed circuit.
    MissingKeyIsClosed,
    /// The server's clock goes back, and what lasts until then does.
    ClockThatGoesBackIsTrusted,
    /// A replica that knows the end of a state by its own clock is not heard.
    EndsAreNeverPutRight,
    /// Only the state that is stored is known again when it is sent again.
    SetIsForgotten,
    /// A state set by hand is sent again with another token.
    SetWithAnotherToken,
    /// A result that is sent again counts again.
    ResultCountsTwice,
    /// A replica whose result was counted keeps what it has decided by it.
    CountedIsKept,
}

impl Server {
    /// Carries out a command at this time. `true` if there is a new state, which becomes news.
    pub(crate) fn apply(&mut self, now: Micros, command: &FleetCommand) -> (Answer, bool) {
        if let Some(entry) = &mut self.entry
            && self.bug != Some(Bug::ClockThatGoesBackIsTrusted)
        {
            entry.clamp(now);
        }
        let before = self.record();
        let status = self.carry_out(now, command);
        let record = self.record();
        (Answer { status, record, now }, record != before)
    }

    pub(crate) fn record(&self) -> Record {
        self.entry.as_ref().map_or(Record::NONE, |entry| entry.record)
    }

    pub(crate) fn stored(&self) -> Fence {
        self.record().fence
    }

    fn carry_out(&mut self, now: Micros, command: &FleetCommand) -> Status {
        let (stored, seen) = (self.stored(), command.seen);
        match command.request {
            Request::Join(record) => {
                self.top = self.top.max(stored.number).max(record.fence.number);
                if record.fence > stored {
                    if record.by_hand {
                        self.note_by_hand(record.fence.token);
                    }
                    self.store(now, record);
                }
                return Status::Done;
            }
            Request::Set { token, state, lasts, opens } => {
                let is_known = self.entry.as_ref().is_some_and(|it| it.by_hand.contains(&token))
                    && self.bug != Some(Bug::SetIsForgotten);
                if stored.token != token && !is_known {
                    let fence = self.next_fence(seen, token);
                    self.note_by_hand(token);
                    self.store(now, Record { fence, state, until: lasts, opens, by_hand: true });
                }
                return Status::Done;
            }
            _ => {}
        }
        if stored > seen {
            return Status::Stale;
        }
        match command.request {
            Request::Vote { voter, token, open_for, opens, quorum } => {
                self.vote(now, seen, voter, quorum, (token, open_for, opens))
            }
            _ if stored < seen => Status::Behind,
            Request::Lease { lease, lasts, max } => self.lease(now, lease, lasts, max),
            Request::Release { lease } => {
                if let Some(entry) = &mut self.entry {
                    entry.leases.remove(&lease);
                }
                Status::Done
            }
            Request::Limit { left } => {
                let record = self.entry.as_mut().map(|entry| &mut entry.record);
                if let Some(until) = record.and_then(|record| record.until.as_mut())
                    && *until > now + left + SLACK
                    && self.bug != Some(Bug::EndsAreNeverPutRight)
                {
                    *until = now + left;
                }
                Status::Done
            }
            Request::Result(result) => self.result(now, seen, &result),
            Request::Recovered { token } => match &self.entry {
                Some(entry) if entry.record.state_at(now) == State::HalfOpen => {
                    self.close(now, seen, token)
                }
                _ => Status::Void,
            },
            Request::Join(_) | Request::Set { .. } => unreachable!("handled above"),
        }
    }

    fn vote(
        &mut self,
        now: Micros,
        seen: Fence,
        voter: Voter,
        quorum: u32,
        (token, open_for, opens): (u64, Micros, u32),
    ) -> Status {
        let stored = self.stored();
        if quorum > 1 || open_for == 0 {
            if stored < seen {
                return Status::Behind;
            }
            let entry = self.entry.get_or_insert_with(|| Entry::of(Record::NONE));
            if !entry.is_votable(now) {
                return Status::Done;
            }
            entry.votes.insert(voter, Span::from(now, open_for));
            entry.votes.retain(|_, vote| vote.until > now);
            let replicas: BTreeSet<u64> = entry.votes.keys().map(|voter| voter.replica).collect();
            // A vote that is taken back opens nothing, whatever other replicas' quorums are.
            if replicas.len() < quorum as usize || open_for == 0 {
                return Status::Counted;
            }
        } else if stored == seen && self.entry.as_ref().is_some_and(|entry| !entry.is_votable(now))
        {
            return Status::Done;
        }
        self.open(now, seen, token, open_for, opens)
    }

    fn open(
        &mut self,
        now: Micros,
        seen: Fence,
        token: u64,
        open_for: Micros,
        opens: u32,
    ) -> Status {
        let fence = self.next_fence(seen, token);
        let until = Some(open_for);
        self.store(now, Record { fence, state: State::Open, until, opens, by_hand: false });
        Status::Done
    }

    fn lease(&mut self, now: Micros, lease: u64, lasts: Micros, max: u32) -> Status {
        let Some(entry) = &mut self.entry else {
            return Status::Denied { until: now + lasts };
        };
        match entry.record.state_at(now) {
            State::HalfOpen => {}
            State::Open => {
                return Status::Denied { until: entry.record.until.unwrap_or(now + lasts) };
            }
            _ => return Status::Denied { until: now + lasts },
        }
        let counted = entry.leases.get(&lease).map_or(0, |lease| lease.counted);
        entry.leases.retain(|_, lease| lease.until > now);
        let is_renewal = entry.leases.contains_key(&lease);
        if !is_renewal && entry.leases.len() >= max as usize {
            entry.denials = (entry.denials + 1).min(WANTED);
            let first = entry.leases.values().map(|lease| lease.until).min();
            return Status::Denied { until: first.unwrap_or(now) };
        }
        entry.leases.insert(lease, Span { counted, ..Span::from(now, lasts) });
        let is_wanted = is_renewal && entry.denials >= WANTED;
        if is_wanted || !is_renewal {
            entry.denials = 0;
        }
        Status::Granted { is_wanted }
    }

    fn result(&mut self, now: Micros, seen: Fence, result: &ProbeResult) -> Status {
        let bug = self.bug;
        let Some(entry) = &mut self.entry else { return Status::Void };
        let is_valid = if bug == Some(Bug::LeaseWithoutToken) {
            !entry.leases.is_empty()
        } else {
            entry.leases.get(&result.lease).is_some_and(|lease| lease.until > now)
        };
        if !is_valid || entry.record.state_at(now) != State::HalfOpen {
            return Status::Void;
        }
        // It is sent again, because its answer was lost.
        if entry.leases.get(&result.lease).is_some_and(|lease| lease.counted >= result.serial)
            && bug != Some(Bug::ResultCountsTwice)
        {
            return Status::Counted;
        }
        match result.verdict {
            Verdict::Good => entry.good += 1,
            Verdict::Bad | Verdict::TimedOut => entry.bad += 1,
        }
        let opens_again = match (result.verdict, result.rate) {
            (Verdict::TimedOut, _) | (Verdict::Bad, None) => true,
            (Verdict::Good, None) if entry.good >= result.needed => false,
            (_, Some(rate)) if entry.good + entry.bad >= result.needed => {
                let (bad, all) = (u64::from(entry.bad), u64::from(entry.good + entry.bad));
                bad * 1_000_000 >= all * u64::from(rate)
            }
            _ => {
                if let Some(lease) = entry.leases.get_mut(&result.lease) {
                    lease.counted = result.serial;
                }
                return Status::Counted;
            }
        };
        if opens_again {
            return self.open(now, seen, result.token, result.open_for, result.opens);
        }
        self.close(now, seen, result.token)
    }

    fn close(&mut self, now: Micros, seen: Fence, token: u64) -> Status {
        let fence = self.next_fence(seen, token);
        self.store(now, Record { fence, ..Record::NONE });
        Status::Done
    }

    fn next_fence(&mut self, seen: Fence, token: u64) -> Fence {
        let stored = self.stored().number;
        let highest = match self.bug {
            Some(Bug::FenceOfWhatIsStored) => stored,
            Some(Bug::NumbersBeginAnew) => stored.max(seen.number),
            _ => stored.max(seen.number).max(self.top),
        };
        self.top = self.top.max(highest + 1);
        Fence { number: highest + 1, token }
    }

    /// The state with this token is set by hand.
    fn note_by_hand(&mut self, token: u64) {
        let by_hand = &mut self.entry.get_or_insert_with(|| Entry::of(Record::NONE)).by_hand;
        if !by_hand.contains(&token) {
            by_hand.insert(0, token);
            by_hand.truncate(BY_HAND);
        }
    }

    /// Stores a record whose end is what is left of it. Votes, leases and counts belong to the
    /// state before.
    fn store(&mut self, now: Micros, record: Record) {
        let lasts = record.until;
        let by_hand = self.entry.take().map(|entry| entry.by_hand).unwrap_or_default();
        let record = Record { by_hand: by_hand.contains(&record.fence.token), ..record };
        self.entry = Some(Entry { lasts, by_hand, ..Entry::of(record.rebased(0, now)) });
    }
}

impl Span {
    const fn from(now: Micros, lasts: Micros) -> Self {
        Self { until: now + lasts, lasts, counted: 0 }
    }
}

impl Entry {
    fn of(record: Record) -> Self {
        let (votes, leases) = (BTreeMap::new(), BTreeMap::new());
        let (lasts, by_hand) = (None, Vec::new());
        Self { record, lasts, votes, leases, denials: 0, good: 0, bad: 0, by_hand }
    }

    /// Once the clock has gone back, nothing lasts for longer than it was meant to.
    fn clamp(&mut self, now: Micros) {
        for span in self.votes.values_mut().chain(self.leases.values_mut()) {
            span.until = span.until.min(now + span.lasts);
        }
        self.record = self.record.for_at_most(self.lasts, now);
    }

    /// Whether a trip says something about this state.
    fn is_votable(&self, now: Micros) -> bool {
        matches!(self.record.state_at(now), State::Closed | State::HalfOpen)
    }
}
