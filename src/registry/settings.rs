//! The settings of a registry: defaults, and those of single breakers.

use std::{collections::BTreeMap, sync::Arc};

use smol_str::SmolStr;

use crate::config::{Config, ConfigFile, Faults, check_name, join};
#[cfg(feature = "redis")]
use crate::fleet::FleetCounts;

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

    pub(super) fn check(&self, faults: &mut Faults) {
        self.defaults.check("defaults", faults);
        for (name, config) in &self.breakers {
            let path = join("breakers", name);
            check_name(name, path.clone(), faults);
            config.check(&path, faults);
        }
    }

    /// Whether a fleet can count for all rules.
    #[cfg(feature = "redis")]
    pub(super) fn check_counts(&self, counts: FleetCounts, faults: &mut Faults) {
        counts.check(&self.defaults, "defaults", faults);
        for (name, config) in &self.breakers {
            counts.check(config, &join("breakers", name), faults);
        }
    }
}
