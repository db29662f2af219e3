//! A breaker for each key of a request: for each host, most often.

use std::{
    any::type_name,
    borrow::Cow,
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
};

use http::Extensions;
use reqwest::{Request, Response};
use reqwest_middleware::{Error, Middleware, Next};

use super::{
    classifier::{ClassifyRequestWith, MakeRequestClassifier},
    recording::Recording,
    to_error,
};
use crate::{
    classify::{CloneClassifier, ServerErrorsAsFailures},
    registry::KeyedBreakers,
    service::{
        body::{OnBodyEnd, SetOnBodyEnd},
        keyed::{
            ByHost, ExtractKey,
            selector::{KeyedAdmission, Selector},
            unbroken::UnbrokenCall,
        },
        record_when::{AppliesTo, Exempt, OnResponse, RecordWhen},
    },
};

/// A breaker for each key of the requests of a reqwest-middleware client, so that one bad host does
/// not shut out the others.
///
/// The breakers are those of [`KeyedBreakers`], which also says when a key gets one. Otherwise it
/// is like a [`BreakerMiddleware`](super::BreakerMiddleware).
///
/// ```
/// use reqwest_middleware::ClientBuilder;
/// use tower_breaker::{KeyedBreakers, reqwest_middleware::KeyedBreakerMiddleware};
///
/// let hosts = KeyedBreakers::builder("upstream").build()?;
/// let client = ClientBuilder::new(reqwest::Client::new())
///     .with(KeyedBreakerMiddleware::by_host(hosts))
///     .build();
/// # Ok::<(), tower_breaker::ConfigError>(())
/// ```
pub struct KeyedBreakerMiddleware<K, C = ServerErrorsAsFailures, O = OnResponse> {
    selector: Selector<K>,
    recording: Recording<C, O>,
}

impl<K> KeyedBreakerMiddleware<K> {
    /// Creates a middleware with a way to extract the key of a request.
    #[must_use]
    pub fn new(breakers: KeyedBreakers, extract: K) -> Self {
        Self {
            selector: Selector { breakers, extract, default_key: None },
            recording: Recording::new(),
        }
    }
}

impl KeyedBreakerMiddleware<ByHost> {
    /// A breaker for each host that requests are sent to: see [`ByHost`].
    #[must_use]
    pub fn by_host(breakers: KeyedBreakers) -> Self {
        Self::new(breakers, ByHost)
    }
}

impl KeyedBreakerMiddleware<()> {
    /// A breaker for each key that the closure returns. Write the type of its argument,
    /// `&reqwest::Request`.
    #[must_use]
    pub fn by_key<F>(breakers: KeyedBreakers, key: F) -> KeyedBreakerMiddleware<F>
    where
        F: for<'a> Fn(&'a Request) -> Option<Cow<'a, str>>,
    {
        KeyedBreakerMiddleware::new(breakers, key)
    }
}

impl<K, C, O> KeyedBreakerMiddleware<K, C, O> {
    /// Requests without a key go by the breaker of this key. Default: they pass through without a
    /// breaker.
    #[must_use]
    pub fn default_key(mut self, key: impl AsRef<str>) -> Self {
        self.selector.default_key = Some(key.as_ref().into());
        self
    }

    /// Classifies results with this [`Classify`](crate::classify::Classify), or with a closure that
    /// takes a `&Result<reqwest::Response, reqwest_middleware::Error>`. It has to be `Clone`: each
    /// call has a clone.
    #[must_use]
    pub fn classify<D>(self, classify: D) -> KeyedBreakerMiddleware<K, D, O> {
        let recording = self.recording.classify(classify);
        KeyedBreakerMiddleware { selector: self.selector, recording }
    }

    /// Makes the classifier of each call from its request, as with
    /// [`BreakerMiddleware::classify_with`](super::BreakerMiddleware::classify_with).
    ///
    /// ```
    /// use tower_breaker::classify::StatusClassifier;
    /// use tower_breaker::{KeyedBreakers, reqwest_middleware::KeyedBreakerMiddleware};
    ///
    /// let hosts = KeyedBreakers::builder("upstream").build()?;
    /// let middleware = KeyedBreakerMiddleware::by_host(hosts).classify_with(|request, _| {
    ///     let classifier = StatusClassifier::new();
    ///     if request.method() == "PUT" {
    ///         classifier.success(http::StatusCode::INSUFFICIENT_STORAGE)
    ///     } else {
    ///         classifier
    ///     }
    /// });
    /// # Ok::<(), tower_breaker::ConfigError>(())
    /// ```
    #[must_use]
    pub fn classify_with<F, D>(
        self,
        classify: F,
    ) -> KeyedBreakerMiddleware<K, ClassifyRequestWith<F>, O>
    where
        F: Fn(&Request, &Extensions) -> D,
    {
        self.classify(ClassifyRequestWith::new(classify))
    }

