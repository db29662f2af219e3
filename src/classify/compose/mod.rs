//! Classifiers made of others.

mod map;
mod or;
mod search;

#[cfg(feature = "http")]
pub use map::MapEos;
pub use map::{Map, map};
#[cfg(feature = "http")]
pub use or::OrEos;
pub use or::{Or, or};
pub use search::{SearchErrors, search_errors};
