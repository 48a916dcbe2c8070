//! Where new replicas go (`StripedReplicaPlacer`): spread over racks first, then over brokers.
//!
//! Racks are taken in turn, and within a rack its brokers in turn; every partition begins one further than the one
//! before, so that leaders and followers of many partitions make stripes:
//!
//! ```text
//!  racks A (1 4), B (2 5), C (3 6)      partition 0: 1 2 3     partition 1: 5 6 4     partition 2: 3 1 2
//! ```
//!
//! The first replica is never on a fenced broker; the others only where a rack has no unfenced one left. After as
//! many partitions as there are unfenced brokers everything is shuffled. Given the same randomness the outcome is
//! the same.

use burnin_runtime::Entropy;

/// A broker that can take replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Usable {
    pub(super) id: i32,
    pub(super) rack: Option<String>,
    pub(super) fenced: bool,
}

/// Brokers that are taken in turn; each once for each partition.
#[derive(Debug, Default)]
struct Ring {
    brokers: Vec<i32>,
    taken: usize,
    offset: usize,
    round: usize,
}

impl Ring {
    fn next(&mut self, round: usize) -> Option<i32> {
        let count = self.brokers.len();
        if count > 0 && self.round != round {
            self.round = round;
            self.taken = 0;
            self.offset = (self.offset + 1) % count;
        }
        let broker = (self.taken < count).then(|| self.brokers[(self.taken + self.offset) % count])?;
        self.taken += 1;
        Some(broker)
    }
}

#[derive(Debug, Default)]
struct Rack {
    name: Option<String>,
    unfenced: Ring,
    fenced: Ring,
}

struct Racks<'a> {
    racks: Vec<Rack>,
    unfenced: usize,
    round: usize,
    offset: usize,
    entropy: &'a mut Entropy,
}

/// Replicas for `partitions` new partitions, the leader of each first. The error says why there are none, in
/// Kafka's words.
pub(super) fn place(
    brokers: &[Usable],
    partitions: i32,
    factor: usize,
    entropy: &mut Entropy,
) -> Result<Vec<Vec<i32>>, String> {
    if factor == 0 {
        return Err("Invalid replication factor 0: the replication factor must be positive.".to_owned());
    }
    let unfenced = brokers.iter().filter(|broker| !broker.fenced).count();
    if unfenced == 0 {
        return Err("All brokers are currently fenced.".to_owned());
    }
    if factor > brokers.len() {
        return Err(format!(
            "The target replication factor of {factor} cannot be reached because only {} broker(s) are registered.",
            brokers.len()
        ));
    }
    let mut racks = Racks::new(brokers, unfenced, entropy);
    Ok((0..partitions).map(|_| racks.place(factor)).collect())
}

impl<'a> Racks<'a> {
    fn new(brokers: &[Usable], unfenced: usize, entropy: &'a mut Entropy) -> Self {
        let mut sorted: Vec<&Usable> = brokers.iter().collect();
        sorted.sort_by(|a, b| (&a.rack, a.id).cmp(&(&b.rack, b.id)));
        let mut racks: Vec<Rack> = Vec::new();
        for broker in sorted {
            if racks.last().is_none_or(|rack| rack.name != broker.rack) {
                racks.push(Rack { name: broker.rack.clone(), ..Rack::default() });
            }
            let rack = racks.last_mut().expect("it was just pushed");
            let ring = if broker.fenced { &mut rack.fenced } else { &mut rack.unfenced };
            ring.brokers.push(broker.id);
        }
        for ring in racks.iter_mut().flat_map(|rack| [&mut rack.unfenced, &mut rack.fenced]) {
            if !ring.brokers.is_empty() {
                ring.offset = entropy.below(ring.brokers.len() as u64) as usize;
            }
        }
        let offset = entropy.below(racks.len() as u64) as usize;
        Racks { racks, unfenced, round: 0, offset, entropy }
    }

    fn place(&mut self, factor: usize) -> Vec<i32> {
        if self.round > 0 && self.round.is_multiple_of(self.unfenced) && self.unfenced > 1 {
            self.shuffle();
        }
        let (count, round) = (self.racks.len(), self.round);
        let start = self.offset % count;
        let mut in_turn = (0..count).map(|step| (start + step) % count);
        let first = in_turn.find_map(|rack| Some((rack, self.racks[rack].unfenced.next(round)?)));
        let (first_rack, leader) = first.expect("there is an unfenced broker, and it was not taken yet");
        let mut replicas = vec![leader];
        // The leader's rack counts as visited in the first turn.
        let (mut rack, mut skipped) = (start, false);
        while replicas.len() < factor {
            if rack == first_rack && !skipped {
                skipped = true;
            } else {
                let Rack { unfenced, fenced, .. } = &mut self.racks[rack];
                replicas.extend(unfenced.next(round).or_else(|| fenced.next(round)));
            }
            rack = (rack + 1) % count;
        }
        self.round += 1;
        self.offset = start + 1;
        replicas
    }

