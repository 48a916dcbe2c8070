//! The controller: each rule by itself, and all of them under random cluster life.

mod alter_partition;
mod brokers;
mod elections;
mod reassignment;
mod settings;
mod simulation;
mod topics;
mod world;
