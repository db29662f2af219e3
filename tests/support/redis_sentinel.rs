//! A primary, its replica, and the sentinels that watch them, on the loopback interface.

use super::{
    certificates::Certificates,
    redis::{RedisServer, free_port},
    wait::eventually,
};

const SERVICE: &str = "main";

pub(crate) struct Sentinels {
    /// The first is the primary at the start, the second its replica.
    pub(crate) servers: [RedisServer; 2],
    pub(crate) sentinels: Vec<RedisServer>,
}

impl Sentinels {
    /// Three sentinels of which two have to agree. `None`: there is no `redis-server`.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(&[], "")
    }

    /// The same with further arguments of the servers, and lines of the sentinels' configuration.
    pub(crate) fn start_with(arguments: &[&str], configuration: &str) -> Option<Self> {
        let primary = RedisServer::start_with(arguments)?;
        let port = primary.port().to_string();
        let replica_of = ["--replicaof", &format!("127.0.0.1 {port}")];
        let replica = RedisServer::start_with(&[arguments, &replica_of].concat())?;
        let configuration = watching(&port, configuration);
        let start = |_| RedisServer::start_sentinel(&configuration);
        let sentinels = (0..3).map(start).collect::<Option<Vec<_>>>()?;
        Some(Self { servers: [primary, replica], sentinels })
    }

    /// The same, but all reach each other by TLS; and a URL that names all sentinels.
    pub(crate) fn start_by_tls(certificates: &Certificates) -> Option<(Self, String)> {
        let by_tls = |port: &str| {
            let replication = ["--tls-replication", "yes"].map(str::to_owned);
            certificates.arguments(port).into_iter().chain(replication).collect::<Vec<_>>()
        };
        let ports = [(); 5].map(|()| free_port().to_string());
        let port = &ports[0];
        let start = |arguments: Vec<String>| {
            RedisServer::start_with(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let primary = start(by_tls(port))?;
        let replica_of = ["--replicaof".to_owned(), format!("127.0.0.1 {port}")];
        let replica = start(by_tls(&ports[1]).into_iter().chain(replica_of).collect())?;
        let watch = |own: &String| {
            let lines: Vec<_> = by_tls(own).chunks(2).map(|pair| pair.join(" ")).collect();
            let lines = lines.join("\n").replace("--", "");
            RedisServer::start_sentinel(&watching(port, &lines))
        };
        let sentinels = ports[2..].iter().map(watch).collect::<Option<Vec<_>>>()?;
        let hosts: Vec<_> = ports[2..].iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let url = format!("rediss+sentinel://{}/{SERVICE}", hosts.join(","));
        Some((Self { servers: [primary, replica], sentinels }, url))
    }

    /// Waits until every sentinel knows the replica and the other sentinels.
    pub(crate) fn wait_until_ready(&self, auth: &[&str]) {
        for sentinel in &self.sentinels {
            eventually("the sentinel knows the others", || {
                let state = sentinel.command_as(auth, &["SENTINEL", "MASTER", SERVICE]);
                let state: Vec<_> = state.lines().collect();
                let is = |name, value| state.windows(2).any(|pair| pair == [name, value]);
                is("num-slaves", "1") && is("num-other-sentinels", "2") && is("flags", "master")
            });
        }
    }

    /// A URL that names all sentinels.
    pub(crate) fn url(&self) -> String {
        let hosts: Vec<_> =
            self.sentinels.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        format!("redis+sentinel://{}/{SERVICE}", hosts.join(","))
    }

    /// The port of the primary, as a sentinel knows it.
    pub(crate) fn primary_port(&self, sentinel: usize) -> String {
        let asked = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE];
        let address = self.sentinels[sentinel].command(&asked);
        address.lines().nth(1).unwrap_or_default().to_owned()
    }
}

/// The configuration of a sentinel of the primary at this port, with further lines.
fn watching(port: &str, configuration: &str) -> String {
    format!(
        "sentinel monitor {SERVICE} 127.0.0.1 {port} 2\n\
         sentinel down-after-milliseconds {SERVICE} 1000\n\
         sentinel failover-timeout {SERVICE} 5000\n\
         {configuration}\n"
    )
}
