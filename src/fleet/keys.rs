//! The keys of a fleet.

/// All keys of one script are under one hash tag, so that a cluster keeps them together. It is a
/// number, never a breaker's name, which may hold braces itself.
///
/// The end of a key that holds a name says what it is. No other key has these ends, nor has one of
/// a [store](crate::store::RedisStore) under the same prefix: so no name, whatever it contains, can
/// make the key of something else.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
    shard: String,
    news: String,
    replicas: String,
    questions: String,
}

impl Keys {
    /// The keys of one shard.
    pub(super) fn new(prefix: &str, shard: u16) -> Self {
        let prefix = format!("{prefix}:{{{shard}}}:fleet");
        let key = |what| format!("{prefix}:{what}");
        Self {
            shard: key("shard"),
            news: key("news"),
            replicas: key("replicas"),
            questions: key("questions"),
            prefix,
        }
    }

    /// The hash of a breaker.
    pub(super) fn breaker(&self, name: &str) -> String {
        format!("{}:{name}:breaker", self.prefix)
    }

    /// The hash of what all replicas have counted of a breaker.
    pub(super) fn counts(&self, name: &str) -> String {
        format!("{}:{name}:counts", self.prefix)
    }

    /// The hash of what all breakers have in common.
    pub(super) fn shard(&self) -> &str {
        &self.shard
    }

    /// The stream of new states.
    pub(super) fn news(&self) -> &str {
        &self.news
    }

    /// The sorted set of replicas by when they were last heard of.
    pub(super) fn replicas(&self) -> &str {
        &self.replicas
    }

    /// The stream of operators' questions.
    pub(super) fn questions(&self) -> &str {
        &self.questions
    }

    /// The hash of the answers to a question.
    pub(super) fn answers(&self, question: u64) -> String {
        format!("{}:answers:{question:016x}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::Keys;
    use crate::store::redis::StoreKeys;

    #[test]
    fn the_first_braces_of_a_key_hold_the_number_of_its_shard() {
        let keys = Keys::new("circuit_breaker", 0);
        assert_eq!(keys.breaker("a{b}"), "circuit_breaker:{0}:fleet:a{b}:breaker");
        assert_eq!(keys.shard(), "circuit_breaker:{0}:fleet:shard");
        assert_eq!(keys.news(), "circuit_breaker:{0}:fleet:news");
        assert_eq!(Keys::new("a", 12).news(), "a:{12}:fleet:news");
    }

    #[test]
    fn no_name_makes_the_key_of_another_breaker_or_of_a_store() {
        const ENDS: [&str; 5] = ["breaker", "counts", "state", "history", "value"];
        let names = ["x", "news", "shard", "fleet", "answers", "fleet:x", "{0}:fleet:breaker:x"];
        let with_ends = |name: &str| ENDS.map(|end| format!("{name}:{end}"));
        let names = names.into_iter().map(str::to_owned);
        let names: Vec<_> = names.clone().chain(names.flat_map(|name| with_ends(&name))).collect();
        let mut seen = HashSet::new();
        let mut add = |key: String| assert!(seen.insert(key.clone()), "{key:?} twice");
        for prefix in ["circuit_breaker", "a", "a:b"] {
            for keys in [0, 1].map(|shard| Keys::new(prefix, shard)) {
                let fixed = [keys.shard(), keys.news(), keys.replicas(), keys.questions()];
                for key in fixed {
                    add(key.to_owned());
                }
                add(keys.answers(7));
                for name in &names {
                    [keys.breaker(name), keys.counts(name)].into_iter().for_each(&mut add);
                }
            }
        }
        for prefix in ["circuit_breaker", "a"] {
            let keys = StoreKeys::new(prefix, None).unwrap();
            for name in &names {
                add(keys.value(&format!("circuit_breaker:{name}:state")));
                add(keys.history(&format!("circuit_breaker:{name}:history")));
                [keys.value(name), keys.history(name)].into_iter().for_each(&mut add);
            }
        }
    }
}