    fn shuffle(&mut self) {
        shuffle(&mut self.racks, self.entropy);
        for rack in &mut self.racks {
            shuffle(&mut rack.unfenced.brokers, self.entropy);
            shuffle(&mut rack.fenced.brokers, self.entropy);
        }
    }
}

/// Fisher and Yates.
fn shuffle<T>(items: &mut [T], entropy: &mut Entropy) {
    for last in (1..items.len()).rev() {
        items.swap(last, entropy.below(last as u64 + 1) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn entropy(seed: u8) -> Entropy {
        Entropy::from_seed([seed; 32])
    }

    fn brokers(racks: &[(&str, &[i32])], fenced: &[i32]) -> Vec<Usable> {
        let of = |(rack, ids): &(&str, &[i32])| -> Vec<Usable> {
            let rack = Some(rack.to_string()).filter(|rack| !rack.is_empty());
            ids.iter().map(|id| Usable { id: *id, rack: rack.clone(), fenced: fenced.contains(id) }).collect()
        };
        racks.iter().flat_map(of).collect()
    }

    #[test]
    fn every_rack_gets_a_replica_and_every_broker_its_share() {
        let racks: &[(&str, &[i32])] = &[("a", &[1, 4]), ("b", &[2, 5]), ("c", &[3, 6])];
        for seed in 0..20 {
            let placed = place(&brokers(racks, &[]), 60, 3, &mut entropy(seed)).unwrap();
            let (mut leaders, mut replicas) = (BTreeMap::new(), BTreeMap::new());
            for partition in &placed {
                let mut seen: Vec<i32> = partition.iter().map(|id| (id - 1) % 3).collect();
                seen.sort_unstable();
                assert_eq!(seen, [0, 1, 2], "seed {seed}: {partition:?}");
                *leaders.entry(partition[0]).or_insert(0) += 1;
                for id in partition {
                    *replicas.entry(*id).or_insert(0) += 1;
                }
            }
            assert_eq!(leaders.len(), 6, "seed {seed}: {leaders:?}");
            assert!(leaders.values().all(|n| (4..=16).contains(n)), "seed {seed}: {leaders:?}");
            assert!(replicas.values().all(|n| (20..=40).contains(n)), "seed {seed}: {replicas:?}");
        }
    }

    #[test]
    fn placement_is_decided_by_the_randomness_alone() {
        let brokers = brokers(&[("", &[3, 1, 2])], &[]);
        let mut other = brokers.clone();
        other.reverse();
        let placed = |list: &[Usable], seed| place(list, 20, 2, &mut entropy(seed)).unwrap();
        assert_eq!(placed(&brokers, 7), placed(&other, 7), "the order of the list does not count");
        assert!((0..5).any(|seed| placed(&brokers, seed) != placed(&brokers, 7)));
    }

    #[test]
    fn fenced_brokers_come_last_and_never_lead() {
        let list = brokers(&[("", &[1, 2, 3, 4])], &[2, 4]);
        for seed in 0..20 {
            for replicas in place(&list, 10, 3, &mut entropy(seed)).unwrap() {
                let fenced = replicas.iter().position(|id| id % 2 == 0).unwrap();
                assert_eq!((fenced, replicas.len()), (2, 3), "seed {seed}: {replicas:?}");
            }
        }
    }

    #[test]
    fn uneven_racks_still_give_distinct_replicas() {
        let list = brokers(&[("a", &[1]), ("b", &[2, 3, 4]), ("c", &[5])], &[5]);
        for seed in 0..20 {
            for mut replicas in place(&list, 30, 5, &mut entropy(seed)).unwrap() {
                assert_ne!(replicas[0], 5, "seed {seed}");
                replicas.sort_unstable();
                assert_eq!(replicas, [1, 2, 3, 4, 5], "seed {seed}");
            }
        }
    }

    #[test]
    fn what_cannot_be_placed_is_refused() {
        let two = brokers(&[("", &[1, 2])], &[]);
        let refused = |list: &[Usable], factor| place(list, 1, factor, &mut entropy(1)).unwrap_err();
        assert!(refused(&two, 3).contains("only 2 broker(s) are registered"));
        assert!(refused(&two, 0).contains("must be positive"));
        assert!(refused(&brokers(&[("", &[1, 2])], &[1, 2]), 1).contains("currently fenced"));
        assert!(refused(&[], 1).contains("currently fenced"));
    }
}
