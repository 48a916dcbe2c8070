//! A broker as its clients and its cluster see it.

#[macro_use]
mod common;

mod admin;
mod bad_input;
mod cluster;
mod data;
mod determinism;
mod durability;
mod hostile;
mod limits;
mod metadata_log;
mod operations;
mod replication;
mod throttle;
mod tools;
mod upgrades;
mod voters;
