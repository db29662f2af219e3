//! Where Redis is: a URL, taken apart. Printing it shows no secret.

use std::{fmt, str::FromStr};

use redis::{ConnectionAddr, ConnectionInfo, RedisConnectionInfo};

use super::credentials::RedisCredentials;
use crate::store::error::StoreError;

const EXPECTED: &str = "expected `redis://[user][:password@]host[:port][/database]`, \
                        `redis+sentinel://host[:port][,host[:port]..]/service[/database]`, \
                        `redis+cluster://host[:port][,host[:port]..]`, each with `rediss` for \
                        TLS, or `unix:///path`";
const SERVER_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Node {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Node {
    /// `None`: it is a socket of Unix.
    pub(super) fn of(addr: &ConnectionAddr) -> Option<Self> {
        match addr {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                Some(Self { host: host.clone(), port: *port })
            }
            _ => None,
        }
    }
}

/// What is found at the nodes of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Topology {
    /// The server itself.
    Server,
    /// Sentinels that know which server is the primary of this service.
    Sentinel { service: String },
    /// Some nodes of a Redis Cluster, which know the others.
    Cluster,
}

/// A server of Redis, or the nodes that know it.
#[derive(Clone)]
pub(crate) struct Address {
    /// At least one. None has credentials.
    nodes: Vec<ConnectionInfo>,
    topology: Topology,
    database: i64,
    /// Those in the URL.
    credentials: Option<RedisCredentials>,
    /// Those for the sentinels, in the URL.
    sentinel_credentials: Option<RedisCredentials>,
}

struct Invalid;

/// The parts of a URL with several hosts.
struct Parts<'a> {
    scheme: &'a str,
    /// With the `@`.
    user_and_password: &'a str,
    hosts: &'a str,
    path: &'a str,
    query: &'a str,
}

impl Address {
    /// Parses the URL of a server, of sentinels, or of a cluster.
    pub(super) fn parse(url: &str) -> Result<Self, StoreError> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        if matches!(scheme, "rediss" | "valkeys" | "rediss+sentinel" | "rediss+cluster") {
            if !cfg!(feature = "redis-tls") {
                let why = "the URL of Redis asks for TLS: enable the feature `redis-tls`";
                return Err(misconfigured(why));
            }
            if url.contains("#insecure") {
                return Err(misconfigured("`#insecure` in the URL of Redis is not supported"));
            }
        }
        // The message of an error may quote the URL, with a password in it.
        let address = match scheme.split_once('+') {
            Some((scheme, "sentinel")) => Self::of_sentinels(&Parts::of(scheme, rest)),
            Some((scheme, "cluster")) => Self::of_cluster(&Parts::of(scheme, rest)),
            _ => Self::of_server(url),
        };
        address.ok_or_else(|| misconfigured(&format!("the URL of Redis is invalid: {EXPECTED}")))
    }

    fn of_server(url: &str) -> Option<Self> {
        let info = ConnectionInfo::from_str(url).ok()?;
        Some(Self {
            topology: Topology::Server,
            database: info.redis_settings().db(),
            credentials: credentials(&info),
            sentinel_credentials: None,
            nodes: vec![without_credentials(info)],
        })
    }

    fn of_sentinels(parts: &Parts<'_>) -> Option<Self> {
        let (service, database) = parts.path.split_once('/').unwrap_or((parts.path, ""));
        let is_service =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if service.is_empty() || !service.bytes().all(is_service) {
            return None;
        }
        Some(Self {
            topology: Topology::Sentinel { service: service.to_owned() },
            sentinel_credentials: parts.sentinel_credentials().ok()?,
            ..parts.address(SENTINEL_PORT, database)?
        })
    }

    fn of_cluster(parts: &Parts<'_>) -> Option<Self> {
        let address =
            Self { topology: Topology::Cluster, ..parts.address(SERVER_PORT, parts.path)? };
        (address.database == 0 && parts.query.is_empty()).then_some(address)
    }

    pub(super) const fn topology(&self) -> &Topology {
        &self.topology
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.topology == Topology::Cluster
    }

    pub(super) const fn credentials(&self) -> Option<&RedisCredentials> {
        self.credentials.as_ref()
    }

    pub(super) const fn sentinel_credentials(&self) -> Option<&RedisCredentials> {
        self.sentinel_credentials.as_ref()
    }

    #[cfg(feature = "redis-tls")]
    pub(super) fn uses_tls(&self) -> bool {
        self.nodes.iter().any(|node| matches!(node.addr(), ConnectionAddr::TcpTls { .. }))
    }

    /// How to connect to the nodes of the URL with these credentials, in their order.
    pub(super) fn nodes(
        &self,
        credentials: Option<&RedisCredentials>,
    ) -> impl Iterator<Item = ConnectionInfo> {
        // Only servers have databases.
        let database = if self.topology == Topology::Server { self.database } else { 0 };
        self.nodes.iter().map(move |node| logged_in(node.clone(), credentials, database))
    }

    /// How to connect to a server that the nodes of the URL have named.
    pub(super) fn node(
        &self,
        Node { host, port }: &Node,
        credentials: Option<&RedisCredentials>,
    ) -> ConnectionInfo {
        let (host, port) = (host.clone(), *port);
        let like = self.nodes[0].clone();
        let addr = match like.addr() {
            ConnectionAddr::TcpTls { .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        logged_in(like.set_addr(addr), credentials, self.database)
    }
}

impl<'a> Parts<'a> {
    fn of(scheme: &'a str, rest: &'a str) -> Self {
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let at = authority.rfind('@').map_or(0, |at| at + 1);
        let (user_and_password, hosts) = authority.split_at(at);
        Self { scheme, user_and_password, hosts, path, query }
    }

    /// The address, with each host as in a URL of its own.
    fn address(&self, default_port: u16, database: &str) -> Option<Address> {
        let Self { scheme, user_and_password, .. } = self;
        if !matches!(*scheme, "redis" | "rediss") || !is_database(database) {
            return None;
        }
        let node = |host: &str| {
            // That of an IPv6 address is after its brackets.
            let port = host.rsplit_once(':').map(|(_, port)| port);
            let has_port = port.is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
            let port = if has_port { String::new() } else { format!(":{default_port}") };
            let url = format!("{scheme}://{user_and_password}{host}{port}/{database}");
            (!host.is_empty()).then(|| ConnectionInfo::from_str(&url).ok())?
        };
        let nodes = self.hosts.split(',').map(node).collect::<Option<Vec<_>>>()?;
        let first = nodes.first()?;
        Some(Address {
            topology: Topology::Server,
            database: first.redis_settings().db(),
            credentials: credentials(first),
            sentinel_credentials: None,
            nodes: nodes.into_iter().map(without_credentials).collect(),
        })
    }

    /// Those of `?sentinel_user=..&sentinel_password=..`.
    fn sentinel_credentials(&self) -> Result<Option<RedisCredentials>, Invalid> {
        let (mut user, mut password) = ("", None);
        for pair in self.query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sentinel_user", value)) => user = value,
                Some(("sentinel_password", value)) => password = Some(value),
                _ => return Err(Invalid),
            }
        }
        let Some(password) = password else {
            return if user.is_empty() { Ok(None) } else { Err(Invalid) };
        };
        // As they are escaped in front of a host.
        let url = format!("redis://{user}:{password}@sentinel");
        ConnectionInfo::from_str(&url).map(|info| credentials(&info)).map_err(|_| Invalid)
    }
}

