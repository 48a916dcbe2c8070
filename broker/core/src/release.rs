//! The releases that a node can stand for: which versions it speaks and which features it supports.
//!
//! A broker is always of the [latest](Release::LATEST) one. The older ones are for simulations of rolling upgrades and
//! of clusters whose nodes differ; no property sets them. They differ as Apache Kafka's releases of the same name do,
//! in what of that we have: the `validVersions` of the messages, and the features and defaults of `MetadataVersion`.
//!
//! | release | `metadata.version` | what is new |
//! |---|---|---|
//! | 3.9 | 21 | |
//! | 4.0 | 25 | pre-vote (KIP-996), eligible leader replicas (KIP-966), records that carry them |
//! | 4.1 | 27 | replicas fetch in version 18 (KIP-1166), KIP-860, a new cluster has eligible leader replicas |

use crate::controller::{ELIGIBLE_LEADER_REPLICAS, KRAFT_VERSION};
use crate::metadata::{FeatureRanges, METADATA_VERSION_MIN, METADATA_VERSION_NAME};
use burnin_wire::{Api, versions};
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Release {
    /// As Kafka 3.9.
    V3_9,
    /// As Kafka 4.0.
    V4_0,
    /// As Kafka 4.1.
    V4_1,
}

impl Release {
    /// All of them, the oldest first.
    pub const ALL: [Release; 3] = [Release::V3_9, Release::V4_0, Release::V4_1];

    /// What this build is.
    pub const LATEST: Release = Release::V4_1;

    /// As people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Release::V3_9 => "3.9",
            Release::V4_0 => "4.0",
            Release::V4_1 => "4.1",
        }
    }

    /// The highest `metadata.version` that it knows.
    pub const fn metadata_version(self) -> i16 {
        match self {
            Release::V3_9 => 21,
            Release::V4_0 => 25,
            Release::V4_1 => 27,
        }
    }

    /// The features that it supports.
    pub fn features(self) -> FeatureRanges {
        let metadata = (METADATA_VERSION_MIN, self.metadata_version());
        let mut ranges = vec![(METADATA_VERSION_NAME, metadata), (KRAFT_VERSION, (0, 1))];
        if self >= Release::V4_0 {
            ranges.push((ELIGIBLE_LEADER_REPLICAS, (0, 1)));
        }
        ranges.into_iter().map(|(name, range)| (name.to_owned(), range)).collect()
    }

    /// The levels of features with which a cluster of this release begins.
    pub fn bootstrap(self) -> Vec<(String, i16)> {
        let mut levels = vec![(METADATA_VERSION_NAME.to_owned(), self.metadata_version())];
        if self >= Release::V4_1 {
            levels.push((ELIGIBLE_LEADER_REPLICAS.to_owned(), 1));
        }
        levels
    }

    /// The versions of an API that it speaks, from and to.
    pub fn versions(self, api: Api) -> RangeInclusive<i16> {
        let known = api.versions();
        known.min..=known.max.min(self.version_max(api))
    }

    /// The versions that it says to speak, in an ApiVersions response.
    pub fn advertised(self, api: Api) -> RangeInclusive<i16> {
        versions::advertised(api).min..=*self.versions(api).end()
    }

    /// Where it ends earlier than the table of APIs.
    const fn version_max(self, api: Api) -> i16 {
        match (self, api) {
            (Release::V3_9, Api::Fetch) | (Release::V4_0, Api::Fetch) => 17,
            (Release::V3_9, Api::ListOffsets) => 9,
            (Release::V3_9, Api::Metadata) => 12,
            (Release::V3_9, Api::Vote) => 1,
            (Release::V3_9, Api::UpdateFeatures) => 1,
            (Release::V3_9, Api::DescribeCluster) => 1,
            (Release::V3_9, Api::AlterPartitionReassignments)
            | (Release::V4_0, Api::AlterPartitionReassignments) => 0,
            _ => i16::MAX,
        }
    }
}

/// In which version replicas fetch at this level of `metadata.version` (`MetadataVersion.fetchRequestVersion`).
pub const fn fetch_version(metadata_version: i16) -> i16 {
    if metadata_version >= 27 { 18 } else { 17 }
}

/// The same for ListOffsets (`MetadataVersion.listOffsetRequestVersion`).
pub const fn list_offsets_version(metadata_version: i16) -> i16 {
    if metadata_version >= 25 { 10 } else { 9 }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Release {
    type Err = String;

    fn from_str(text: &str) -> Result<Release, String> {
        Release::ALL.into_iter().find(|release| release.name() == text).ok_or_else(|| {
            let known: Vec<_> = Release::ALL.iter().map(|release| release.name()).collect();
            format!("unknown release `{text}` (known: {})", known.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_only_grow_and_the_latest_speaks_all_that_the_table_has() {
        for pair in Release::ALL.windows(2) {
            assert!(pair[0].metadata_version() < pair[1].metadata_version());
            for api in Api::ALL {
                let (old, new) = (pair[0].versions(*api), pair[1].versions(*api));
                assert!(!old.is_empty(), "{api} of {}", pair[0]);
                assert!(old.end() <= new.end() && old.start() == new.start(), "{api} of {}", pair[1]);
            }
        }
        for api in Api::ALL {
            assert_eq!(*Release::LATEST.versions(*api).end(), api.versions().max, "{api}");
        }
        assert_eq!(Release::ALL.last(), Some(&Release::LATEST));
    }

    /// The ends of `validVersions` in Apache Kafka's 3.9.1, 4.0.0 and 4.1.0. Produce ends earlier with us.
    #[test]
    fn releases_end_where_those_of_kafka_do() {
        let differ = [
            (Api::Fetch, [17, 17, 18]),
            (Api::ListOffsets, [9, 10, 10]),
            (Api::Metadata, [12, 13, 13]),
            (Api::AlterPartitionReassignments, [0, 0, 1]),
            (Api::Vote, [1, 2, 2]),
            (Api::UpdateFeatures, [1, 2, 2]),
            (Api::DescribeCluster, [1, 2, 2]),
        ];
        for api in Api::ALL {
            let same = [api.versions().max; 3];
            let ends = differ.iter().find(|(known, _)| known == api).map_or(same, |(_, ends)| *ends);
            assert_eq!(Release::ALL.map(|release| *release.versions(*api).end()), ends, "{api}");
        }
    }

    #[test]
    fn a_release_supports_what_its_clusters_begin_with_and_speaks_what_its_level_asks_for() {
        for release in Release::ALL {
            let features = release.features();
            for (name, level) in release.bootstrap() {
                let (min, max) = features[&name];
                assert!((min..=max).contains(&level), "{name} {level} of {release}");
            }
            let level = release.metadata_version();
            assert!(release.versions(Api::Fetch).contains(&fetch_version(level)), "{release}");
            assert!(release.versions(Api::ListOffsets).contains(&list_offsets_version(level)), "{release}");
            assert_eq!(release.name().parse(), Ok(release));
        }
        assert_eq!("2.8".parse::<Release>(), Err("unknown release `2.8` (known: 3.9, 4.0, 4.1)".to_owned()));
    }
}
