//! The processor's counter, by the crate `quanta`. Where no counter is reliable, `quanta` reads a
//! clock of the operating system instead.

use std::sync::OnceLock;

static COUNTER: OnceLock<Counter> = OnceLock::new();

/// [`Counter::scale`] is how many nanoseconds `1 << SHIFT` counts take.
const SHIFT: u32 = 40;

struct Counter {
    clock: quanta::Clock,
    /// `quanta` scales counts too, with a shift that it has to look up.
    scale: u64,
}

#[inline]
pub(super) fn read() -> u64 {
    COUNTER.get_or_init(Counter::calibrate).read()
}

pub(super) fn read_if_calibrated() -> Option<u64> {
    COUNTER.get().map(Counter::read)
}

impl Counter {
    fn calibrate() -> Self {
        let clock = quanta::Clock::new();
        Self { scale: clock.delta_as_nanos(0, 1 << SHIFT), clock }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a count of 584 years wraps")]
    fn read(&self) -> u64 {
        ((u128::from(self.clock.raw()) * u128::from(self.scale)) >> SHIFT) as u64
    }
}
