//! Settings may be added later: they are changed from the default, one by one.
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
