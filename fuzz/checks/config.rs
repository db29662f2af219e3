//! A configuration file is either rejected with a reason or gives a breaker that works.

use tower_breaker::{Breaker, Config, clock::ManualClock, config::ConfigFile};

use super::traffic;

pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Config::from_json(text) {
        Ok(config) => works(&config),
        Err(error) => assert!(!error.faults().is_empty() && !error.to_string().is_empty()),
    }
    match ConfigFile::from_json(text) {
        Ok(file) => {
            works(file.get("an unlisted name"));
            // A few breakers are enough; more of them are checked alike.
            file.names().take(8).for_each(|name| works(file.get(name)));
        }
        Err(error) => assert!(!error.faults().is_empty() && !error.to_string().is_empty()),
    }
}

fn works(config: &Config) {
    config.validate().expect("a parsed configuration is valid");
    let json = serde_json::to_string(config).expect("a configuration can be encoded");
    assert_eq!(Config::from_json(&json).as_ref(), Ok(config));

    let clock = ManualClock::new();
    let builder = Breaker::builder("fuzzed").config(config.clone()).clock(clock.clone());
    let breaker = builder.build().expect("a valid configuration gives a breaker");
    traffic::make(&breaker, &clock);
    breaker.update(Config::default()).expect("the defaults are valid");
    traffic::make(&breaker, &clock);
    breaker.update(config.clone()).expect("the configuration is still valid");
    traffic::make(&breaker, &clock);
}
