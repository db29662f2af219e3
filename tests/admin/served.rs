//! The service on sockets: in an axum router at a prefix, and alone with hyper.

use std::net::SocketAddr;

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::net::TcpListener;
use tower_breaker::{State, admin::Admin};

use super::{ID, TOKEN, registry};

async fn axum(admin: Admin, prefix: &str) -> SocketAddr {
    let router: Router = match prefix {
        "" => Router::new().fallback_service(admin),
        prefix => Router::new().nest_service(prefix, admin),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, router).await });
    address
}

async fn hyper(admin: Admin) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(admin.clone());
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn the_service_is_served_at_any_prefix_with_and_without_a_final_slash_and_alone() {
    let registry = registry(&["payments"]);
    let admin = Admin::new(&registry).token(TOKEN);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for (address, prefix) in [
        (axum(admin.clone(), "/admin").await, "/admin"),
        (axum(admin.clone(), "/deep/down/breakers").await, "/deep/down/breakers"),
        (axum(admin.clone(), "").await, ""),
        (hyper(admin).await, ""),
    ] {
        let url = format!("http://{address}{prefix}");
        let get = async |path: &str| {
            let response = client.get(format!("{url}{path}")).send().await.unwrap();
            let status = response.status().as_u16();
            let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
            (status, content_type, response.text().await.unwrap())
        };
        for path in ["", "/"] {
            let (status, content_type, page) = get(path).await;
            assert_eq!((status, &*content_type), (200, "text/html; charset=utf-8"), "{url}{path}");
            assert!(page.starts_with("<!doctype html>"), "{page}");
            // The page finds its files with and without the slash.
            for (file, kind) in [("?page.js", "javascript"), ("?page.css", "css")] {
                assert!(page.contains(&format!("\"{file}\"")));
                let (status, content_type, _) = get(&format!("{path}{file}")).await;
                assert_eq!(status, 200, "{url}{path}{file}");
                assert!(content_type.contains(kind), "{content_type}");
            }
        }
        for path in ["/breakers", "/breakers/"] {
            let (status, _, text) = get(path).await;
            assert!(status == 200 && text.contains("payments"), "{url}{path}: {text}");
        }
        let changed = client
            .post(format!("{url}/breakers/{ID}/force-open"))
            .bearer_auth(TOKEN)
            .header("content-type", "application/json")
            .body(r#"{"note": "over a socket"}"#);
        assert_eq!(changed.send().await.unwrap().status(), 200, "{url}");
        let breaker = registry.get("payments").unwrap();
        assert_eq!(breaker.state(), State::ForcedOpen);
        breaker.reset();
    }
}

#[tokio::test]
async fn the_page_may_load_only_its_own_files_and_be_in_no_frame() {
    let address = axum(Admin::new(registry(&["payments"])), "/admin").await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let response = client.get(format!("http://{address}/admin")).send().await.unwrap();
    let policy = response.headers()["content-security-policy"].to_str().unwrap();
    for rule in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"] {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    let page = response.text().await.unwrap();
    assert!(!page.contains("//"), "no URL of another server: {page}");
}
