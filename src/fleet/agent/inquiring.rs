//! Questions of operators: who is there, and what each replica says about a breaker.

use std::{
    collections::HashMap,
    time::{Duration, Instant, SystemTime},
};

use super::Agent;
use crate::{
    fleet::{
        inquiries::Inquiry,
        message::Ask,
        protocol::record::Micros,
        questions::Present,
        replica::{FleetError, FleetReplica, FleetView, PRESENCE},
        transport::micros,
        view_text::{decode, encode},
    },
    reply::Replier,
    store::StoreError,
    sync::log,
};

/// The longest time to wait for answers.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How many breakers are asked about at once.
const MOST: usize = 64;

impl Agent {
    pub(super) fn serve_inquiries(&mut self) -> Result<(), StoreError> {
        for (question, name) in std::mem::take(&mut self.inquiries.asked) {
            if let Err(error) = self.answer(question, &name) {
                if !self.transport.connection.is_connected() {
                    return Err(error);
                }
                log_unanswered(&name, &error);
            }
        }
        let new = std::mem::take(&mut self.inquiries.new);
        let (later, mut new): (Vec<_>, Vec<_>) = new.into_iter().partition(|ask| self.waits(ask));
        self.inquiries.new = later;
        // What meets an error, and what comes after it, stays, and is answered with the error.
        while let Some(ask) = new.pop() {
            if let Err(error) = self.begin_inquiry(ask) {
                self.inquiries.new.extend(new);
                return Err(error);
            }
        }
        let now = Instant::now();
        let names: Vec<_> = self.inquiries.open.keys().cloned().collect();
        for name in &names {
            if let Err(error) = self.try_conclude(name, now) {
                if !self.transport.connection.is_connected() {
                    return Err(error);
                }
                let refused = self.inquiries.open.remove(name);
                for replier in refused.into_iter().flat_map(|inquiry| inquiry.repliers) {
                    replier.send(Err(FleetError::not_reached(error.to_string())));
                }
            }
        }
        Ok(())
    }

    /// Whether this replica has yet to tell the fleet what it has decided about the breaker: who
    /// sets a state and asks about it learns that it has been sent. A server to which it comes too
    /// late again and again keeps no question waiting.
    fn waits(&self, ask: &Ask) -> bool {
        let Ask::Views { name, .. } = ask else { return false };
        let is_retried = |id: &u64| {
            let shared = self.breakers.get(id);
            shared.is_some_and(|one| one.paused_until.is_some() && one.pause.is_brief())
        };
        let mut ids = self.names.get(name).into_iter().flatten();
        ids.any(|id| self.changed.contains(id) || is_retried(id))
    }

    fn begin_inquiry(&mut self, ask: Ask) -> Result<(), StoreError> {
        match ask {
            Ask::Replicas(replier) => match self.transport.replicas() {
                Ok(present) => replier.send(Ok(to_replicas(&present, SystemTime::now()))),
                Err(error) => return self.fail_inquiry(Ask::Replicas(replier), error),
            },
            Ask::Views { name, wait, replier } => {
                let deadline = Instant::now() + wait.min(LONGEST_WAIT);
                if let Some(inquiry) = self.inquiries.open.get_mut(&*name) {
                    // The first deadline holds: else questions that follow each other closely would
                    // put the answer off forever.
                    inquiry.repliers.retain(|replier| !replier.is_abandoned());
                    inquiry.repliers.push(replier);
                    return Ok(());
                }
                if self.inquiries.open.len() >= MOST {
                    let reason = "too many breakers are asked about at once";
                    replier.send(Err(FleetError::not_reached(reason)));
                    return Ok(());
                }
                let question = fastrand::u64(1..);
                let present = match self.ask_all(question, &name) {
                    Ok(present) => present,
                    Err(error) => {
                        return self.fail_inquiry(Ask::Views { name, wait, replier }, error);
                    }
                };
                let repliers = vec![replier];
                let inquiry = Inquiry { question, present, deadline, repliers };
                self.inquiries.open.insert(name.to_string(), inquiry);
            }
        }
        Ok(())
    }

