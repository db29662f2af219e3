//! Users of Redis with certain permissions, and the documentation of these.

use super::redis::RedisServer;

/// Defines a user with these permissions, and returns the URL by which it connects.
pub(crate) fn user(server: &RedisServer, rules: &[&str]) -> String {
    let define = [&["ACL", "SETUSER", "breakers", "reset", "on", ">s3cret"], rules].concat();
    assert_eq!(server.command(&define), "OK");
    format!("redis://breakers:s3cret@127.0.0.1:{}", server.port())
}

/// URLs of a server with a password: with a wrong one, with one of an unknown user, and without.
pub(crate) fn wrong_passwords(server: &RedisServer) -> [String; 3] {
    let address = format!("127.0.0.1:{}", server.port());
    ["redis://:wr0ng@", "redis://al1ce:wr0ng@", "redis://"].map(|start| start.to_owned() + &address)
}

/// Checks that nothing of these URLs is shown but that they are refused.
#[track_caller]
pub(crate) fn assert_refused_without_secrets(shown: &str) {
    assert!(shown.contains("refuses the user or the password"), "{shown}");
    assert!(!shown.contains("wr0ng") && !shown.contains("al1ce"), "{shown}");
}

/// Checks that the command in the documentation, of that many lines, grants these permissions and
/// no others.
pub(crate) fn assert_documented(rules: &[&str], documentation: &str, lines: usize) {
    let is_command = |line: &&str| line.contains("ACL SETUSER");
    let command = documentation.lines().skip_while(|line| !is_command(line)).take(lines);
    let shown: String = command.chain([" "]).collect();
    for rule in rules {
        assert!(
            shown.contains(&format!("{rule} ")) || shown.contains(&format!("{rule}/")),
            "{rule}: {shown}"
        );
    }
    let count = shown.matches('+').count() + shown.matches('~').count();
    assert_eq!(count, rules.len(), "nothing else is asked for");
}
