//! Breakers that several replicas share through a real Redis server.

#![cfg(unix)]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod clocks;
mod cluster;
mod commands;
mod counts;
mod ends;
mod forked;
mod health_checks;
mod many;
mod names;
mod news;
mod operators;
mod outages;
mod probes;
mod processes;
mod proxy;
mod remarks;
mod replica;
mod scale;
mod schedules;
mod sentinel;
mod spread;
mod tls;
mod together;
mod trouble;

#[test]
fn child_process() {
    support::child::enter(&[
        (processes::REPLICA, processes::replica),
        (forked::PARENT, forked::parent),
        (ends::VOTER, ends::voter),
        (ends::OPERATOR, ends::operator),
    ]);
}
