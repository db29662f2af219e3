//! A primary, its replica, and the sentinels that watch them, on the loopback interface.

use super::{redis::RedisServer, wait::eventually};

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
        let configuration = format!(
            "sentinel monitor {SERVICE} 127.0.0.1 {port} 2\n\
             sentinel down-after-milliseconds {SERVICE} 1000\n\
             sentinel failover-timeout {SERVICE} 5000\n\
             {configuration}\n"
        );
        let start = |_| RedisServer::start_sentinel(&configuration);
        let sentinels = (0..3).map(start).collect::<Option<Vec<_>>>()?;
        Some(Self { servers: [primary, replica], sentinels })
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
