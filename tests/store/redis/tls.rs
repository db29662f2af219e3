//! Servers that are reached by TLS.

use tower_breaker::store::{RedisStore, RedisStoreBuilder, SaveEntry, StateStore, StoreError};

use crate::support::{certificates::Certificates, redis_cluster::RedisCluster, wait::eventually};

/// Waits until the server accepts connections by TLS, and returns the result of a save.
fn save(builder: RedisStoreBuilder) -> Result<(), StoreError> {
    let store = builder.open().unwrap();
    let mut saved = Ok(());
    eventually("the server answers", || {
        saved = store.save(&SaveEntry::new("key", "value"));
        !matches!(&saved, Err(StoreError::Unavailable(_)))
    });
    saved
}

#[track_caller]
fn refused(builder: RedisStoreBuilder, why: &str) {
    let error = save(builder).unwrap_err();
    assert!(matches!(error, StoreError::Misconfigured(_)), "{error}");
    assert!(error.to_string().contains(why), "{error}");
}

#[needs::programs("redis-server", "openssl")]
#[test]
fn only_a_server_whose_authority_is_trusted_is_used() {
    let Some(certificates) = Certificates::create() else { return };
    let Some((server, url)) = certificates.serve(false) else { return };
    let ca = certificates.pem("ca.pem");
    save(RedisStore::builder(&url).root_certificates(&*ca)).unwrap();
    assert_eq!(server.command(&["GET", "circuit_breaker:key:value"]), "value");
    let both = certificates.pem("client.pem") + &ca;
    save(RedisStore::builder(&url).root_certificates(both)).unwrap();

    let other = Certificates::create().unwrap().pem("ca.pem");
    let not_trusted = "shows a certificate that is not trusted";
    refused(RedisStore::builder(&url).root_certificates(other), not_trusted);
    refused(RedisStore::builder(&url), not_trusted);
    // The certificate is for another name.
    let url = url.replace("127.0.0.1", "localhost");
    refused(RedisStore::builder(&url).root_certificates(ca), not_trusted);
}

#[needs::programs("redis-server", "openssl")]
#[test]
fn a_server_that_asks_for_a_certificate_gets_one() {
    let Some(certificates) = Certificates::create() else { return };
    let Some((_server, url)) = certificates.serve(true) else { return };
    let builder = || RedisStore::builder(&url).root_certificates(certificates.pem("ca.pem"));
    let [certificate, key] = ["client.pem", "client.key"].map(|name| certificates.pem(name));
    let builder_with = builder().client_certificate(certificate, key.clone());
    let shown = format!("{builder_with:?}");
    assert!(!shown.contains("PRIVATE") && !shown.contains(key.lines().nth(1).unwrap()), "{shown}");
    save(builder_with).unwrap();
    refused(builder(), "a client certificate");
    let other = Certificates::create().unwrap();
    let [certificate, key] = ["client.pem", "client.key"].map(|name| other.pem(name));
    refused(builder().client_certificate(certificate, key), "a client certificate");
}

#[needs::programs("redis-server", "openssl")]
#[test]
fn the_nodes_of_a_cluster_are_reached_by_tls() {
    let Some(certificates) = Certificates::create() else { return };
    let Some((_cluster, url)) = RedisCluster::start_by_tls(&certificates) else { return };
    let builder = RedisStore::builder(&url).root_certificates(certificates.pem("ca.pem"));
    let store = builder.open().unwrap();
    let entries: Vec<_> = (0..30).map(|key| SaveEntry::new(key.to_string(), "value")).collect();
    store.save_all(&entries).unwrap();
    assert_eq!(store.load_page(None, 100).unwrap().len(), 30);
    refused(RedisStore::builder(&url), "shows a certificate that is not trusted");
}

#[needs::programs("openssl")]
#[test]
fn certificates_that_cannot_be_used_are_refused_without_quoting_them() {
    let Some(certificates) = Certificates::create() else { return };
    let [ca, certificate, key] =
        ["ca.pem", "client.pem", "client.key"].map(|name| certificates.pem(name));
    let builder = || RedisStore::builder("rediss://localhost");
    let broken = certificate.replace('M', "!");
    for builder in [
        RedisStore::builder("redis://localhost").root_certificates(&*ca),
        builder().root_certificates(""),
        builder().root_certificates(&*key),
        builder().root_certificates(&*broken),
        builder().client_certificate(&*key, &*key),
        builder().client_certificate(&*certificate, &*certificate),
        builder().client_certificate(&*certificate, "s3cret"),
    ] {
        let error = builder.open().unwrap_err();
        assert!(matches!(error, StoreError::Misconfigured(_)), "{error}");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("s3cret") && !shown.contains("BEGIN"), "{shown}");
        assert!(shown.contains("certificate"), "{shown}");
    }
    builder().root_certificates(ca).client_certificate(certificate, key).open().unwrap();
}
