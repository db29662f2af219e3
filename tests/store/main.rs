//! Stores: what every store keeps, and what a store in trouble must not do to a breaker.

#[path = "../support/moody.rs"]
mod moody;

mod contract;
mod faults;
mod file_store;
mod history;
mod last_words;
mod names;
mod scale;
mod stores;
