//! The HTTP service for operators.

mod abuse;
mod changes;
mod command;
mod events;
mod fleet;
mod groups;
mod openapi;
mod page;
mod reads;
mod served;

#[path = "../support/mod.rs"]
mod support;

use axum::body::Body;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;
use tower_breaker::{
    Registry,
    admin::{Admin, AdminBody},
};

pub(crate) const TOKEN: &str = "correct horse battery staple";

/// `payments`.
pub(crate) const ID: &str = "cGF5bWVudHM";

/// The id of a name.
pub(crate) fn id(name: &str) -> String {
    URL_SAFE_NO_PAD.encode(name)
}

pub(crate) fn registry(names: &[&str]) -> Registry {
    let registry = Registry::builder().build().unwrap();
    for name in names {
        registry.get_or_create(name).unwrap();
    }
    registry
}

pub(crate) async fn send(admin: &Admin, request: Request<Body>) -> Response<AdminBody> {
    admin.clone().oneshot(request).await.unwrap()
}

pub(crate) async fn json_of(response: Response<AdminBody>) -> (StatusCode, Value) {
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap())
}

pub(crate) async fn get(admin: &Admin, path: &str) -> (StatusCode, Value) {
    json_of(send(admin, Request::get(path).body(Body::empty()).unwrap()).await).await
}

/// A change with the token.
pub(crate) fn change(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path)
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", "application/json")
        .body(body.into())
        .unwrap()
}
