//! Outcomes that are known when the body of a response has ended.
//!
//! [`OnBodyEnd`] says so on a layer, and the responses then have a [`ResponseBody`].

mod length;
mod on_body_end;
mod open_call;
mod pending;
mod response_body;
mod stall;

pub use on_body_end::{OnBodyEnd, SlowUntil};
pub use response_body::ResponseBody;
