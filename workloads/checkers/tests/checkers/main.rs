//! Every checker on histories written by hand: the anomalies that it must catch, and the near misses in which it must
//! stay silent.

mod agreement;
mod continuity;
mod coverage;
mod disk;
mod exactly_once;
mod integrity;
mod metadata;
mod offsets;
mod quorum;
mod real_time;
mod recreated;
mod replication;
mod story;
mod verdict;
