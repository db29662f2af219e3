//! Paths and methods.

use http::{Method, Uri};

use super::{change::Action, id, problem::Problem};

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    Page,
    Style,
    Script,
    Icon,
    OpenApi,
    Health,
    Events,
    Breakers,
    /// Of the breaker of this name.
    Breaker(String),
    History(String),
    Change(Action, String),
}

impl Route {
    /// Finds the route of a path, with or without a final slash.
    ///
    /// The files of the page are queries of its own path: a relative URL of a file would depend on
    /// the final slash of the prefix, which this service does not see.
    fn find(uri: &Uri) -> Option<Self> {
        let path = uri.path();
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = if path.len() > 1 { path.strip_suffix('/').unwrap_or(path) } else { path };
        let parts: Vec<&str> = path.splitn(4, '/').collect();
        Some(match parts[..] {
            [""] => match uri.query() {
                Some("page.css") => Self::Style,
                Some("page.js") => Self::Script,
                Some("icon.svg") => Self::Icon,
                _ => Self::Page,
            },
            ["openapi.json"] => Self::OpenApi,
            ["health"] => Self::Health,
            ["events"] => Self::Events,
            ["breakers"] => Self::Breakers,
            ["breakers", id] => Self::Breaker(id::to_name(id)?),
            ["breakers", id, "history"] => Self::History(id::to_name(id)?),
            ["breakers", id, action] => Self::Change(Action::find(action)?, id::to_name(id)?),
            _ => return None,
        })
    }

    /// The route of a request whose method fits. `HEAD` fits where `GET` does.
    pub(super) fn of(method: &Method, uri: &Uri) -> Result<Self, Problem> {
        let route = Self::find(uri).ok_or(Problem::not_found("there is nothing at this path"))?;
        let fits = match &route {
            Self::Change(..) => *method == Method::POST,
            _ => *method == Method::GET || *method == Method::HEAD,
        };
        if fits {
            return Ok(route);
        }
        let is_change = matches!(route, Self::Change(..));
        Err(Problem::method_not_allowed(if is_change { "POST" } else { "GET, HEAD" }))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn of(method: &str, uri: &str) -> Result<Route, Problem> {
        Route::of(&method.parse().unwrap(), &uri.parse().unwrap())
    }

    #[test]
    fn a_final_slash_makes_no_difference() {
        assert_eq!(of("GET", "/breakers"), Ok(Route::Breakers));
        assert_eq!(of("HEAD", "/breakers/"), Ok(Route::Breakers));
        assert_eq!(of("GET", "/breakers/YQ/history/"), Ok(Route::History("a".to_owned())));
        assert_eq!(of("GET", "/"), Ok(Route::Page));
        assert_eq!(of("GET", "/?page.js"), Ok(Route::Script));
        let reset = Route::Change(Action::Reset, "a".to_owned());
        assert_eq!(of("POST", "/breakers/YQ/reset"), Ok(reset));
    }

    #[test]
    fn other_paths_and_methods_are_refused() {
        for path in ["//", "/x", "/breakers/", "/breakers//", "/breakers/%59Q", "/breakers/YQ/x"] {
            let found = of("GET", path);
            assert!(
                found.is_err() || found == Ok(Route::Breakers) && path == "/breakers/",
                "{path}"
            );
        }
        for (method, path) in [
            ("POST", "/breakers"),
            ("DELETE", "/breakers/YQ"),
            ("GET", "/breakers/YQ/reset"),
            ("HEAD", "/breakers/YQ/reset"),
            ("PUT", "/breakers/YQ/reset"),
            ("OPTIONS", "/breakers/YQ/reset"),
            ("TRACE", "/"),
            ("BREW", "/events"),
        ] {
            assert_eq!(of(method, path).unwrap_err().status(), 405, "{method} {path}");
        }
    }

    /// The path of a route in the `OpenAPI` document. A new route does not compile without one.
    fn documented(route: &Route) -> &'static str {
        match route {
            Route::Page | Route::Style | Route::Script | Route::Icon => "/",
            Route::OpenApi => "/openapi.json",
            Route::Health => "/health",
            Route::Events => "/events",
            Route::Breakers => "/breakers",
            Route::Breaker(_) => "/breakers/{id}",
            Route::History(_) => "/breakers/{id}/history",
            Route::Change(Action::Trip, _) => "/breakers/{id}/trip",
            Route::Change(Action::ForceOpen, _) => "/breakers/{id}/force-open",
            Route::Change(Action::Disable, _) => "/breakers/{id}/disable",
            Route::Change(Action::MetricsOnly, _) => "/breakers/{id}/metrics-only",
            Route::Change(Action::Reset, _) => "/breakers/{id}/reset",
        }
    }

    #[test]
    fn the_openapi_document_has_these_routes_and_no_others() {
        let document = include_str!("openapi.json");
        let document: serde_json::Value = serde_json::from_str(document).unwrap();
        let mut paths = BTreeSet::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            let methods: Vec<_> = operations.as_object().unwrap().keys().collect();
            let [method] = methods[..] else { panic!("{path} {methods:?}") };
            let route = of(&method.to_uppercase(), &path.replace("{id}", "YQ"));
            let route = route.unwrap_or_else(|problem| panic!("{method} {path}: {problem:?}"));
            assert_eq!(documented(&route), path);
            paths.insert(path.as_str());
        }
        let id = || "a".to_owned();
        let changes = Action::ALL.into_iter().map(|action| Route::Change(action, id()));
        let all = [
            Route::Page,
            Route::Style,
            Route::Script,
            Route::Icon,
            Route::OpenApi,
            Route::Health,
            Route::Events,
            Route::Breakers,
            Route::Breaker(id()),
            Route::History(id()),
        ];
        let all: BTreeSet<_> = all.into_iter().chain(changes).map(|it| documented(&it)).collect();
        assert_eq!(paths, all);
    }
}
