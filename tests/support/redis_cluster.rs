//! Redis Clusters on the loopback interface.

use super::{
    certificates::Certificates,
    redis::{RedisServer, free_port},
    wait::eventually,
};

const SLOTS: usize = 16384;

/// Nodes of a cluster, each a server of its own.
pub(crate) struct RedisCluster {
    pub(crate) primaries: Vec<RedisServer>,
    /// One of each primary, or none.
    pub(crate) replicas: Vec<RedisServer>,
}

impl RedisCluster {
    /// Three primaries, which share the slots. `None`: there is no `redis-server`.
    pub(crate) fn start() -> Option<Self> {
        Self::of(3, false, None)
    }

    /// The same by TLS, and a URL that names all primaries.
    pub(crate) fn start_by_tls(certificates: &Certificates) -> Option<(Self, String)> {
        let cluster = Self::of(3, false, Some(certificates))?;
        let port = |node: &RedisServer| node.command(&["CONFIG", "GET", "tls-port"]);
        let host = |node| format!("127.0.0.1:{}", port(node).lines().nth(1).unwrap());
        let hosts: Vec<_> = cluster.primaries.iter().map(host).collect();
        Some((cluster, format!("rediss+cluster://{}", hosts.join(","))))
    }

    /// The same, each with a replica that takes over when its primary is gone.
    pub(crate) fn start_with_replicas() -> Option<Self> {
        Self::of(3, true, None)
    }

    fn of(count: usize, with_replicas: bool, tls: Option<&Certificates>) -> Option<Self> {
        let start = || {
            let (bus, port) = (free_port().to_string(), free_port().to_string());
            let of_tls = tls.map_or_else(Vec::new, |tls| {
                let both = ["--tls-cluster", "yes", "--tls-replication", "yes"].map(str::to_owned);
                tls.arguments(&port).into_iter().chain(both).collect()
            });
            let arguments = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"];
            let arguments = arguments.into_iter().chain(["--cluster-port", &bus]);
            let arguments: Vec<_> = arguments.chain(of_tls.iter().map(String::as_str)).collect();
            let server = RedisServer::start_with(&arguments)?;
            // By which the others know it.
            let address = [if tls.is_some() { port } else { server.port().to_string() }, bus];
            Some((server, address))
        };
        let all: Vec<_> = (0..count * (1 + usize::from(with_replicas)))
            .map(|_| start())
            .collect::<Option<_>>()?;
        for (place, (node, _)) in all.iter().enumerate() {
            if place < count {
                let [first, last] = [place, place + 1].map(|place| place * SLOTS / count);
                let (first, last) = (first.to_string(), (last - 1).to_string());
                done(node, &["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
            }
            done(node, &["CLUSTER", "SET-CONFIG-EPOCH", &(place + 1).to_string()]);
        }
        for (_, [port, bus]) in &all[1..] {
            done(&all[0].0, &["CLUSTER", "MEET", "127.0.0.1", port, bus]);
        }
        let known = format!("cluster_known_nodes:{}", all.len());
        for (node, _) in &all {
            eventually("the node knows the others", || info(node).contains(&known));
        }
        for (place, (node, _)) in all.iter().enumerate().skip(count) {
            let id = all[place - count].0.command(&["CLUSTER", "MYID"]);
            eventually("it is a replica", || node.command(&["CLUSTER", "REPLICATE", &id]) == "OK");
        }
        let mut nodes = all.into_iter().map(|(node, _)| node);
        let cluster =
            Self { primaries: nodes.by_ref().take(count).collect(), replicas: nodes.collect() };
        cluster.wait_until_ready();
        Some(cluster)
    }

    /// Waits until all nodes agree that all slots are served.
    pub(crate) fn wait_until_ready(&self) {
        for node in self.primaries.iter().chain(&self.replicas) {
            eventually("the cluster is ready", || info(node).contains("cluster_state:ok"));
        }
        for replica in &self.replicas {
            eventually("the replica follows", || {
                replica.command(&["INFO", "replication"]).contains("master_link_status:up")
            });
        }
        // All of them know which is whose.
        for node in self.primaries.iter().chain(&self.replicas) {
            let slots = || node.command(&["CLUSTER", "SLOTS"]);
            let all = || self.primaries.iter().chain(&self.replicas);
            eventually("the node knows all", || {
                all().all(|other| slots().lines().any(|line| line == other.port().to_string()))
            });
        }
    }

    /// A URL that names all primaries.
    pub(crate) fn url(&self) -> String {
        let hosts: Vec<_> =
            self.primaries.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    /// The place of the primary that had the slot of this key at the start.
    pub(crate) fn place_of(&self, key: &str) -> usize {
        let slot: usize = self.primaries[0].command(&["CLUSTER", "KEYSLOT", key]).parse().unwrap();
        (0..SLOTS).find(|place| slot < (place + 1) * SLOTS / self.primaries.len()).unwrap()
    }

    /// The primary that had the slot of this key at the start.
    pub(crate) fn primary_of(&self, key: &str) -> &RedisServer {
        &self.primaries[self.place_of(key)]
    }

    /// Moves the slot of a key, with all keys in it, to another primary.
    pub(crate) fn move_slot(&self, key: &str, from: usize, to: usize) {
        let finish = self.begin_moving(key, from, to);
        let slot = self.primaries[from].command(&["CLUSTER", "KEYSLOT", key]);
        loop {
            let keys = self.primaries[from].command(&["CLUSTER", "GETKEYSINSLOT", &slot, "10"]);
            if keys.is_empty() {
                break;
            }
            keys.lines().for_each(|key| self.migrate(key, from, to));
        }
        finish();
    }

    /// Begins to move the slot of a key. The answer ends it, once all keys have moved.
    pub(crate) fn begin_moving(&self, key: &str, from: usize, to: usize) -> impl FnOnce() {
        let slot = self.primaries[0].command(&["CLUSTER", "KEYSLOT", key]);
        let (source, target) = (&self.primaries[from], &self.primaries[to]);
        let ids = [source, target].map(|node| node.command(&["CLUSTER", "MYID"]));
        done(target, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &ids[0]]);
        done(source, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &ids[1]]);
        move || {
            for node in [target, source] {
                done(node, &["CLUSTER", "SETSLOT", &slot, "NODE", &ids[1]]);
            }
        }
    }

    /// Moves a key whose slot is moving.
    pub(crate) fn migrate(&self, key: &str, from: usize, to: usize) {
        let port = self.primaries[to].port().to_string();
        // It may have expired.
        self.primaries[from].command(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]);
    }
}

fn info(node: &RedisServer) -> String {
    node.command(&["CLUSTER", "INFO"])
}

#[track_caller]
fn done(node: &RedisServer, command: &[&str]) {
    assert_eq!(node.command(command), "OK", "{command:?}");
}