    /// Records the outcome of a call when its response body has ended, so that a body that breaks
    /// off is a failure: see [`OnBodyEnd`]. A key gets its breaker with its first call.
    #[must_use]
    pub fn on_body_end(self, on_body_end: OnBodyEnd) -> KeyedBreakerMiddleware<K, C, O::Output>
    where
        O: SetOnBodyEnd,
    {
        let recording = self.recording.on_body_end(on_body_end);
        KeyedBreakerMiddleware { selector: self.selector, recording }
    }

    /// Lets the requests for which this returns `true` bypass the breakers, as with
    /// [`BreakerMiddleware::exempt`](super::BreakerMiddleware::exempt).
    #[must_use]
    pub fn exempt<F>(self, is_exempt: F) -> KeyedBreakerMiddleware<K, C, Exempt<O, F>>
    where
        F: Fn(&Request) -> bool,
    {
        let recording = self.recording.exempt(is_exempt);
        KeyedBreakerMiddleware { selector: self.selector, recording }
    }

    /// The breakers.
    #[must_use]
    pub fn breakers(&self) -> &KeyedBreakers {
        &self.selector.breakers
    }

    async fn send(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response, Error>
    where
        K: ExtractKey<Request>,
        C: MakeRequestClassifier,
        O: RecordWhen<C::Classifier, Response, Error, Response = Response> + AppliesTo<Request>,
    {
        if !self.recording.record_when.applies_to(&request) {
            return next.run(request, extensions).await.map(O::pass_unrecorded);
        }
        match self.selector.admit(&request, O::IS_KNOWN_WITH_RESPONSE).map_err(to_error)? {
            KeyedAdmission::ByBreaker(permit) => {
                let classify = self.recording.classify.make_classifier(&request, extensions);
                self.recording.send(permit, classify, || next.run(request, extensions)).await
            }
            KeyedAdmission::WithoutBreaker(missing) => {
                let classify = self.recording.classify.make_classifier(&request, extensions);
                let call = UnbrokenCall::new(missing, &self.selector.breakers);
                self.send_unbroken(call, classify, || next.run(request, extensions)).await
            }
            KeyedAdmission::Unrecorded => {
                next.run(request, extensions).await.map(O::pass_unrecorded)
            }
            KeyedAdmission::WithoutRoom(mark) => {
                let mut sent = pin!(mark.run(|| next.run(request, extensions)));
                let result = poll_fn(|cx| mark.run(|| sent.as_mut().poll(cx))).await;
                result.map(O::pass_unrecorded)
            }
        }
    }

    async fn send_unbroken<D, F>(
        &self,
        mut call: UnbrokenCall,
        classify: D,
        begin: impl FnOnce() -> F,
    ) -> Result<Response, Error>
    where
        F: Future<Output = Result<Response, Error>>,
        O: RecordWhen<D, Response, Error, Response = Response>,
    {
        let mut sent = pin!(call.start(begin));
        let result = poll_fn(|cx| call.run(|| sent.as_mut().poll(cx))).await;
        let record_when = &self.recording.record_when;
        let classify = || record_when.outcome_of_response(&classify, &result);
        if let Some(outcome) = call.fail_on_panic(classify) {
            call.record(outcome);
        }
        result.map(O::pass_unrecorded)
    }
}

impl<K, C, O> Middleware for KeyedBreakerMiddleware<K, C, O>
where
    K: ExtractKey<Request> + Send + Sync + 'static,
    C: MakeRequestClassifier<Classifier: Send> + Send + Sync + 'static,
    O: RecordWhen<C::Classifier, Response, Error, Response = Response>
        + AppliesTo<Request>
        + Send
        + Sync
        + 'static,
{
    // The signature that `async_trait` generates for an `async fn`.
    fn handle<'me, 'extensions, 'next, 'call>(
        &'me self,
        request: Request,
        extensions: &'extensions mut Extensions,
        next: Next<'next>,
    ) -> Pin<Box<dyn Future<Output = Result<Response, Error>> + Send + 'call>>
    where
        'me: 'call,
        'extensions: 'call,
        'next: 'call,
        Self: 'call,
    {
        Box::pin(self.send(request, extensions, next))
    }
}

impl<K: Clone, C: CloneClassifier, O: Clone> Clone for KeyedBreakerMiddleware<K, C, O> {
    fn clone(&self) -> Self {
        Self { selector: self.selector.clone(), recording: self.recording.clone() }
    }
}

impl<K, C, O> fmt::Debug for KeyedBreakerMiddleware<K, C, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("KeyedBreakerMiddleware");
        fields.field("breakers", &self.selector.breakers);
        fields.field("key", &format_args!("{}", type_name::<K>()));
        self.recording.finish_debug(fields)
    }
}
