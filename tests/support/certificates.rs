//! Certificates for servers on the loopback interface, made by `openssl`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    redis::{RedisServer, free_port},
    skip,
};

/// An authority, and what it has signed: for the host 127.0.0.1, and for a client.
pub(crate) struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    /// `None`: there is no `openssl`, and the test is skipped.
    pub(crate) fn create() -> Option<Self> {
        let run = Command::new("openssl").arg("version").stdout(Stdio::null()).status();
        if !run.is_ok_and(|status| status.success()) {
            skip::missing("openssl is missing (Debian: apt-get install openssl)");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        make(folder.path(), "ca", "basicConstraints=critical,CA:TRUE");
        let host = "basicConstraints=critical,CA:FALSE\nsubjectAltName=IP:127.0.0.1";
        make(folder.path(), "server", host);
        make(folder.path(), "client", "basicConstraints=critical,CA:FALSE");
        Some(Self { folder })
    }

    pub(crate) fn pem(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A server with these certificates, and its URL by TLS. It asks clients for one, or not.
    pub(crate) fn serve(&self, asks_for_one: bool) -> Option<(RedisServer, String)> {
        let port = free_port().to_string();
        let asks = ["--tls-auth-clients", if asks_for_one { "yes" } else { "no" }];
        let arguments = self.arguments(&port);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).chain(asks).collect();
        let server = RedisServer::start_with(&arguments)?;
        Some((server, format!("rediss://127.0.0.1:{port}")))
    }

    /// The arguments of a server that is reached by TLS on this port.
    pub(crate) fn arguments(&self, port: &str) -> Vec<String> {
        let file = |name| self.path(name).to_str().unwrap().to_owned();
        let arguments = ["--tls-port", port, "--tls-auth-clients", "no"].map(str::to_owned);
        let files = [
            ["--tls-ca-cert-file".to_owned(), file("ca.pem")],
            ["--tls-cert-file".to_owned(), file("server.pem")],
            ["--tls-key-file".to_owned(), file("server.key")],
        ];
        arguments.into_iter().chain(files.into_iter().flatten()).collect()
    }
}

/// Makes `name.pem` and `name.key`, signed by `ca`, or by itself if it is the authority.
fn make(folder: &Path, name: &str, extensions: &str) {
    let configuration = format!(
        "[req]\nprompt=no\ndistinguished_name=dn\nx509_extensions=extensions\n\
         [dn]\nCN=test {name}\n[extensions]\n{extensions}\n"
    );
    fs::write(folder.join("configuration"), configuration).unwrap();
    let mut command = Command::new("openssl");
    command.current_dir(folder).args(["req", "-x509", "-days", "2", "-nodes", "-newkey", "ec"]);
    command.args(["-pkeyopt", "ec_paramgen_curve:P-256", "-config", "configuration"]);
    command.args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.pem")]);
    if name != "ca" {
        command.args(["-CA", "ca.pem", "-CAkey", "ca.key"]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