    /// What the server refuses is an answer to this question alone; without a connection, all are
    /// answered with the error.
    fn fail_inquiry(&mut self, ask: Ask, error: StoreError) -> Result<(), StoreError> {
        if self.transport.connection.is_connected() {
            ask.fail(&error.to_string());
            return Ok(());
        }
        self.inquiries.new.push(ask);
        Err(error)
    }

    fn ask_all(&mut self, question: u64, name: &str) -> Result<Present, StoreError> {
        let present = self.transport.replicas()?;
        self.transport.ask(question, name)?;
        Ok(present)
    }

    /// Passes the answers on, unless there are others to wait for.
    fn try_conclude(&mut self, name: &str, now: Instant) -> Result<(), StoreError> {
        let Self { transport, inquiries, .. } = self;
        let Some(inquiry) = inquiries.open.get(name) else { return Ok(()) };
        let Inquiry { question, present, deadline, repliers } = inquiry;
        if repliers.iter().all(Replier::is_abandoned) {
            inquiries.open.remove(name);
            return Ok(());
        }
        let expected = present.replicas.iter().filter(|(_, seen)| is_present(*seen, present.now));
        if now < *deadline && transport.count_answers(*question)? < expected.count() {
            return Ok(());
        }
        let views = to_views(present, &transport.answers(*question)?);
        let inquiry = inquiries.open.remove(name);
        for replier in inquiry.into_iter().flat_map(|inquiry| inquiry.repliers) {
            replier.send(Ok(views.clone()));
        }
        Ok(())
    }

    /// Answers the question of a replica about a breaker.
    fn answer(&mut self, question: u64, name: &str) -> Result<(), StoreError> {
        let first = self.names.get(name).and_then(|ids| ids.first());
        let shared = first.and_then(|id| self.breakers.get(id));
        let view = shared.and_then(|shared| shared.entry.report());
        let text = view.map_or(String::new(), |(view, now)| encode(&view, now));
        self.transport.answer(question, &self.settings.replica, &text)
    }
}

/// A refused answer affects nothing else.
fn log_unanswered(name: &str, error: &StoreError) {
    log(|| {
        tracing::warn!(
            target: "tower_breaker",
            name,
            %error,
            "an operator's question about circuit breaker {name:?} is not answered: the view of \
             this replica is missing, and nothing else is affected; make the fleet's Redis server \
             accept the answer",
        );
    });
}

fn is_present(seen: Micros, now: Micros) -> bool {
    now.saturating_sub(seen) <= micros(PRESENCE)
}

/// The replicas by their id.
fn to_replicas(present: &Present, wall: SystemTime) -> Vec<FleetReplica> {
    let mut replicas: Vec<_> = present
        .replicas
        .iter()
        .map(|(id, seen)| {
            let ago = Duration::from_micros(present.now.saturating_sub(*seen));
            FleetReplica {
                id: id.clone(),
                last_seen: wall.checked_sub(ago).unwrap_or(wall),
                is_present: is_present(*seen, present.now),
            }
        })
        .collect();
    replicas.sort_by(|a, b| a.id.cmp(&b.id));
    replicas
}

/// What each replica says. One that has answered that there is no such breaker is left out.
fn to_views(present: &Present, answers: &HashMap<String, String>) -> Vec<FleetView> {
    let wall = SystemTime::now();
    let mut replicas = to_replicas(present, wall);
    // It has joined since.
    let more = answers.keys().filter(|id| !present.replicas.iter().any(|(known, _)| known == *id));
    replicas.extend(more.map(|id| FleetReplica {
        id: id.clone(),
        last_seen: wall,
        is_present: true,
    }));
    let views = replicas.into_iter().filter_map(|replica| {
        let text = answers.get(&replica.id);
        if text.is_some_and(String::is_empty) {
            return None;
        }
        Some(FleetView { view: text.and_then(|text| decode(text, wall)), replica })
    });
    views.collect()
}
