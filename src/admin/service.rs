//! The service.

use std::{
    collections::HashSet,
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Method, Request, Response, StatusCode, request::Parts};
use http_body::Body;
use serde::Serialize;
use serde_json::json;
use tokio::sync::watch;
use tower_service::Service;

use super::{
    access::Access,
    answer::{self, file},
    body::AdminBody,
    change::{Action, require_json},
    events::{EventStream, Listeners, Start},
    fleet::Replicas,
    future::AdminFuture,
    host::Hosts,
    id,
    list::{ListPage, ListQuery},
    problem::Problem,
    query,
    read_body::read_body,
    resume::Positions,
    routes::Route,
    same_site::is_cross_site,
    source::{AdminSource, ListedBreaker, Wanted},
    view::{self, BreakerView},
};
use crate::handle::Breaker;

/// How many of the open circuits `/health` names.
const MAX_OPEN: usize = 1000;

/// The HTTP service for operators: see the [module](super).
///
/// It is cheap to clone, and all clones are the same service.
#[derive(Debug, Clone)]
pub struct Admin {
    shared: Arc<AdminState>,
}

#[derive(Debug, Clone)]
struct AdminState {
    source: AdminSource,
    access: Access,
    hosts: Hosts,
    vital: Arc<HashSet<String>>,
    max_listeners: usize,
    listeners: Listeners,
    positions: Positions,
    closing: watch::Sender<()>,
}

/// Settings.
impl Admin {
    /// A read-only service over the breakers of a [`Registry`](crate::Registry), or over a list of
    /// breakers.
    #[must_use]
    pub fn new(breakers: impl Into<AdminSource>) -> Self {
        let shared = AdminState {
            source: breakers.into(),
            access: Access::ReadOnly,
            hosts: Hosts::default(),
            vital: Arc::default(),
            max_listeners: 256,
            listeners: Listeners::default(),
            positions: Positions::default(),
            closing: watch::Sender::new(()),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Shows the breakers of a group too, each with the name of the group. A key that has no
    /// breaker is not shown, and cannot be changed: asking for it creates none.
    ///
    /// ```
    /// use tower_breaker::{KeyedBreakers, Registry, admin::Admin};
    ///
    /// let registry = Registry::builder().build()?;
    /// let upstreams = KeyedBreakers::builder("upstream").build()?;
    /// let admin = Admin::new(registry).group(&upstreams);
    /// # Ok::<(), tower_breaker::ConfigError>(())
    /// ```
    #[cfg(feature = "keyed")]
    #[cfg_attr(docsrs, doc(cfg(feature = "keyed")))]
    #[must_use]
    pub fn group(mut self, breakers: &crate::registry::KeyedBreakers) -> Self {
        self.settings().source.add_group(breakers.clone());
        self
    }

    /// Answers only requests for these hosts, for IP addresses, and for the local host; others get
    /// the status 421. A host is a name, for any port, or a name and a port: `ops.example`,
    /// `ops.example:8443`. `*` allows every host.
    ///
    /// The owner of a domain can have a name of it point here while a page of it is open in a
    /// browser (DNS rebinding). That page could read everything, and change what a
    /// [guard](Self::guard) allows without credentials. Such a request names that domain's host.
    ///
    /// Default: a request by a browser on plain http is answered for IP addresses and the local
    /// host only. A browser behind https and a program are answered for any host, so that a proxy
    /// that ends https needs no setting. (A browser is recognized by `Accept-Language` and
    /// `Origin`, and https by `Sec-Fetch-Site`, which browsers send since 2023.)
    ///
    /// ```
    /// use tower_breaker::{Breaker, admin::Admin};
    ///
    /// let breaker = Breaker::builder("payments").build()?;
    /// let admin = Admin::new(&breaker).allowed_hosts(["ops.example"]);
    /// # Ok::<(), tower_breaker::ConfigError>(())
    /// ```
    #[must_use]
    pub fn allowed_hosts<H: AsRef<str>>(mut self, hosts: impl IntoIterator<Item = H>) -> Self {
        let hosts: Vec<H> = hosts.into_iter().collect();
        self.settings().hosts = Hosts::listed(hosts.iter().map(AsRef::as_ref));
        self
    }

    /// Allows changes to requests with the header `Authorization: Bearer <token>`. It replaces a
    /// [guard](Self::guard). Default: none, the service is read-only. With an empty token it is,
    /// too.
    ///
    /// The token is compared in constant time, and is in no log and no `Debug`. Use a long random
    /// one, and https. White space around it does not belong to it.
    #[must_use]
    pub fn token(mut self, token: impl AsRef<[u8]>) -> Self {
        // As in the header: a token that is read from a file may end with a newline.
        let token = token.as_ref().trim_ascii();
        self.settings().access =
            if token.is_empty() { Access::ReadOnly } else { Access::Token(token.into()) };
        self
    }

    /// Allows changes to requests for which this function returns `true`: one that an outer layer
    /// has authenticated, for instance. It replaces a [token](Self::token). It is called with the
    /// request's head, for changes only, and must not block.
    ///
    /// Do not judge by the network alone: programs inside it are not the only ones that can send
    /// requests from there. See also [`allowed_hosts`](Self::allowed_hosts).
    ///
    /// ```
    /// use tower_breaker::{Breaker, admin::Admin};
    ///
    /// #[derive(Clone)]
    /// struct OnCall;
    ///
    /// let breaker = Breaker::builder("payments").build()?;
    /// let admin = Admin::new(&breaker).guard(|head| head.extensions.get::<OnCall>().is_some());
    /// # Ok::<(), tower_breaker::ConfigError>(())
    /// ```
    #[must_use]
    pub fn guard<F>(mut self, guard: F) -> Self
    where
        F: Fn(&Parts) -> bool + Send + Sync + 'static,
    {
        self.settings().access = Access::Guard(Arc::new(guard));
        self
    }

    /// Marks the breaker of this name as vital: without its dependency, the program is of no use.
    /// `GET /health` answers 503 while it is open or forced open. Default: none is.
    #[must_use]
    pub fn vital(mut self, name: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.settings().vital).insert(name.into());
        self
    }

    /// How many event streams may be open at once; further ones are answered with 503.
    /// Default: 256.
    #[must_use]
    pub fn max_listeners(mut self, limit: usize) -> Self {
        self.settings().max_listeners = limit;
        self
    }

    /// Ends the event streams that are open, of all clones of this service. A server that shuts
    /// down gracefully waits for its responses to end: without this, up to 20 seconds for a
    /// stream. Clients come back at once if the server still accepts connections.
    pub fn close_event_streams(&self) {
        self.shared.closing.send_replace(());
    }

    fn settings(&mut self) -> &mut AdminState {
        Arc::make_mut(&mut self.shared)
    }
}

impl<B> Service<Request<B>> for Admin
where
    B: Body<Data: Send> + Send + 'static,
{
    type Response = Response<AdminBody>;
    type Error = Infallible;
    type Future = AdminFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> AdminFuture {
        let shared = Arc::clone(&self.shared);
        let (head, body) = request.into_parts();
        AdminFuture::new(async move {
            let is_head = head.method == Method::HEAD;
            let answer = shared.answer(head, body).await;
            let response = answer.unwrap_or_else(Problem::into_response);
            if is_head { response.map(|_| AdminBody::empty()) } else { response }
        })
    }
}

/// The answer about one breaker.
#[derive(Serialize)]
struct One<'a> {
    now: f64,
    breaker: BreakerView,
    #[serde(flatten)]
    replicas: &'a Replicas,
}

