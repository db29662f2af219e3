//! A breaker for operators.

use super::Breaker;
use crate::{
    breaker::{machine::Machine, status::BreakerStatus},
    state::State,
};

impl Breaker {
    /// The state without the calls of the windows.
    pub(crate) fn status(&self) -> BreakerStatus {
        let status = self.cell.inspect(Machine::status);
        // `None` is impossible: a handle keeps its cell leased.
        status.unwrap_or_else(|| BreakerStatus {
            state: State::Closed,
            since: None,
            until: None,
            reason: None,
            remark: None,
            stats: self.stats(),
            config: self.config(),
        })
    }
}
