//! Requests to an admin service.

use std::{env, fs, path::Path, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use ureq::{
    Agent, Body, BodyReader,
    http::{HeaderValue, Response},
};

use super::fault::Fault;

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A stream of events ends earlier by itself.
const STREAM_TIMEOUT: Duration = Duration::from_secs(60);

/// The most bytes of an answer that are read: 100,000 breakers have less.
const MAX_ANSWER: u64 = 256 * 1024 * 1024;

pub(super) struct Client {
    agent: Agent,
    url: String,
    token: Option<String>,
}

impl Client {
    pub(super) fn new(
        url: &str,
        token_file: Option<&Path>,
        needs_token: bool,
    ) -> Result<Self, Fault> {
        let read = |file: &Path| {
            fs::read_to_string(file).map_err(|error| {
                Fault::Other(format!("{} cannot be read: {error}", file.display()))
            })
        };
        let token = match token_file {
            Some(file) if needs_token => Some(read(file)?),
            _ => env::var("TOWER_BREAKER_TOKEN").ok().filter(|_| needs_token),
        };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(10)))
            .user_agent(concat!("tower-breaker/", env!("CARGO_PKG_VERSION")));
        Ok(Self {
            agent: config.build().into(),
            url: url.trim_end_matches('/').to_owned(),
            token: token.map(|token| token.trim().to_owned()),
        })
    }

    /// The id of a breaker or a group.
    pub(super) fn id(name: &str) -> String {
        if name.is_empty() { "-".to_owned() } else { URL_SAFE_NO_PAD.encode(name) }
    }

    /// The path of a breaker.
    pub(super) fn breaker(name: &str) -> String {
        format!("breakers/{}", Self::id(name))
    }

    pub(super) fn get(&self, path: &str) -> Result<Value, Fault> {
        let request = self.agent.get(format!("{}/{path}", self.url));
        let request = request.config().timeout_global(Some(TIMEOUT)).build();
        self.answer(request.call())
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, Fault> {
        let mut request = self.agent.post(format!("{}/{path}", self.url));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.header("content-type", "application/json");
        let request = request.config().timeout_global(Some(TIMEOUT)).build();
        self.answer(request.send(body.to_string()))
    }

    /// A stream of events: the one that follows another one, if that has said how.
    pub(super) fn events(&self, after: Option<&str>) -> Result<BodyReader<'static>, Fault> {
        let mut request = self.agent.get(format!("{}/events", self.url));
        if let Some(after) = after {
            request = request.query("after", after);
        }
        let request = request.config().timeout_global(Some(STREAM_TIMEOUT)).build();
        let response = request.call().map_err(|error| self.unreachable(&error))?;
        if response.status() != 200 {
            return Err(self.problem(response));
        }
        let kind = response.headers().get("content-type").map(HeaderValue::as_bytes);
        if !kind.is_some_and(|kind| kind.starts_with(b"text/event-stream")) {
            return Err(self.no_service());
        }
        Ok(response.into_body().into_reader())
    }

    fn unreachable(&self, error: &ureq::Error) -> Fault {
        match error {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
                Fault::Other(format!("{:?} is no URL of an admin service: {error}", self.url))
            }
            _ => Fault::Unreachable(format!(
                "no admin service answers at {}: {error} (set --url or TOWER_BREAKER_URL)",
                self.url
            )),
        }
    }

    fn answer(&self, response: Result<Response<Body>, ureq::Error>) -> Result<Value, Fault> {
        let mut response = response.map_err(|error| self.unreachable(&error))?;
        if response.status() != 200 {
            return Err(self.problem(response));
        }
        let text = response.body_mut().with_config().limit(MAX_ANSWER).read_to_string();
        let text = text.map_err(|error| self.unreachable(&error))?;
        serde_json::from_str(&text).map_err(|_| self.no_service())
    }

    fn no_service(&self) -> Fault {
        Fault::Other(format!("what answers at {} is no admin service", self.url))
    }

    fn problem(&self, mut response: Response<Body>) -> Fault {
        let status = response.status().as_u16();
        let text = response.body_mut().with_config().limit(64 * 1024).read_to_string();
        let detail = text.ok().and_then(|text| serde_json::from_str::<Value>(&text).ok());
        let detail = detail.as_ref().and_then(|problem| problem["detail"].as_str());
        let Some(detail) = detail else { return self.no_service() };
        let detail = detail.escape_debug().to_string();
        match status {
            401 if self.token.is_none() => Fault::Refused(format!(
                "refused: {detail}; set TOWER_BREAKER_TOKEN, or pass --token-file"
            )),
            401 | 403 => Fault::Refused(format!("refused: {detail}")),
            404 => Fault::NotFound(detail),
            503 => Fault::Unreachable(detail),
            _ => Fault::Other(detail),
        }
    }
}
