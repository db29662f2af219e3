//! The keys in Redis.
//!
//! What a breaker stores keeps its key, such as `circuit_breaker:payments:state`: only the part
//! before the name can be changed. Any other key of a value ends in `:value`, and that of a history
//! in `:records`. So the end of a key says what it holds, and no name, whatever it contains, can
//! make the key of something else. The store's own keys have other ends.

use super::cluster::{SLOTS, slot};
use crate::store::error::StoreError;

pub(super) const DEFAULT_PREFIX: &str = "circuit_breaker";

/// What the crate's keys begin with.
const OF_BREAKERS: &str = "circuit_breaker:";
const VALUES: [&str; 3] = [":state", ":recent", ":quarantine"];
const HISTORIES: [&str; 1] = [":history"];

/// How the keys of a store become keys in Redis.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    /// The prefix, the instance if there is one, and a colon.
    base: String,
}

impl Keys {
    pub(crate) fn new(prefix: &str, instance: Option<&str>) -> Result<Self, StoreError> {
        let misconfigured =
            |why: String| StoreError::Misconfigured(format!("the setting {why}").into());
        if prefix.is_empty() || prefix.len() > 256 {
            return Err(misconfigured(format!(
                "`prefix` of keys in Redis must be 1 to 256 bytes long, is {}",
                prefix.len(),
            )));
        }
        // With a colon, a longer prefix and a shorter name would make the same key; with an at
        // sign, a prefix would make those of an instance.
        if prefix.contains([':', '@']) {
            return Err(misconfigured(format!(
                "`prefix` of keys in Redis must not contain `:` or `@`, or keys of two prefixes \
                 could be the same; is {prefix:?}",
            )));
        }
        let base = match instance {
            None => format!("{prefix}:"),
            Some(id) if is_instance(id) => format!("{prefix}@{id}:"),
            Some(id) => {
                return Err(misconfigured(format!(
                    "`instance` of keys in Redis must be 1 to 128 letters, digits, or any of \
                     `-_.`, is {id:?}",
                )));
            }
        };
        Ok(Self { base })
    }

    pub(crate) fn value(&self, key: &str) -> String {
        self.key(key, &VALUES, ":value")
    }

    pub(crate) fn history(&self, key: &str) -> String {
        self.key(key, &HISTORIES, ":records")
    }

    /// The set of the keys of all values.
    pub(super) fn value_index(&self) -> String {
        self.own("index")
    }

    /// The set of the keys of all histories.
    pub(super) fn history_index(&self) -> String {
        self.own("histories")
    }

    /// What tells whether the server still holds what was saved.
    pub(super) fn epoch(&self) -> String {
        self.own("epoch")
    }

    /// The epochs in a cluster, where a single node may lose what it holds: keys of which one is in
    /// each sixteenth of the slots.
    pub(super) fn epochs_of_cluster(&self) -> Vec<String> {
        const PARTS: u16 = 16;
        let is_in =
            |part: u16, tag: &u32| slot(tag.to_string().as_bytes()) / (SLOTS / PARTS) == part;
        let tags = (0..PARTS).filter_map(|part| (0..u32::MAX).find(|tag| is_in(part, tag)));
        tags.map(|tag| self.own(&format!("epoch:{{{tag}}}"))).collect()
    }

    fn key(&self, key: &str, ends: &[&str], other: &str) -> String {
        let of_a_breaker = key.strip_prefix(OF_BREAKERS);
        match of_a_breaker.filter(|rest| ends.iter().any(|end| rest.ends_with(end))) {
            Some(rest) => [&*self.base, rest].concat(),
            None => [&*self.base, key, other].concat(),
        }
    }

    fn own(&self, word: &str) -> String {
        [&*self.base, word].concat()
    }
}

/// An instance has no colon, so that it cannot reach into the name.
fn is_instance(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{Keys, slot};

    #[test]
    fn a_breaker_keeps_its_key() {
        let keys = Keys::new("circuit_breaker", None).unwrap();
        let state = "circuit_breaker:payments:state";
        assert_eq!(keys.value(state), state);
        assert_eq!(keys.history("circuit_breaker:a:b:history"), "circuit_breaker:a:b:history",);
        let shop = Keys::new("shop", None).unwrap();
        assert_eq!(shop.value(state), "shop:payments:state");
        let instance = Keys::new("shop", Some("web-1")).unwrap();
        assert_eq!(instance.value(state), "shop@web-1:payments:state");
    }

    #[test]
    fn no_two_keys_become_the_same() {
        let names = ["", ":", "a", "a:state", "a:value", "@i:a", "index", "epoch", "{x}", "a\0"];
        let mut seen = HashSet::new();
        let prefixes = ["circuit_breaker", "a", "shop", "shop-a", "{x}"];
        let instances = [None, Some("i"), Some("index")];
        let all = prefixes.iter().flat_map(|prefix| instances.map(|instance| (prefix, instance)));
        for (prefix, instance) in all {
            let keys = Keys::new(prefix, instance).unwrap();
            let mut add = |key: String| assert!(seen.insert(key.clone()), "{key:?} twice");
            [keys.value_index(), keys.history_index(), keys.epoch()].into_iter().for_each(&mut add);
            keys.epochs_of_cluster().into_iter().for_each(&mut add);
            for name in names {
                add(keys.value(name));
                add(keys.history(name));
                for end in ["state", "recent", "quarantine", "history", "value"] {
                    let key = format!("circuit_breaker:{name}:{end}");
                    add(keys.value(&key));
                    add(keys.history(&key));
                }
            }
        }
    }

    #[test]
    fn every_large_part_of_a_cluster_has_an_epoch() {
        let keys = Keys::new("circuit_breaker", None).unwrap();
        let slots = keys.epochs_of_cluster().into_iter().map(|key| slot(key.as_bytes()));
        let mut slots: Vec<_> = slots.collect();
        slots.sort_unstable();
        assert!(slots.iter().map(|slot| slot / 1024).eq(0..16), "{slots:?}");
    }

    #[test]
    fn a_prefix_or_an_instance_that_is_unsafe_is_refused() {
        // `shop:x` with the name `y` would be `shop` with the name `x:y`.
        for prefix in ["", "shop:x", ":", "shop@web-1", &"a".repeat(257)] {
            assert!(Keys::new(prefix, None).is_err(), "{prefix:?}");
        }
        for instance in ["", "a:b", "a b", "{a}", "@", "\n", "ü"] {
            let error = Keys::new("p", Some(instance)).unwrap_err().to_string();
            let value = format!("is {instance:?}");
            assert!(error.contains("`instance`") && error.ends_with(&value), "{error}");
        }
        let error = Keys::new("", None).unwrap_err().to_string();
        assert!(error.contains("`prefix`") && error.ends_with("is 0"), "{error}");
    }
}
