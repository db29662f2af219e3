//! Which breakers a list has, in which order, a page at a time.

use std::{cmp::Ordering, collections::HashSet};

use super::{
    id,
    problem::Problem,
    query::parameters,
    source::{AdminSource, ListedBreaker, Wanted},
};
use crate::state::State;

/// The most breakers of a page.
const MAX_LIMIT: usize = 10_000;

const DEFAULT_LIMIT: usize = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Name,
    /// Those first that need attention: what is not closed.
    Urgency,
}

/// What a list is asked for.
#[derive(Debug)]
pub(super) struct ListQuery {
    wanted: Wanted,
    /// What a name has to contain, in lowercase.
    search: String,
    order: Order,
    limit: usize,
    /// Only breakers whose names are greater.
    after: Option<String>,
}

/// A page of a list.
pub(super) struct ListPage {
    pub(super) entries: Vec<ListedBreaker>,
    /// How many breakers there are on all pages.
    pub(super) total: usize,
    /// The id of the last breaker of this page, if there are further pages. By urgency, there are
    /// none: states change from page to page.
    pub(super) next: Option<String>,
}

impl ListQuery {
    pub(super) fn read(query: Option<&str>, source: &AdminSource) -> Result<Self, Problem> {
        let mut list = Self {
            wanted: Wanted::All,
            search: String::new(),
            order: Order::Name,
            limit: DEFAULT_LIMIT,
            after: None,
        };
        for parameter in parameters(query) {
            let (name, value) = parameter?;
            match (&*name, &*value) {
                ("group", value) => list.wanted = wanted(value, source)?,
                ("search", value) => list.search = value.to_lowercase(),
                ("order", "name") => list.order = Order::Name,
                ("order", "urgency") => list.order = Order::Urgency,
                ("order", _) => {
                    let detail = "\"order\" must be \"name\" or \"urgency\"";
                    return Err(Problem::bad_request(detail));
                }
                ("limit", value) => {
                    let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                    list.limit = limit.ok_or_else(|| {
                        Problem::bad_request("\"limit\" must be between 1 and 10000")
                    })?;
                }
                ("after", value) => {
                    let after = id::to_name(value).ok_or_else(|| {
                        Problem::not_found(
                            "\"after\" is no id: it must be the \"next\" of an earlier page",
                        )
                    })?;
                    list.after = Some(after);
                }
                _ => {
                    return Err(Problem::bad_request(
                        "the parameters are \"group\", \"search\", \"order\", \"limit\" and \
                         \"after\"",
                    ));
                }
            }
        }
        Ok(list)
    }

    pub(super) fn page(&self, source: &AdminSource) -> ListPage {
        let mut entries = source.entries(self.wanted);
        if !self.search.is_empty() {
            entries.retain(|entry| entry.breaker.name().to_lowercase().contains(&self.search));
        }
        let total = entries.len();
        if let Some(after) = &self.after {
            entries.retain(|entry| entry.breaker.name() > after.as_str());
        }
        let rank = |entry: &ListedBreaker| match self.order {
            Order::Name => 0,
            Order::Urgency => rank(entry.breaker.state()),
        };
        let ranked: Vec<_> = entries.into_iter().map(|entry| (rank(&entry), entry)).collect();
        let has_more = ranked.len() > self.limit;
        let mut entries = first(ranked, self.limit);
        let next = entries.last().filter(|_| has_more && self.order == Order::Name);
        let next = next.map(|entry| id::of_name(entry.breaker.name()));
        let mut names = HashSet::new();
        entries.retain(|entry| names.insert(entry.breaker.name().to_owned()));
        ListPage { entries, total, next }
    }
}

fn wanted(group: &str, source: &AdminSource) -> Result<Wanted, Problem> {
    let name = id::to_name(group);
    if name.as_deref() == Some("") {
        return Ok(Wanted::Single);
    }
    let found = name.and_then(|name| source.find_group(&name));
    found.map(Wanted::Group).ok_or(Problem::not_found("there is no group of this id"))
}

/// The first ones in their order. Only these are sorted.
fn first(mut ranked: Vec<(u8, ListedBreaker)>, limit: usize) -> Vec<ListedBreaker> {
    let compare = |(a_rank, a): &(u8, ListedBreaker),
                   (b_rank, b): &(u8, ListedBreaker)|
     -> Ordering { a_rank.cmp(b_rank).then_with(|| a.compare(b)) };
    if ranked.len() > limit {
        ranked.select_nth_unstable_by(limit, compare);
        ranked.truncate(limit);
    }
    ranked.sort_unstable_by(compare);
    ranked.into_iter().map(|(_, entry)| entry).collect()
}

/// In the order of the page.
const fn rank(state: State) -> u8 {
    match state {
        State::Open => 0,
        State::HalfOpen => 1,
        State::ForcedOpen => 2,
        State::Disabled => 3,
        State::MetricsOnly => 4,
        State::Closed => 5,
    }
}
