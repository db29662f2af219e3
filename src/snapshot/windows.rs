//! The windows of a breaker's rules as data.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::seconds::exact_span;

/// The window of one rate rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WindowSnapshot {
    /// `failure_rate` or `slow_call_rate`.
    pub rule: String,
    /// The calls in the window.
    pub calls: u64,
    /// The failed ones among them.
    pub failures: u64,
    /// The slow ones among them.
    pub slow_calls: u64,
    /// The calls in detail.
    #[serde(flatten)]
    pub content: WindowContent,
    /// In a stored snapshot, the calls of a count window whose run lengths would be longer, three
    /// calls a character; those in `results` come after them. Early versions do not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) packed: Option<String>,
}

/// The calls in a window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WindowContent {
    /// A count window as run lengths, the oldest call first: `97.f2s`. `.` succeeded, `f` failed,
    /// `s` was slow, `b` was both; a number repeats the letter after it.
    Results(String),
    /// A time window: its buckets, the newest first, without the empty ones (except the newest).
    Buckets(Vec<BucketSnapshot>),
}

/// A bucket of a time window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BucketSnapshot {
    /// How long before the snapshot the bucket began.
    #[serde(with = "exact_span")]
    pub age: Duration,
    /// The calls in it.
    pub calls: u64,
    /// The failed ones.
    pub failures: u64,
    /// The slow ones.
    pub slow_calls: u64,
}

impl BucketSnapshot {
    pub(crate) const fn new(age: Duration, calls: u64, failures: u64, slow_calls: u64) -> Self {
        Self { age, calls, failures, slow_calls }
    }
}
