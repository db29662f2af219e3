//! The settings of a registry: defaults, and those of single breakers.

use std::{collections::BTreeMap, sync::Arc};

use smol_str::SmolStr;

use super::environment::Environment;
use crate::config::{Config, ConfigError, ConfigFile, Faults, check_name, join};

#[derive(Debug, Default)]
pub(super) struct Settings {
    pub(super) defaults: Arc<Config>,
    pub(super) breakers: BTreeMap<SmolStr, Arc<Config>>,
}

impl Settings {
    pub(super) fn from_file(file: &ConfigFile) -> Self {
        let own = |name: &str| (name.into(), Arc::new(file.get(name).clone()));
        Self {
            defaults: Arc::new(file.defaults().clone()),
            breakers: file.names().map(own).collect(),
        }
    }

    /// The settings of a breaker. Breakers without settings of their own share the defaults'
    /// memory.
    pub(super) fn get(&self, name: &str) -> &Arc<Config> {
        self.breakers.get(name).unwrap_or(&self.defaults)
    }

    /// Whether breakers of this environment can have these settings.
    pub(super) fn validate(&self, environment: &Environment) -> Result<(), ConfigError> {
        let mut faults = Faults::default();
        environment.check(&self.defaults, "defaults", &mut faults);
        for (name, config) in &self.breakers {
            let path = join("breakers", name);
            check_name(name, path.clone(), &mut faults);
            environment.check(config, &path, &mut faults);
        }
        faults.into_result(())
    }
}
