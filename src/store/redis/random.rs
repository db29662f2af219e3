//! Random numbers that processes do not share.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    process,
    time::SystemTime,
};

/// A random number. A process that was forked has the generator of its parent, in the same state:
/// its id and the time make the difference.
pub(crate) fn random() -> u64 {
    mixed(fastrand::u64(..), process::id(), SystemTime::now())
}

fn mixed(random: u64, process: u32, now: SystemTime) -> u64 {
    let mut hasher = DefaultHasher::new();
    (random, process, now).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::{mixed, random};

    #[test]
    fn forked_processes_have_numbers_of_their_own() {
        let now = SystemTime::UNIX_EPOCH;
        assert_ne!(mixed(1, 2, now), mixed(1, 3, now));
        assert_ne!(mixed(1, 2, now), mixed(1, 2, now + Duration::from_nanos(1)));
        assert_ne!(mixed(1, 2, now), mixed(2, 2, now));
    }

    #[test]
    fn the_state_of_the_generator_alone_does_not_decide() {
        let of_same_state = || {
            fastrand::seed(7);
            random()
        };
        assert_ne!(of_same_state(), of_same_state());
    }
}
