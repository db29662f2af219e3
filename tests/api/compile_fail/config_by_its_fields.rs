//! Settings may be added later, so a configuration cannot be a struct literal.
//!
//! E0639: Config {

use tower_breaker::Config;

fn main() {
    let mut config = Config::default();
    config.success_threshold = 2;
    #[cfg(feature = "wrong")]
    let config = Config { success_threshold: 2, ..config };
    drop(config);
}
