//! What operators have asked, and what is not answered yet.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use smol_str::SmolStr;

use super::{
    message::Ask,
    questions::Present,
    replica::{FleetError, FleetView},
};
use crate::reply::Replier;

/// How often it is asked whether all have answered.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// What is asked, and not answered yet.
#[derive(Default)]
pub(super) struct Inquiries {
    /// Taken up once it is known whether the fleet is reached.
    pub(super) new: Vec<Ask>,
    /// By the breaker's name.
    pub(super) open: HashMap<String, Inquiry>,
    /// Questions of replicas that this one has not answered yet.
    pub(super) asked: Vec<(u64, SmolStr)>,
}

/// A question to all replicas about one breaker.
pub(super) struct Inquiry {
    pub(super) question: u64,
    pub(super) present: Present,
    pub(super) deadline: Instant,
    pub(super) repliers: Vec<Replier<Result<Vec<FleetView>, FleetError>>>,
}

impl Inquiries {
    /// When to look whether all have answered.
    pub(super) fn next_moment(&self) -> Option<Instant> {
        (!self.open.is_empty()).then(|| Instant::now() + POLL_INTERVAL)
    }

    /// Nothing can be asked at the moment.
    pub(super) fn fail(&mut self, reason: &str) {
        self.asked.clear();
        for ask in self.new.drain(..) {
            ask.fail(reason);
        }
        for replier in self.open.drain().flat_map(|(_, inquiry)| inquiry.repliers) {
            replier.send(Err(FleetError::not_reached(reason)));
        }
    }
}