fn is_database(path: &str) -> bool {
    path.bytes().all(|byte| byte.is_ascii_digit())
}

fn misconfigured(why: &str) -> StoreError {
    StoreError::Misconfigured(why.into())
}

fn credentials(info: &ConnectionInfo) -> Option<RedisCredentials> {
    let redis = info.redis_settings();
    redis.password().map(|password| RedisCredentials {
        user: redis.username().map(str::to_owned),
        password: password.to_owned(),
    })
}

fn without_credentials(info: ConnectionInfo) -> ConnectionInfo {
    info.set_redis_settings(RedisConnectionInfo::default())
}

fn logged_in(
    info: ConnectionInfo,
    credentials: Option<&RedisCredentials>,
    database: i64,
) -> ConnectionInfo {
    // `CLIENT SETINFO` needs a permission and a newer server.
    let mut redis = RedisConnectionInfo::default().set_db(database).set_skip_set_lib_name();
    if let Some(credentials) = credentials {
        redis = redis.set_password(&credentials.password);
        if let Some(user) = &credentials.user {
            redis = redis.set_username(user);
        }
    }
    let tcp = info.tcp_settings().clone().set_nodelay(true);
    info.set_redis_settings(redis).set_tcp_settings(tcp)
}

/// As in the messages of errors: `Redis at host:port`, and the database if it is not the first.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.topology {
            Topology::Server => f.write_str("Redis at ")?,
            Topology::Sentinel { service } => write!(f, "Redis {service} of the sentinels at ")?,
            Topology::Cluster => f.write_str("Redis Cluster at ")?,
        }
        for (place, node) in self.nodes.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{}", node.addr())?;
        }
        match self.database {
            0 => Ok(()),
            database => write!(f, ", database {database},"),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::{Address, Node, Topology};

    #[test]
    fn a_url_is_printed_without_its_secrets() {
        let address = Address::parse("redis://app:s3cret@db.local:6380/2").unwrap();
        assert_eq!(address.to_string(), "Redis at db.local:6380, database 2,");
        assert_eq!(format!("{address:?}"), "\"Redis at db.local:6380, database 2,\"");
        let credentials = address.credentials().unwrap();
        assert_eq!(credentials.user.as_deref(), Some("app"));
        assert_eq!(credentials.password, "s3cret");
    }

    #[test]
    fn an_escaped_password_is_read() {
        for url in ["redis://:p%40ss%2Fword@localhost", "redis+cluster://:p%40ss%2Fword@localhost"]
        {
            let address = Address::parse(url).unwrap();
            assert_eq!(address.credentials().unwrap().password, "p@ss/word");
            assert!(address.to_string().ends_with(" at localhost:6379"), "{address}");
        }
    }

    #[test]
    fn sentinels_are_read_with_their_service_and_database() {
        let url = "redis+sentinel://app:s3cret@a,b:26380,[::1]/main-1/3\
                   ?sentinel_user=watch&sentinel_password=s3%26cret2";
        let address = Address::parse(url).unwrap();
        assert_eq!(*address.topology(), Topology::Sentinel { service: "main-1".to_owned() });
        let shown = "Redis main-1 of the sentinels at a:26379, b:26380, ::1:26379, database 3,";
        assert_eq!(address.to_string(), shown);
        assert_eq!(address.credentials().unwrap().password, "s3cret");
        let sentinels = address.sentinel_credentials().unwrap();
        assert_eq!(sentinels.user.as_deref(), Some("watch"));
        assert_eq!(sentinels.password, "s3&cret2");
        let databases = |info: redis::ConnectionInfo| info.redis_settings().db();
        assert_eq!(address.nodes(None).map(databases).collect::<Vec<_>>(), [0; 3]);
        let primary = Node { host: "c".to_owned(), port: 1 };
        assert_eq!(databases(address.node(&primary, None)), 3);

        let address = Address::parse("redis+sentinel://a/main").unwrap();
        assert!(address.credentials().is_none() && address.sentinel_credentials().is_none());
    }

    #[test]
    fn a_cluster_is_read() {
        let address = Address::parse("redis+cluster://a:1,b").unwrap();
        assert!(address.is_cluster());
        assert_eq!(address.to_string(), "Redis Cluster at a:1, b:6379");
    }

    #[test]
    fn an_invalid_url_is_refused_without_quoting_it() {
        for url in [
            "",
            "localhost",
            "http://app:s3cret@localhost",
            "redis://app:s3cret@",
            "redis://app:s3cret@localhost/x",
            "redis://app:s3cret@localhost:99999",
            "redis://app:s3cret@localhost/?protocol=s3cret",
            "redis://app:s3cret@0.0.0.0",
            "redis+sentinel://app:s3cret@localhost",
            "redis+sentinel://app:s3cret@/main",
            "redis+sentinel://app:s3cret@a,/main",
            "redis+sentinel://app:s3cret@a,b:99999/main",
            "redis+sentinel://app:s3cret@a/ma in",
            "redis+sentinel://app:s3cret@a/main/x",
            "redis+sentinel://app:s3cret@a/main/1/2",
            "redis+sentinel://app:s3cret@a/main?sentinel_user=app",
            "redis+sentinel://app:s3cret@a/main?password=s3cret",
            "http+sentinel://app:s3cret@a/main",
            "redis+cluster://app:s3cret@",
            "redis+cluster://app:s3cret@a/1",
            "redis+cluster://app:s3cret@a?password=s3cret",
            "redis+other://app:s3cret@a",
        ] {
            let error = Address::parse(url).unwrap_err().to_string();
            assert!(error.starts_with("store misconfigured: the URL of Redis"), "{error}");
            assert!(!error.contains("s3cret") && !error.contains("app"), "{error}");
        }
    }

    #[cfg(not(feature = "redis-tls"))]
    #[test]
    fn tls_without_its_feature_says_so() {
        for url in ["rediss://localhost", "rediss+sentinel://a/b", "rediss+cluster://a"] {
            let error = Address::parse(url).unwrap_err().to_string();
            assert!(error.contains("redis-tls"), "{error}");
        }
    }

    #[cfg(feature = "redis-tls")]
    #[test]
    fn tls_is_read_from_the_scheme() {
        for rest in ["://localhost", "+sentinel://a/b", "+cluster://a"] {
            assert!(Address::parse(&format!("rediss{rest}")).unwrap().uses_tls());
            assert!(!Address::parse(&format!("redis{rest}")).unwrap().uses_tls());
        }
        assert!(Address::parse("rediss://localhost/#insecure").is_err());
    }
}
