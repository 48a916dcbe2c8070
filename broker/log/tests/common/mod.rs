//! A node with a log directory that lives, dies and lives again, and a model of what it owes.
//!
//! One life opens the directory, compares what it finds with the model, and then appends and reads until the power
//! goes, the process is killed or it is stopped in order. Each producer has one batch in flight and retries it in
//! the next life, as a client does. What is wrong is collected, not panicked about, because a planted bug must be
//! found as well as healthy code must pass.

use burnin_engine::{DiskOp, FailRule, NodeSpec, PathFilter, Sim, SimConfig, SimHandle, SimNode, SimRuntime};
use burnin_log::{Log, LogConfig, LogDir, LogDirConfig, Origin, ReadError, TopicPartition};
use burnin_runtime::{Mutant, Mutants, Observation, Probe, ProbeSink, Runtime};
use burnin_wire::batch::{BatchBuilder, BatchHeader, BatchOptions, split};
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use uuid::Uuid;

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Options {
    pub mutant: Option<Mutant>,
    pub lives: u32,
    pub config: LogConfig,
    /// Whether the power goes, or processes are only killed.
    pub power_loss: bool,
    /// Acknowledgements promise no fsync: a power loss may take what was acknowledged, but nothing in the middle.
    /// Producers begin each life with a new epoch then.
    pub loss_is_licensed: bool,
    /// A sync of a segment file fails once in a life.
    pub failing_syncs: bool,
    /// Writing an index file fails once in a life.
    pub failing_index_writes: bool,
    /// Opening the directory fails with a read error once, and is tried again.
    pub failing_recovery: bool,
    /// Records are deleted.
    pub deletes: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            mutant: None,
            lives: 12,
            config: LogConfig {
                segment_bytes: 6000,
                index_interval_bytes: 300,
                retention_ms: -1,
                file_delete_delay_ms: 20,
                ..LogConfig::default()
            },
            power_loss: true,
            loss_is_licensed: false,
            failing_syncs: false,
            failing_index_writes: false,
            failing_recovery: false,
            deletes: false,
        }
    }
}

#[derive(Clone, Debug)]
struct Batch {
    base: i64,
    last: i64,
    hash: u32,
    timestamp: i64,
    producer: i64,
    epoch: i16,
    sequence: i32,
}

#[derive(Clone, Debug, Default)]
struct Partition {
    created: bool,
    batches: Vec<Batch>,
    /// Everything below was acknowledged.
    acked: i64,
    /// The log start that was answered, and the one that was asked for last.
    start: i64,
    start_asked: i64,
}

#[derive(Clone, Debug)]
struct InFlight {
    epoch: i16,
    sequence: i32,
    records: i32,
    timestamp: i64,
}

#[derive(Default)]
struct Model {
    partitions: BTreeMap<TopicPartition, Partition>,
    in_flight: BTreeMap<(TopicPartition, i64), InFlight>,
    next_sequence: BTreeMap<(TopicPartition, i64), i32>,
    loss_is_licensed: bool,
    epoch: i16,
    violations: Vec<String>,
    acked_batches: u64,
    recoveries: u64,
    disk_reads_checked: u64,
    flushed: BTreeMap<String, i64>,
}

#[derive(Clone)]
pub struct Shared(Arc<Mutex<Model>>);

impl Shared {
    fn with<T>(&self, f: impl FnOnce(&mut Model) -> T) -> T {
        f(&mut self.0.lock().unwrap())
    }

    fn violation(&self, text: String) {
        self.with(|model| {
            if model.violations.len() < 20 {
                model.violations.push(text);
            }
        });
    }
}

impl ProbeSink for Shared {
    fn observe(&self, observation: Observation) {
        match observation {
            Observation::FlushDone { partition, offset } => self.with(|model| {
                let flushed = model.flushed.entry(partition.to_string()).or_default();
                *flushed = offset.max(*flushed);
            }),
            Observation::LogRecovered { partition, log_end_offset, .. } => {
                let flushed = self.with(|model| model.flushed.get(&*partition).copied().unwrap_or(0));
                if flushed > log_end_offset {
                    self.violation(format!(
                        "W4: {partition} was flushed to {flushed}, found {log_end_offset}"
                    ));
                }
            }
            Observation::RecoveryMismatch { partition, what } => {
                self.violation(format!("W4: {partition}: {what}"));
            }
            _ => {}
        }
    }
}

