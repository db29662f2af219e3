//! Decodes arbitrary bytes as a snapshot.
#![no_main]

#[path = "../checks/snapshot.rs"]
mod snapshot;
#[path = "../checks/traffic.rs"]
mod traffic;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| snapshot::check(bytes));
