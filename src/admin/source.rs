//! The breakers that a service shows.

use std::{cmp::Ordering, collections::HashSet, fmt, sync::Arc};

use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;

use super::{group::Group, id};
use crate::{event::Event, handle::Breaker, registry::Registry};

/// The breakers that an [`Admin`](super::Admin) service shows: those of a [`Registry`], also those
/// that are created later, a list, or the [group](super::Admin::group) of breakers by key.
///
/// Of several breakers of one name, the first is shown, and one of a group last. In a list, each
/// breaker has a channel of its own for events; many breakers are better kept in a registry, which
/// has one.
#[derive(Clone)]
pub struct AdminSource {
    single: Single,
    groups: Arc<[Arc<dyn Group>]>,
}

/// Breakers that are in no group.
#[derive(Clone)]
enum Single {
    Registry(Registry),
    /// In the order of the names.
    List(Arc<[Breaker]>),
}

/// A breaker, and the group that it belongs to.
pub(super) struct ListedBreaker {
    pub(super) breaker: Breaker,
    group: Option<usize>,
}

/// Which breakers are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    All,
    /// Those that are in no group.
    Single,
    Group(usize),
}

impl ListedBreaker {
    fn single(breaker: Breaker) -> Self {
        Self { breaker, group: None }
    }

    /// By name; of the same name, the one that is shown comes first.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        (self.breaker.name(), self.group).cmp(&(other.breaker.name(), other.group))
    }
}

impl AdminSource {
    fn new(single: Single) -> Self {
        Self { single, groups: Arc::default() }
    }

    #[cfg(feature = "keyed")]
    pub(super) fn add_group(&mut self, group: impl Group + 'static) {
        let groups = self.groups.iter().cloned();
        self.groups = groups.chain([Arc::new(group) as Arc<dyn Group>]).collect();
    }

    /// In no particular order.
    pub(super) fn entries(&self, wanted: Wanted) -> Vec<ListedBreaker> {
        let mut all: Vec<ListedBreaker> = match wanted {
            Wanted::Group(_) => Vec::new(),
            Wanted::All | Wanted::Single => match &self.single {
                Single::Registry(registry) => registry.breakers(),
                Single::List(list) => list.to_vec(),
            }
            .into_iter()
            .map(ListedBreaker::single)
            .collect(),
        };
        for (index, group) in self.groups.iter().enumerate() {
            if wanted == Wanted::All || wanted == Wanted::Group(index) {
                let entry = |breaker| ListedBreaker { breaker, group: Some(index) };
                all.extend(group.breakers().into_iter().map(entry));
            }
        }
        all
    }

    /// The breaker of this name, if there is one. It never creates one.
    pub(super) fn get(&self, name: &str) -> Option<ListedBreaker> {
        let single = match &self.single {
            Single::Registry(registry) => registry.get(name),
            Single::List(list) => {
                let found = list.binary_search_by(|breaker| breaker.name().cmp(name)).ok();
                found.map(|found| list[found].clone())
            }
        };
        single.map(ListedBreaker::single).or_else(|| {
            let groups = self.groups.iter().enumerate();
            let mut found = groups.filter_map(|(index, group)| {
                Some(ListedBreaker { breaker: group.get(name)?, group: Some(index) })
            });
            found.next()
        })
    }

    /// The name of the group that a breaker belongs to.
    pub(super) fn group_of(&self, entry: &ListedBreaker) -> Option<&str> {
        self.groups.get(entry.group?).map(|group| group.name())
    }

    /// The group of this name.
    pub(super) fn find_group(&self, name: &str) -> Option<usize> {
        self.groups.iter().position(|group| group.name() == name)
    }

    /// Every group with its counts.
    pub(super) fn groups(&self) -> Vec<Value> {
        let mut names = HashSet::new();
        let groups = self.groups.iter().filter(|group| names.insert(group.name()));
        let describe = |group: &Arc<dyn Group>| {
            let mut view = json!({ "id": id::of_name(group.name()), "name": group.name() });
            if let (Value::Object(view), Value::Object(stats)) = (&mut view, group.stats()) {
                view.extend(stats);
            }
            view
        };
        groups.map(describe).collect()
    }

    pub(super) fn subscribe(&self) -> Vec<Receiver<Event>> {
        let mut all = match &self.single {
            Single::Registry(registry) => vec![registry.subscribe()],
            Single::List(list) => list.iter().map(Breaker::subscribe).collect(),
        };
        all.extend(self.groups.iter().map(|group| group.subscribe()));
        all
    }
}

impl From<Registry> for AdminSource {
    fn from(registry: Registry) -> Self {
        Self::new(Single::Registry(registry))
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
        Self::new(Single::List(list.into()))
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

#[cfg(feature = "keyed")]
#[cfg_attr(docsrs, doc(cfg(feature = "keyed")))]
impl From<crate::registry::KeyedBreakers> for AdminSource {
    fn from(group: crate::registry::KeyedBreakers) -> Self {
        let mut source = Self::from(Vec::new());
        source.add_group(group);
        source
    }
}

#[cfg(feature = "keyed")]
#[cfg_attr(docsrs, doc(cfg(feature = "keyed")))]
impl From<&crate::registry::KeyedBreakers> for AdminSource {
    fn from(group: &crate::registry::KeyedBreakers) -> Self {
        group.clone().into()
    }
}

impl fmt::Debug for AdminSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups: Vec<_> = self.groups.iter().map(|group| group.name()).collect();
        let mut all = f.debug_struct("AdminSource");
        match &self.single {
            Single::Registry(registry) => all.field("registry", registry),
            Single::List(list) => all.field("list", list),
        };
        all.field("groups", &groups).finish()
    }
}
