//! The fleet of a shared breaker: whether it is reached, and what each replica says.

use serde::Serialize;

#[cfg(feature = "redis")]
pub(super) use self::shared::{Replicas, reach};
#[cfg(not(feature = "redis"))]
pub(super) use self::single::{Replicas, reach};

/// Whether a breaker reaches its fleet.
#[derive(Debug, Serialize)]
pub(super) struct FleetReach {
    /// A word for programs.
    health: &'static str,
    /// A sentence for people.
    detail: String,
}

#[cfg(feature = "redis")]
mod shared {
    use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

    use serde::Serialize;

    use super::FleetReach;
    use crate::{
        fleet::{FleetHealth, FleetView},
        handle::Breaker,
        timer::Timer,
    };

    /// How long the replicas may take for their answers.
    const WAIT: Duration = Duration::from_secs(1);

    /// How long a request waits for them, whatever the fleet's server does.
    const LIMIT: Duration = Duration::from_secs(2);

    /// `None` if the breaker is not shared.
    pub(in crate::admin) fn reach(breaker: &Breaker) -> Option<FleetReach> {
        let health = breaker.fleet_health();
        let word = match &health {
            FleetHealth::NotShared => return None,
            FleetHealth::Joined => "joined",
            FleetHealth::Alone { .. } => "alone",
        };
        Some(FleetReach { health: word, detail: health.to_string() })
    }

    /// What each replica says about a breaker.
    #[derive(Debug, Default, Serialize)]
    pub(in crate::admin) struct Replicas {
        /// `None` if the breaker is not shared, or they could not be asked.
        replicas: Option<Vec<FleetView>>,
        /// Why they could not be asked.
        replicas_problem: Option<String>,
    }

    impl Replicas {
        /// Asks the replicas. It ends in time also if the fleet's server hangs.
        pub(in crate::admin) async fn ask(breaker: &Breaker) -> Self {
            if breaker.fleet_health() == FleetHealth::NotShared {
                return Self::default();
            }
            let mut asking = pin!(breaker.fleet_views(WAIT));
            let mut limit = Timer::new();
            limit.set(LIMIT);
            let answer = poll_fn(|cx| match asking.as_mut().poll(cx) {
                Poll::Ready(answer) => Poll::Ready(Some(answer)),
                Poll::Pending => limit.poll(cx).map(|()| None),
            });
            match answer.await {
                Some(Ok(views)) => Self { replicas: Some(views), replicas_problem: None },
                Some(Err(error)) => Self::missing(error.to_string()),
                None => Self::missing("the fleet's server does not answer".to_owned()),
            }
        }

        fn missing(problem: String) -> Self {
            Self { replicas: None, replicas_problem: Some(problem) }
        }
    }
}

/// Without a way to share breakers.
#[cfg(not(feature = "redis"))]
mod single {
    use serde::Serialize;

    use super::FleetReach;
    use crate::handle::Breaker;

    pub(in crate::admin) fn reach(_: &Breaker) -> Option<FleetReach> {
        None
    }

    #[derive(Debug, Default, Serialize)]
    pub(in crate::admin) struct Replicas {
        replicas: Option<()>,
        replicas_problem: Option<()>,
    }

    impl Replicas {
        #[expect(clippy::unused_async, reason = "with the feature `redis`, it waits")]
        pub(in crate::admin) async fn ask(_: &Breaker) -> Self {
            Self::default()
        }
    }
}