/// What a run found and did.
#[derive(Debug)]
pub struct Outcome {
    pub violations: Vec<String>,
    pub acked_batches: u64,
    pub recoveries: u64,
    pub disk_reads_checked: u64,
    pub reached: u64,
    pub trace: u64,
}

const TOPICS: [(&str, i32); 2] = [("orders", 0), ("audit-trail", 3)];
const PRODUCERS: i64 = 3;

pub fn run(seed: u64, options: Options) -> Outcome {
    let mut sim = Sim::new(seed, SimConfig { time_max: Duration::from_secs(3600), ..SimConfig::default() });
    let shared = Shared(Arc::default());
    let mutants = options.mutant.map_or(Mutants::NONE, Mutants::arm);
    let (handle, outcome, armed) = (sim.handle(), shared.clone(), mutants.clone());
    let crashed = sim.block_on(async move {
        let mut spec = NodeSpec::new("broker", [10, 0, 0, 1]);
        spec.mutants = mutants;
        spec.probe = Probe::to(Arc::new(shared.clone()));
        let node = handle.add_node(spec);
        lives(&handle, node, &shared, &options).await;
    });
    if let Err(error) = crashed {
        outcome.violation(format!("crash: {error}"));
    }
    let trace = sim.trace().hash;
    outcome.with(|model| Outcome {
        violations: model.violations.clone(),
        acked_batches: model.acked_batches,
        recoveries: model.recoveries,
        disk_reads_checked: model.disk_reads_checked,
        reached: armed.reached(),
        trace,
    })
}

async fn lives(handle: &SimHandle, node: SimNode, shared: &Shared, options: &Options) {
    let mut entropy = handle.entropy("test");
    let control = handle.control();
    for life in 0..options.lives {
        let disk = handle.disk(node);
        disk.heal();
        let rule = |op, suffix: &str| FailRule {
            path: PathFilter::suffixes([suffix]),
            chance: 0.05,
            ..FailRule::next(op, 1)
        };
        if options.failing_syncs && entropy.chance(0.5) {
            disk.fail(rule(DiskOp::Sync, ".log")).unwrap();
        }
        if options.failing_index_writes && entropy.chance(0.7) {
            disk.fail(FailRule { chance: 0.3, ..rule(DiskOp::Write, ".index") }).unwrap();
        }
        let fail_recovery = options.failing_recovery && life > 0 && entropy.chance(0.5);
        if fail_recovery {
            disk.fail(FailRule { chance: 1.0, ..rule(DiskOp::Read, ".log") }).unwrap();
        }
        let runtime = handle.runtime(node);
        let end = if life + 1 == options.lives { End::Verify } else { End::Later };
        let task = runtime.clone().spawn("life", live(runtime, shared.clone(), options.clone(), end));
        if matches!(end, End::Verify) {
            task.await.unwrap();
            return;
        }
        control.sleep(entropy.duration(Duration::from_millis(5), Duration::from_millis(150))).await;
        match entropy.below(4) {
            0 if !options.failing_syncs => {
                // the tasks of a process may also end one by one before it is killed
                drop(task);
                handle.kill(node).unwrap();
            }
            1 => handle.kill(node).unwrap(),
            _ if options.power_loss => {
                handle.power_loss(node).unwrap();
            }
            _ => handle.kill(node).unwrap(),
        }
        handle.start(node).unwrap();
    }
}

#[derive(Clone, Copy)]
enum End {
    Verify,
    Later,
}

