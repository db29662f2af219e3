//! Settings from a file and the environment, which change while the program runs:
//! `cargo run --example reload -- breakers.toml`
//!
//! The file is a `ConfigFile` in TOML. A variable such as `BREAKER__DEFAULTS__RECOVERY_TIMEOUT=5s`
//! overrides it. `kill -HUP` makes the program read both again: the breakers keep their states. A
//! file with a fault changes nothing. Ctrl-C and SIGTERM stop it.
//!
//! The crate `config` takes the names of variables in lowercase, so a variable cannot override a
//! breaker whose name has capitals: it would be about another one. And a program cannot see what
//! its variables become elsewhere: after a SIGHUP, only the file can be another one.

use std::{env, error::Error};

use config::{Environment, File, FileFormat};
use tower_breaker::{Registry, config::ConfigFile};

const PREFIX: &str = "BREAKER";

fn read(path: &str) -> Result<ConfigFile, config::ConfigError> {
    let environment = Environment::with_prefix(PREFIX).prefix_separator("__").separator("__");
    config::Config::builder()
        .add_source(File::new(path, FileFormat::Toml))
        .add_source(environment.try_parsing(true))
        .build()?
        .try_deserialize()
}

fn show(registry: &Registry) {
    for breaker in registry.breakers() {
        let (name, state, time) =
            (breaker.name(), breaker.state(), breaker.config().recovery_timeout);
        println!("{name}: {state}, open for {time:?}");
    }
}

#[cfg(unix)]
fn reread(registry: &Registry, path: &str) -> Result<(), Box<dyn Error>> {
    Ok(registry.reload(&read(path)?)?)
}

#[cfg(unix)]
pub(crate) async fn run(path: &str) -> Result<(), Box<dyn Error>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut reload = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;

    let file = read(path)?;
    let mut registry = Registry::builder().config_file(&file);
    if let Some(store) = file.open_store()? {
        registry = registry.store(store);
    }
    let registry = registry.build()?;
    for name in file.names() {
        registry.get_or_create(name)?;
    }
    show(&registry);
    loop {
        tokio::select! {
            _ = reload.recv() => match reread(&registry, path) {
                Ok(()) => show(&registry),
                Err(error) => println!("nothing changes: {error}"),
            },
            _ = terminate.recv() => return Ok(()),
            result = tokio::signal::ctrl_c() => return Ok(result?),
        }
    }
}

/// Without signals, the settings are read once.
#[cfg(not(unix))]
pub(crate) async fn run(path: &str) -> Result<(), Box<dyn Error>> {
    show(&Registry::builder().config_file(&read(path)?).build()?);
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    run(&env::args().nth(1).ok_or("usage: reload FILE.toml")?).await
}
