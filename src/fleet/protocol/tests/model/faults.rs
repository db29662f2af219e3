//! What goes wrong in the model.

use super::{CLOCK_STEP, Fleet, world::World};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Fault {
    Die(usize),
    /// The server loses all that it knew.
    Forget,
    /// It loses what it knew about the breaker.
    Evict,
    Copy,
    FallBack,
    ClockBack,
    ClockAhead,
}

impl Fleet {
    /// What may go wrong next.
    pub(super) fn faults(&self, world: &World) -> Vec<Fault> {
        let mut faults = Vec::new();
        if world.steps < self.clock_steps {
            faults.extend([Fault::ClockBack, Fault::ClockAhead]);
        }
        let has_key = world.server.entry.is_some();
        if world.evictions > 0 && has_key {
            faults.push(Fault::Evict);
        }
        if world.faults > 0 {
            let living = (0..world.replicas.len()).filter(|index| world.replicas[*index].alive);
            faults.extend(living.map(Fault::Die));
            if has_key {
                let is_copied = world.copy.is_some();
                faults.push(Fault::Forget);
                faults.push(if is_copied { Fault::FallBack } else { Fault::Copy });
            }
        }
        faults
    }
}

impl World {
    pub(super) fn suffer(&mut self, fault: Fault) {
        match fault {
            Fault::Die(index) => {
                self.faults -= 1;
                self.replicas[index].alive = false;
                self.replicas[index].probing = false;
            }
            Fault::Forget => {
                self.faults -= 1;
                (self.era, self.losses) = (self.era + 1, self.losses + 1);
                (self.server.entry, self.server.top) = (None, 0);
            }
            Fault::Evict => {
                self.evictions -= 1;
                self.era += 1;
                self.server.entry = None;
            }
            Fault::Copy => self.copy = Some(Box::new(self.server.clone())),
            Fault::FallBack => {
                self.faults -= 1;
                (self.era, self.losses) = (self.era + 1, self.losses + 1);
                self.server = *self.copy.take().expect("a copy");
            }
            Fault::ClockBack => {
                self.steps += 1;
                self.ahead -= CLOCK_STEP;
            }
            Fault::ClockAhead => {
                self.steps += 1;
                self.ahead += CLOCK_STEP;
            }
        }
    }
}