async fn live(runtime: SimRuntime, shared: Shared, options: Options, end: End) {
    let config = LogDirConfig {
        log: options.config.clone(),
        tail_bytes_max: 1500,
        checkpoint_interval_ms: 30,
        ..LogDirConfig::default()
    };
    let mut entropy = runtime.entropy("life");
    let dir = loop {
        match LogDir::open(runtime.clone(), PathBuf::from("/data"), config.clone()).await {
            Ok(dir) => break dir,
            // an injected error; the operator tries again
            Err(_) => runtime.sleep(Duration::from_millis(1)).await,
        }
    };
    shared.with(|model| {
        model.recoveries += 1;
        if options.loss_is_licensed {
            model.loss_is_licensed = true;
            model.epoch += 1;
            model.in_flight.clear();
            model.next_sequence.clear();
        }
    });
    verify_recovered(&dir, &shared).await;
    if matches!(end, End::Verify) {
        return;
    }
    for (topic, partition) in TOPICS {
        let tp = TopicPartition::new(topic, partition);
        if dir.log(&tp).is_none() {
            let Ok(_) = dir.create(tp.clone(), Uuid::from_u128(7), options.config.clone()).await else {
                return;
            };
        }
        shared.with(|model| model.partitions.entry(tp).or_default().created = true);
    }
    let mut tasks = Vec::new();
    for (topic, partition) in TOPICS {
        let log = dir.log(&TopicPartition::new(topic, partition)).unwrap();
        for producer in 0..PRODUCERS {
            tasks.push(
                runtime.spawn("produce", produce(runtime.clone(), log.clone(), shared.clone(), producer)),
            );
        }
        tasks.push(runtime.spawn("read", read(runtime.clone(), log.clone(), shared.clone())));
        if options.deletes {
            tasks.push(runtime.spawn("delete", delete(runtime.clone(), log, shared.clone())));
        }
    }
    if entropy.chance(0.3) {
        // a stop in order, in the middle of everything
        runtime.sleep(Duration::from_millis(entropy.between(1, 60))).await;
        if dir.shutdown().await.is_ok() {
            drop((tasks, dir));
            let reopened = LogDir::open(runtime.clone(), PathBuf::from("/data"), config).await;
            match reopened {
                Ok(dir) => verify_recovered(&dir, &shared).await,
                Err(error) if options.failing_recovery => drop(error),
                Err(error) => shared.violation(format!("cannot open after a clean shutdown: {error}")),
            }
        }
    }
    std::future::pending::<()>().await;
}

fn batch(producer: i64, in_flight: &InFlight) -> BytesMut {
    let mut builder = BatchBuilder::new(BatchOptions {
        producer_id: producer,
        producer_epoch: in_flight.epoch,
        base_sequence: in_flight.sequence,
        ..BatchOptions::default()
    });
    for n in 0..in_flight.records {
        let value = vec![(in_flight.sequence + n) as u8; 20 + (in_flight.sequence as usize * 7) % 90];
        builder.push(in_flight.timestamp, None, Some(&value), &[]);
    }
    BytesMut::from(&builder.build()[..])
}

async fn produce(runtime: SimRuntime, log: Log<SimRuntime>, shared: Shared, producer: i64) {
    let key = (log.topic_partition().clone(), producer);
    let mut entropy = runtime.entropy("produce");
    loop {
        let retried = shared.with(|model| model.in_flight.get(&key).cloned());
        let in_flight = retried.clone().unwrap_or_else(|| {
            let records = entropy.between(1, 4) as i32;
            let (epoch, sequence) = shared.with(|model| {
                let next = model.next_sequence.entry(key.clone()).or_default();
                (model.epoch, std::mem::replace(next, *next + records))
            });
            InFlight { epoch, sequence, records, timestamp: runtime.wall_ms() }
        });
        shared.with(|model| model.in_flight.insert(key.clone(), in_flight.clone()));
        let appended = match log.append(batch(producer, &in_flight), 0, Origin::Client) {
            Ok(appended) => appended,
            Err(burnin_log::AppendError::Offline(_)) => return,
            Err(error) => {
                shared.violation(format!("B3: {}-{producer} seq {}: {error}", key.0, in_flight.sequence));
                return;
            }
        };
        let (base, last) = (appended.base_offset, appended.last_offset);
        let known =
            shared.with(|model| note_appended(model, &key, &in_flight, base, last, appended.duplicate));
        if let Err(what) = known {
            shared.violation(what);
        }
        if log.wait_durable(last + 1).await.is_err() {
            continue;
        }
        shared.with(|model| {
            model.acked_batches += 1;
            model.in_flight.remove(&key);
            let partition = model.partitions.get_mut(&key.0).unwrap();
            partition.acked = partition.acked.max(last + 1);
        });
        if entropy.chance(0.1) {
            let again = log.append(batch(producer, &in_flight), 0, Origin::Client);
            let same =
                |a: &burnin_log::Appended| a.duplicate && a.base_offset == base && a.last_offset == last;
            if !again.as_ref().is_ok_and(same) && !matches!(again, Err(burnin_log::AppendError::Offline(_))) {
                shared.violation(format!("B3: retry of {base}..={last} gave {again:?}"));
            }
        }
        runtime.sleep(Duration::from_micros(entropy.between(10, 3000))).await;
    }
}

