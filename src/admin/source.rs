//! The breakers that a service shows.

use std::{fmt, sync::Arc};

use tokio::sync::broadcast::Receiver;

use crate::{event::Event, handle::Breaker, registry::Registry};

/// The breakers that an [`Admin`](super::Admin) service shows: those of a [`Registry`], also those
/// that are created later, or a list.
///
/// Of several breakers of one name in a list, the first is shown. In a list, each breaker has a
/// channel of its own for events; many breakers are better kept in a registry, which has one.
#[derive(Clone)]
pub struct AdminSource(Kind);

#[derive(Clone)]
enum Kind {
    Registry(Registry),
    /// In the order of the names.
    List(Arc<[Breaker]>),
}

impl AdminSource {
    /// In the order of the names.
    pub(super) fn breakers(&self) -> Vec<Breaker> {
        match &self.0 {
            Kind::Registry(registry) => registry.breakers(),
            Kind::List(list) => list.to_vec(),
        }
    }

    /// The breaker of this name, if there is one. It never creates one.
    pub(super) fn get(&self, name: &str) -> Option<Breaker> {
        match &self.0 {
            Kind::Registry(registry) => registry.get(name),
            Kind::List(list) => {
                let found = list.binary_search_by(|breaker| breaker.name().cmp(name)).ok()?;
                Some(list[found].clone())
            }
        }
    }

    pub(super) fn subscribe(&self) -> Vec<Receiver<Event>> {
        match &self.0 {
            Kind::Registry(registry) => vec![registry.subscribe()],
            Kind::List(list) => list.iter().map(Breaker::subscribe).collect(),
        }
    }
}

impl From<Registry> for AdminSource {
    fn from(registry: Registry) -> Self {
        Self(Kind::Registry(registry))
    }
}

impl From<&Registry> for AdminSource {
    fn from(registry: &Registry) -> Self {
        registry.clone().into()
    }
}

impl From<Vec<Breaker>> for AdminSource {
    fn from(mut list: Vec<Breaker>) -> Self {
        list.sort_by(|a, b| a.name().cmp(b.name()));
        list.dedup_by(|a, b| a.name() == b.name());
        Self(Kind::List(list.into()))
    }
}

impl From<Breaker> for AdminSource {
    fn from(breaker: Breaker) -> Self {
        vec![breaker].into()
    }
}

impl From<&Breaker> for AdminSource {
    fn from(breaker: &Breaker) -> Self {
        breaker.clone().into()
    }
}

impl<const N: usize> From<[Breaker; N]> for AdminSource {
    fn from(list: [Breaker; N]) -> Self {
        Vec::from(list).into()
    }
}

impl fmt::Debug for AdminSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Registry(registry) => registry.fmt(f),
            Kind::List(list) => list.fmt(f),
        }
    }
}
