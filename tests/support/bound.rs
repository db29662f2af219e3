//! Bounds of measurements.

/// The bound in this variable of the environment, or else that for an idle machine with two fast
/// cores.
pub(crate) fn bound(variable: &str, default: f64) -> f64 {
    let bound = std::env::var(variable);
    bound.map_or(default, |bound| bound.parse().unwrap_or_else(|_| panic!("{variable}: {bound:?}")))
}
