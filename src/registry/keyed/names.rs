//! The names of the breakers of a group: `{group}:{key}`.

use std::{borrow::Cow, fmt::Write as _};

use sha2::{Digest, Sha256};

use crate::config::LONGEST_NAME;

/// Begins what stands for a key whose name would be too long. No escaped key contains a `:`.
const HASHED: &str = ":sha256=";

/// Maps keys to names and back.
///
/// In the group and in the key, `:` is written as `%3A` and `%` as `%25`, so no two pairs have the
/// same name.
#[derive(Clone)]
pub(super) struct Names {
    /// The escaped group, and a `:`.
    prefix: String,
    /// A key of up to this many bytes fits, whatever it holds.
    fits: usize,
}

impl Names {
    pub(super) fn new(group: &str) -> Self {
        let prefix = format!("{}:", escape(group));
        // An escaped character takes three bytes.
        let fits = LONGEST_NAME.saturating_sub(prefix.len()) / 3;
        Self { prefix, fits }
    }

    /// The name of the group itself, which is that of no key.
    pub(super) fn group(&self) -> &str {
        self.prefix.trim_end_matches(':')
    }

    /// The key itself, or its hash if its name would be too long.
    #[inline]
    pub(super) fn shorten<'a>(&self, key: &'a str) -> Cow<'a, str> {
        if key.len() <= self.fits && !key.starts_with(':') {
            return Cow::Borrowed(key);
        }
        self.shorten_unusual(key)
    }

    #[cold]
    fn shorten_unusual<'a>(&self, key: &'a str) -> Cow<'a, str> {
        let room = LONGEST_NAME.saturating_sub(self.prefix.len());
        let fits = key.len() <= room && escaped_len(key) <= room;
        if fits && !key.starts_with(HASHED) {
            return Cow::Borrowed(key);
        }
        let mut hashed = HASHED.to_owned();
        for byte in Sha256::digest(key) {
            let _ = write!(hashed, "{byte:02x}");
        }
        Cow::Owned(hashed)
    }

    /// The name of a shortened key.
    pub(super) fn name_of(&self, key: &str) -> String {
        let mut name = self.prefix.clone();
        if key.starts_with(HASHED) {
            name.push_str(key);
        } else {
            name.push_str(&escape(key));
        }
        name
    }

    /// The shortened key of a name, unless the name belongs to another group.
    pub(super) fn key_of(&self, name: &str) -> Option<String> {
        let key = name.strip_prefix(&self.prefix)?;
        if key.starts_with(HASHED) {
            return Some(key.to_owned());
        }
        // What `escape` would write otherwise was not written by it.
        let unescaped = key.replace("%3A", ":").replace("%25", "%");
        (escape(&unescaped) == key).then_some(unescaped)
    }
}

pub(super) fn escape(text: &str) -> String {
    text.replace('%', "%25").replace(':', "%3A")
}

/// The length of an escaped text, without writing it.
fn escaped_len(text: &str) -> usize {
    let escaped = text.bytes().filter(|byte| matches!(byte, b'%' | b':'));
    text.len() + 2 * escaped.count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_the_group_and_the_key() {
        let names = Names::new("upstream");
        assert_eq!(names.name_of("api.example.com"), "upstream:api.example.com");
        assert_eq!(names.name_of("api.example.com:8080"), "upstream:api.example.com%3A8080");
        assert_ne!(Names::new("a").name_of("b:c"), Names::new("a:b").name_of("c"));
    }

    #[test]
    fn a_key_whose_name_would_be_too_long_is_hashed() {
        let names = Names::new("upstream");
        let room = LONGEST_NAME - "upstream:".len();
        assert_eq!(names.shorten(&"x".repeat(room)), "x".repeat(room));
        let hashed = names.shorten(&"x".repeat(room + 1)).into_owned();
        assert!(names.name_of(&hashed).len() < 100);
        assert_ne!(names.shorten(&"x".repeat(room + 2)), hashed);
        assert_eq!(names.key_of(&names.name_of(&hashed)), Some(hashed.clone()));
        // A key cannot pretend to be the hash of another one.
        assert_ne!(names.shorten(&hashed), hashed);
    }

    /// Whatever group the builder admits, no name is longer than the longest.
    #[test]
    fn no_name_is_too_long() {
        let build = |group: &str| crate::registry::KeyedBreakers::builder(group).build();
        for group in ["g".repeat(256), ":".repeat(85)] {
            build(&group).unwrap();
            let names = Names::new(&group);
            for key in [1, 200, 256, 257, 10_000].map(|length| "%".repeat(length)) {
                let name = names.name_of(&names.shorten(&key));
                assert!(name.len() <= LONGEST_NAME, "{} bytes", name.len());
            }
        }
        let error = build(&":".repeat(86)).unwrap_err().to_string();
        assert!(error.contains("has 258 bytes"), "{error}");
    }

    proptest! {
        #[test]
        fn a_name_gives_its_key_back_and_belongs_to_no_other_group(
            group in "[a:%]{1,4}", key in "\\PC{0,8}|[:%235A]{0,8}", other in "[a:%]{1,4}",
        ) {
            prop_assert_eq!(escaped_len(&key), escape(&key).len());
            let names = Names::new(&group);
            let name = names.name_of(&names.shorten(&key));
            prop_assert_eq!(names.key_of(&name), Some(names.shorten(&key).into_owned()));
            if other != group {
                prop_assert_eq!(Names::new(&other).key_of(&name), None);
            }
        }
    }
}
