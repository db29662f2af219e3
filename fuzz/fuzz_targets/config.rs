//! Parses arbitrary bytes as the configuration of one breaker and of many.
#![no_main]

#[path = "../checks/config.rs"]
mod config;
#[path = "../checks/traffic.rs"]
mod traffic;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| config::check(bytes));
