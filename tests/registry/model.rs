//! A registry against a simple model.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;
use tower_breaker::{Registry, State, config::ConfigFile};

#[derive(Debug, Clone)]
enum Step {
    GetOrCreate(u8),
    Get(u8),
    Remove(u8),
    Open(u8),
    ResetAll,
    /// New defaults, and settings of one breaker, as seconds.
    Reload(u64, Option<(u8, u64)>),
}

fn step() -> impl Strategy<Value = Step> {
    let name = 0..5_u8;
    prop_oneof![
        4 => name.clone().prop_map(Step::GetOrCreate),
        1 => name.clone().prop_map(Step::Get),
        1 => name.clone().prop_map(Step::Remove),
        2 => name.clone().prop_map(Step::Open),
        1 => Just(Step::ResetAll),
        2 => (1..9_u64, proptest::option::of((name, 10..19_u64)))
            .prop_map(|(defaults, own)| Step::Reload(defaults, own)),
    ]
}

/// What is known of a breaker.
type Known = (State, u64);

struct Model {
    defaults: u64,
    own: Option<(u8, u64)>,
    breakers: BTreeMap<u8, Known>,
}

impl Model {
    fn recovery_timeout(&self, name: u8) -> u64 {
        self.own.filter(|own| own.0 == name).map_or(self.defaults, |own| own.1)
    }
}

proptest! {
    /// A name is one breaker until it is removed, with the newest settings and the state that it
    /// was brought to.
    #[test]
    fn a_registry_has_the_breakers_states_and_settings_of_the_model(
        steps in proptest::collection::vec(step(), 1..100),
    ) {
        let registry = Registry::builder().build().unwrap();
        let mut model = Model { defaults: 60, own: None, breakers: BTreeMap::new() };
        for step in steps {
            match step {
                Step::GetOrCreate(name) => {
                    registry.get_or_create(name.to_string()).unwrap();
                    let timeout = model.recovery_timeout(name);
                    model.breakers.entry(name).or_insert((State::Closed, timeout));
                }
                Step::Get(name) => {
                    let found = registry.get(&name.to_string());
                    prop_assert_eq!(found.is_some(), model.breakers.contains_key(&name));
                }
                Step::Remove(name) => {
                    let removed = registry.remove(&name.to_string());
                    let expected = model.breakers.remove(&name);
                    prop_assert_eq!(removed.map(|it| it.state()), expected.map(|it| it.0));
                }
                Step::Open(name) => {
                    if let Some(known) = model.breakers.get_mut(&name) {
                        registry.get_or_create(name.to_string()).unwrap().force_open();
                        known.0 = State::ForcedOpen;
                    }
                }
                Step::ResetAll => {
                    registry.reset_all();
                    model.breakers.values_mut().for_each(|known| known.0 = State::Closed);
                }
                Step::Reload(defaults, own) => {
                    (model.defaults, model.own) = (defaults, own);
                    let own = own.map_or_else(String::new, |(name, seconds)| {
                        format!(r#""{name}": {{"recovery_timeout": "{seconds}s"}}"#)
                    });
                    let file = format!(
                        r#"{{"defaults": {{"recovery_timeout": "{defaults}s"}},
                             "breakers": {{{own}}}}}"#
                    );
                    registry.reload(&ConfigFile::from_json(&file).unwrap()).unwrap();
                    let names: Vec<u8> = model.breakers.keys().copied().collect();
                    for name in names {
                        let timeout = model.recovery_timeout(name);
                        model.breakers.entry(name).and_modify(|known| known.1 = timeout);
                    }
                }
            }
            let seen: BTreeMap<u8, Known> = registry
                .breakers()
                .iter()
                .map(|it| {
                    let timeout = it.config().recovery_timeout;
                    assert_eq!(timeout, Duration::from_secs(timeout.as_secs()));
                    (it.name().parse().unwrap(), (it.state(), timeout.as_secs()))
                })
                .collect();
            prop_assert_eq!(&seen, &model.breakers);
        }
    }
}