fn note_appended(
    model: &mut Model,
    key: &(TopicPartition, i64),
    in_flight: &InFlight,
    base: i64,
    last: i64,
    duplicate: bool,
) -> Result<(), String> {
    let partition = model.partitions.get_mut(&key.0).unwrap();
    let sent = (key.1, in_flight.epoch, in_flight.sequence);
    let same = |b: &&Batch| (b.producer, b.epoch, b.sequence) == sent;
    if let Some(original) = partition.batches.iter().find(same) {
        return match duplicate && original.base == base {
            true => Ok(()),
            false => Err(format!(
                "B3: {key:?} seq {} at {} and again at {base}",
                in_flight.sequence, original.base
            )),
        };
    }
    if duplicate {
        return Err(format!("B3: {key:?} seq {} is no duplicate", in_flight.sequence));
    }
    let mut bytes = batch(key.1, in_flight);
    burnin_wire::batch::assign(&mut bytes, base, 0, None);
    if let Some(at) = partition.batches.iter().find(|b| b.last >= base) {
        return Err(format!("B1: offset {base} was given to {at:?} already"));
    }
    partition.batches.push(Batch {
        base,
        last,
        hash: crc32(&bytes),
        timestamp: in_flight.timestamp,
        producer: key.1,
        epoch: in_flight.epoch,
        sequence: in_flight.sequence,
    });
    Ok(())
}

fn crc32(bytes: &[u8]) -> u32 {
    // a hash of all bytes, header included
    bytes.iter().fold(2_166_136_261, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619))
}

async fn read(runtime: SimRuntime, log: Log<SimRuntime>, shared: Shared) {
    let mut entropy = runtime.entropy("read");
    loop {
        runtime.sleep(Duration::from_micros(entropy.between(100, 5000))).await;
        let (start, durable) = (log.start_offset(), log.durable_offset());
        if durable <= start {
            continue;
        }
        let from = entropy.between(start as u64, durable as u64 - 1) as i64;
        let max = entropy.between(1, 4000) as usize;
        let in_memory = log.try_read(from, durable, max, true).is_some();
        match log.read(from, durable, max, true).await {
            Ok(result) => {
                if !in_memory {
                    shared.with(|model| model.disk_reads_checked += 1);
                }
                let size: usize = result.batches.iter().map(Bytes::len).sum();
                let more_than_one = result.batches.iter().map(count).sum::<usize>() > 1;
                if size > max && more_than_one {
                    shared.violation(format!("read of {max} bytes gave {size}"));
                }
                check_batches(&log, &shared, from, &result.batches, "read");
            }
            Err(ReadError::OffsetOutOfRange { .. }) if log.start_offset() > from => {}
            Err(ReadError::Log(_)) => return,
            Err(error) => shared.violation(format!("read at {from} of {}: {error}", log.topic_partition())),
        }
        if entropy.chance(0.1) {
            check_timestamps(&log, &shared, &mut entropy).await;
        }
    }
}

fn count(slice: &Bytes) -> usize {
    burnin_wire::batch::batches(slice).count()
}

/// Batches must be the ones of the model, without a gap from `from` on. Returns the offset behind them.
fn check_batches(log: &Log<SimRuntime>, shared: &Shared, from: i64, batches: &[Bytes], what: &str) -> i64 {
    let tp = log.topic_partition();
    let model = shared.with(|model| model.partitions[tp].batches.clone());
    let mut expected = from;
    if batches.is_empty() {
        shared.violation(format!("B5: {what} of {tp} at {from} gave nothing"));
    }
    for slice in batches {
        let mut slice = slice.clone();
        while let Some(next) = split(&mut slice) {
            let Ok((header, bytes)) = next else {
                shared.violation(format!("B6: {what} of {tp} at {expected} gave half a batch"));
                return expected;
            };
            if !(header.base_offset <= expected && expected <= header.last_offset()) {
                shared.violation(format!("B5: {what} of {tp} at {expected} gave {}", header.base_offset));
            }
            expected = header.next_offset();
            let at = model.binary_search_by_key(&header.base_offset, |b| b.base);
            let same =
                at.is_ok_and(|at| model[at].last == header.last_offset() && model[at].hash == crc32(&bytes));
            let valid = burnin_wire::batch::verify_crc(&bytes).is_ok();
            if !same || !valid {
                let known = at.ok().map(|at| model[at].clone());
                let crc = BatchHeader::parse(&bytes).map(|h| (h.base_offset, h.producer_id, h.base_sequence));
                shared.violation(format!("B1: {what} of {tp} gave {crc:?} valid={valid}, not {known:?}"));
            }
        }
    }
    expected
}

