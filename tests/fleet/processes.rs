//! Replicas as processes.
use crate::support::child::RoleResult;
pub(crate) const REPLICA: &str = "replica";
pub(crate) fn replica() -> RoleResult { Ok(()) }
#[test]
fn debug() {
    let Some(server) = crate::support::redis::RedisServer::start() else { return };
    let replicas = [(); 2].map(|()| crate::replica::replica(&server, "payments"));
    crate::replica::fail(&replicas[0]);
    for _ in 0..40 {
        std::thread::sleep(std::time::Duration::from_millis(50));
        println!("{:?} {:?} {:?}", replicas[0].state(), replicas[1].state(), replicas[0].snapshot());
    }
    println!("{}", server.command(&["HGETALL", "circuit_breaker:{0}:fleet:breaker:payments"]));
    println!("{}", server.command(&["TIME"]));
}
