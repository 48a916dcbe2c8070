//! Simulation in `cargo test`: the attribute `#[burnin::test]`, and what a test gets to work with.
//!
//! ```ignore
//! #[burnin::test(scenario = "scenarios/smoke/kill-loop.toml", seeds = 32)]
//! fn nothing_is_lost(run: burnin::Run) -> burnin::Result {
//!     run.check()
//! }
//!
//! #[burnin::test(seeds = 32)]
//! async fn my_code_survives(world: burnin::World) -> burnin::Result {
//!     let broker = world.broker(&[]).await?;
//!     // ... talk to `broker.bootstrap()` from `world.client("app")`, then:
//!     broker.power_loss()?;
//!     broker.start().await
//! }
//! ```
//!
//! `world.cluster(3, &[])` starts a replicated cluster, whose `leader("orders", 0)` and `controller()` can be hit.
//!
//! A test runs once per seed, each seed on a thread of its own. One that fails is run again in a fresh process,
//! and only if that gives the same trace is the failure believed. It ends with the failure block, whose last
//! command repeats that seed alone.
//!
//! | variable | meaning |
//! |---|---|
//! | `BURNIN_SEED` | this seed and no other |
//! | `BURNIN_SEEDS` | instead of the attribute's `seeds`: a count (`1000`), a range (`1000..2000`), a list (`7,9`) |
//! | `BURNIN_SEED_BASE` | where counting begins: `fixed` (at 0, the default), `git` (anew for each commit), `random` |
//!
//! | file | what |
//! |---|---|
//! | `scenario.rs` | tests of a scenario: [`Run`] |
//! | `world.rs`, `broker.rs`, `cluster.rs` | tests of one's own code: [`World`], [`BrokerNode`], [`BrokerCluster`] |
//! | `drive.rs` | seed after seed; what is done with a failure |
//! | `child.rs` | the same seed in a fresh process; where two runs part |
//! | `seeds.rs` | which seeds |
//! | `place.rs` | where a test stands, and what repeats it |
//! | `failure.rs` | errors |

mod broker;
mod child;
mod cluster;
mod drive;
mod failure;
mod place;
mod scenario;
mod seeds;
mod world;

pub use broker::BrokerNode;
pub use burnin_macros::test;
pub use cluster::BrokerCluster;
pub use failure::{Failure, Result};
pub use place::TestPlace;
pub use scenario::{Run, run_scenario_test};
pub use world::{World, run_world_test};

pub use burnin_client as client;
pub use burnin_engine as engine;
pub use burnin_report as report;
pub use burnin_runtime as runtime;