type AdminResult = Result<Response<AdminBody>, Problem>;

impl AdminState {
    async fn answer<B: Body>(&self, head: Parts, body: B) -> AdminResult {
        self.hosts.check(&head)?;
        match Route::of(&head.method, &head.uri)? {
            Route::Page => Ok(file("text/html; charset=utf-8", include_str!("page/index.html"))),
            Route::Style => Ok(file("text/css; charset=utf-8", include_str!("page/page.css"))),
            Route::Script => {
                Ok(file("text/javascript; charset=utf-8", include_str!("page/page.js")))
            }
            Route::Icon => Ok(file("image/svg+xml", include_str!("page/icon.svg"))),
            Route::OpenApi => Ok(file("application/json", include_str!("openapi.json"))),
            Route::Health => Ok(self.health()),
            Route::Events => self.events(&head.method, head.uri.query()),
            Route::Breakers => Ok(self.breakers(&ListQuery::read(head.uri.query(), &self.source)?)),
            Route::Breaker(name) => {
                let entry = self.find(&name)?;
                let replicas = match head.method {
                    Method::HEAD => Replicas::default(),
                    _ => Replicas::ask(&entry.breaker).await,
                };
                Ok(self.breaker(&entry, &replicas))
            }
            Route::History(name) => {
                self.history(&self.find(&name)?.breaker, head.uri.query()).await
            }
            Route::Change(action, name) => self.change(action, &name, &head, body).await,
        }
    }

