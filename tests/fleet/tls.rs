//! A server that is reached by TLS.

use tower_breaker::{State, fleet::RedisFleet};

use crate::{
    replica::{fail, joined, reaches, settings},
    support::{certificates::Certificates, wait::eventually},
};

#[needs::programs("redis-server", "openssl")]
#[test]
fn replicas_share_a_breaker_by_tls_if_the_server_is_trusted() {
    let Some(certificates) = Certificates::create() else { return };
    let Some((_server, url)) = certificates.serve(true) else { return };
    let build = |roots: String| {
        let [certificate, key] = ["client.pem", "client.key"].map(|name| certificates.pem(name));
        let fleet = RedisFleet::builder(&url).root_certificates(roots);
        let fleet = fleet.client_certificate(certificate, key).build().unwrap();
        settings("payments").shared(fleet).build().unwrap()
    };
    let [first, second] = [(); 2].map(|()| build(certificates.pem("ca.pem")));
    joined(&first);
    joined(&second);
    fail(&first);
    reaches(&[&second], State::Open);

    let mistaken = build(Certificates::create().unwrap().pem("ca.pem"));
    eventually("it is said", || {
        mistaken.fleet_health().to_string().contains("shows a certificate that is not trusted")
    });
}
