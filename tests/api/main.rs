//! The public interface: configuration, events, auto traits, and programs that must not compile.

#[path = "../support/mod.rs"]
mod support;

mod auto_traits;
mod compile_fail;
mod config;
mod construction;
mod error_chains;
mod events;
mod listener_panics;
mod newcomer;
mod optional;
mod readme;

/// Does nothing, unless this process is the child of another test.
#[test]
fn child_process() {
    use config::stores::{STORE_OF_ENVIRONMENT, open_store_of_environment};

    support::child::enter(&[(STORE_OF_ENVIRONMENT, open_store_of_environment)]);
}