    fn find(&self, name: &str) -> Result<ListedBreaker, Problem> {
        self.source.get(name).ok_or_else(|| Problem::not_found("no circuit breaker with this id"))
    }

    fn is_vital(&self, breaker: &Breaker) -> bool {
        self.vital.contains(breaker.name())
    }

    fn view(&self, entry: &ListedBreaker) -> BreakerView {
        let ListedBreaker { breaker, .. } = entry;
        BreakerView::of(breaker, self.source.group_of(entry), self.is_vital(breaker))
    }

    fn breakers(&self, query: &ListQuery) -> Response<AdminBody> {
        // Before the states are read: an event is later than that, or its state is among them.
        let now = view::now();
        let ListPage { entries, total, next } = query.page(&self.source);
        let breakers: Vec<BreakerView> = entries.iter().map(|entry| self.view(entry)).collect();
        let all = json!({
            "now": now,
            "access": self.access.as_str(),
            "groups": self.source.groups(),
            "total": total,
            "next": next,
            "breakers": breakers,
        });
        answer::json(StatusCode::OK, &all)
    }

    fn breaker(&self, entry: &ListedBreaker, replicas: &Replicas) -> Response<AdminBody> {
        let one = One { now: view::now(), breaker: self.view(entry), replicas };
        answer::json(StatusCode::OK, &one)
    }

    fn health(&self) -> Response<AdminBody> {
        let mut open = self.source.entries(Wanted::All);
        open.retain(|entry| BreakerView::is_rejecting(&entry.breaker));
        let is_down = open.iter().any(|entry| self.is_vital(&entry.breaker));
        let (status, word) = if is_down {
            (StatusCode::SERVICE_UNAVAILABLE, "vital_circuit_open")
        } else {
            (StatusCode::OK, "ok")
        };
        let count = open.len();
        // The vital ones first: not all may be shown.
        open.sort_unstable_by(|a, b| {
            let are_vital = (self.is_vital(&b.breaker), self.is_vital(&a.breaker));
            are_vital.0.cmp(&are_vital.1).then_with(|| a.compare(b))
        });
        let open: Vec<_> = open
            .iter()
            .take(MAX_OPEN)
            .map(|entry| {
                let (id, name) = (id::of_name(entry.breaker.name()), entry.breaker.name());
                json!({ "id": id, "name": name, "vital": self.is_vital(&entry.breaker) })
            })
            .collect();
        answer::json(status, &json!({ "status": word, "open": open, "open_count": count }))
    }

    fn events(&self, method: &Method, query: Option<&str>) -> AdminResult {
        let mut after = None;
        for parameter in query::parameters(query) {
            let (name, value) = parameter?;
            after = after.or((name == "after").then_some(value));
        }

        if *method == Method::HEAD {
            return Ok(answer::events(AdminBody::empty()));
        }
        let place = self.listeners.enter(self.max_listeners).ok_or_else(|| {
            Problem::unavailable("too many event streams are open; read /breakers instead")
        })?;
        let closing = self.closing.subscribe();
        let start = Start {
            positions: self.positions.clone(),
            max_positions: self.max_listeners,
            after: after.as_deref(),
        };
        let (source, vital) = (self.source.clone(), Arc::clone(&self.vital));
        let stream = EventStream::new(source, vital, closing, place, start);
        Ok(answer::events(AdminBody::events(stream)))
    }

    async fn history(&self, breaker: &Breaker, query: Option<&str>) -> AdminResult {
        let query = query::history(query)?;
        let page = breaker
            .history(query)
            .await
            .map_err(|error| Problem::unavailable(error.to_string()))?;
        Ok(answer::json(StatusCode::OK, &page))
    }

    /// Checks who asks before it says whether there is such a breaker.
    async fn change<B: Body>(
        &self,
        action: Action,
        name: &str,
        head: &Parts,
        body: B,
    ) -> AdminResult {
        if is_cross_site(head) {
            return Err(Problem::forbidden("a page of another site may not change anything"));
        }
        self.access.check(head)?;
        self.find(name)?;
        require_json(&head.headers)?;
        let change = action.read(&read_body(&head.headers, body).await?)?;
        // While the body came, a group may have replaced the breaker.
        let entry = self.find(name)?;
        action.apply(&entry.breaker, change);
        // Or at this very moment. From now on, it does not: what is not closed stays.
        let now = self.find(name)?;
        if !now.breaker.is_same(&entry.breaker) {
            return Err(Problem::not_found("the circuit breaker was replaced meanwhile"));
        }
        Ok(self.breaker(&now, &Replicas::default()))
    }
}
