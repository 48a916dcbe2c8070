//! The engine's behaviour, fault by fault.

mod common;
mod determinism;
mod disk;
mod durability;
mod net;
mod nodes;