async fn check_timestamps(log: &Log<SimRuntime>, shared: &Shared, entropy: &mut burnin_runtime::Entropy) {
    let tp = log.topic_partition().clone();
    let (start, end) = (log.start_offset(), log.end_offset());
    let known = shared.with(|model| model.partitions[&tp].batches.clone());
    let Some(pick) = known.get(entropy.below(known.len().max(1) as u64) as usize) else { return };
    let Ok(found) = log.offset_for_timestamp(pick.timestamp).await else { return };
    if (start, end) != (log.start_offset(), log.end_offset()) {
        return;
    }
    let expected = known.iter().find(|b| b.last >= start && b.timestamp >= pick.timestamp);
    let expected = expected.map(|b| (b.base.max(start), b.timestamp));
    if found != expected {
        shared.violation(format!("B13: {tp} at {} gave {found:?}, not {expected:?}", pick.timestamp));
    }
}

async fn delete(runtime: SimRuntime, log: Log<SimRuntime>, shared: Shared) {
    let mut entropy = runtime.entropy("delete");
    let tp = log.topic_partition().clone();
    loop {
        runtime.sleep(Duration::from_millis(entropy.between(1, 40))).await;
        let (start, durable) = (log.start_offset(), log.durable_offset());
        let to = entropy.between(start as u64, durable as u64) as i64;
        shared.with(|model| model.partitions.get_mut(&tp).unwrap().start_asked = to);
        match log.delete_records_before(to).await {
            Ok(answer) if answer == to.max(start) => {
                shared.with(|model| model.partitions.get_mut(&tp).unwrap().start = answer);
            }
            Ok(answer) => shared.violation(format!("delete before {to} of {tp} gave {answer}")),
            Err(_) => return,
        }
    }
}

async fn verify_recovered(dir: &LogDir<SimRuntime>, shared: &Shared) {
    let partitions = shared.with(|model| model.partitions.clone());
    for (tp, partition) in partitions {
        if !partition.created {
            continue;
        }
        let Some(log) = dir.log(&tp) else {
            shared.violation(format!("B2: {tp} is gone with {} acked", partition.acked));
            continue;
        };
        let (start, end) = (log.start_offset(), log.end_offset());
        if end < partition.acked && !shared.with(|model| model.loss_is_licensed) {
            shared.violation(format!("B2: {tp} ends at {end}, {} was acked", partition.acked));
        }
        let licensed = partition.start..=partition.start.max(partition.start_asked);
        if !licensed.contains(&start) {
            shared.violation(format!("B13: {tp} starts at {start}, not in {licensed:?}"));
        }
        if log.durable_offset() != end {
            shared.violation(format!("{tp} is durable to {}, not {end}", log.durable_offset()));
        }
        let mut offset = start;
        while offset < end {
            match log.read(offset, end, 3000, true).await {
                Ok(result) => {
                    let next = check_batches(&log, shared, offset, &result.batches, "recovery");
                    if next <= offset {
                        break;
                    }
                    offset = next;
                }
                // an injected error
                Err(ReadError::Log(_)) => continue,
                Err(error) => {
                    shared.violation(format!("B6: {tp} at {offset}: {error}"));
                    break;
                }
            }
        }
        shared.with(|model| {
            let known = model.partitions.get_mut(&tp).unwrap();
            known.batches.retain(|b| b.last < end);
            known.acked = known.acked.min(end);
            (known.start, known.start_asked) = (start, start);
        });
        verify_producers(&log, shared, &tp, start);
    }
}

fn verify_producers(log: &Log<SimRuntime>, shared: &Shared, tp: &TopicPartition, start: i64) {
    let batches = shared.with(|model| model.partitions[tp].batches.clone());
    let table = log.producers();
    for producer in 0..PRODUCERS {
        let newest = batches.iter().rev().find(|b| b.producer == producer);
        let known = table.get(producer).and_then(|entry| entry.last().copied());
        let fits = match (newest, known) {
            (None, None) => true,
            (Some(newest), Some(known)) => known.last_offset == newest.last,
            // all of its batches are below the log start: it may be forgotten
            (Some(newest), None) => newest.last < start,
            (None, Some(_)) => false,
        };
        if !fits {
            shared.violation(format!("W4: producer {producer} of {tp} is {known:?}, not {newest:?}"));
        }
    }
}
