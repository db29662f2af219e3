//! Which servers a client trusts by TLS, and how it proves its own identity.

use redis::{Client, ClientTlsConfig, ConnectionInfo, RedisResult, TlsCertificates};

use super::address::{Address, Node};
use crate::store::error::StoreError;

/// Texts in PEM.
#[derive(Clone, Default)]
pub(super) struct Certificates {
    /// The authorities to trust instead of those of the system.
    pub(super) roots: Option<Vec<u8>>,
    /// A certificate with its chain, and its key.
    pub(super) client: Option<(Vec<u8>, Vec<u8>)>,
}

impl Certificates {
    /// Whether they can be used with the address.
    pub(super) fn check(&self, address: &Address) -> Result<(), StoreError> {
        let misconfigured = |why: &str| Err(StoreError::Misconfigured(why.into()));
        if self.roots.is_none() && self.client.is_none() {
            return Ok(());
        }
        if !address.uses_tls() {
            return misconfigured(
                "certificates are given for Redis, but its URL is without TLS: use one that begins \
                 with `rediss`",
            );
        }
        let holds = |text: &[u8]| text.windows(CERTIFICATE.len()).any(|part| part == CERTIFICATE);
        if self.roots.as_ref().is_some_and(|roots| !holds(roots)) {
            return misconfigured("the root certificates for Redis are not in PEM");
        }
        if self.client.as_ref().is_some_and(|(certificate, _)| !holds(certificate)) {
            return misconfigured("the client certificate for Redis is not in PEM");
        }
        let any = Node { host: "localhost".to_owned(), port: 1 };
        // The message of an error may quote a key.
        self.client(address.node(&any, None)).map(drop).or_else(|_| {
            misconfigured("a root certificate, or the client certificate or its key, is invalid")
        })
    }

    pub(super) fn client(&self, info: ConnectionInfo) -> RedisResult<Client> {
        let client_tls = self.client.clone();
        let client_tls =
            client_tls.map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
        if self.roots.is_none() && client_tls.is_none() {
            return Client::open(info);
        }
        Client::build_with_tls(info, TlsCertificates { client_tls, root_cert: self.roots.clone() })
    }
}

const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";
