//! The keys of a fleet.

/// All keys of one script are under one hash tag, so that a cluster keeps them together. It is a
/// number, never a breaker's name, which may hold braces itself.
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
        format!("{}:breaker:{name}", self.prefix)
    }

    /// The hash of what all replicas have counted of a breaker.
    pub(super) fn counts(&self, name: &str) -> String {
        format!("{}:counts:{name}", self.prefix)
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
    use super::Keys;

    #[test]
    fn the_first_braces_of_a_key_hold_the_number_of_its_shard() {
        let keys = Keys::new("circuit_breaker", 0);
        assert_eq!(keys.breaker("a{b}"), "circuit_breaker:{0}:fleet:breaker:a{b}");
        assert_eq!(keys.shard(), "circuit_breaker:{0}:fleet:shard");
        assert_eq!(keys.news(), "circuit_breaker:{0}:fleet:news");
        assert_eq!(Keys::new("a", 12).news(), "a:{12}:fleet:news");
    }
}
