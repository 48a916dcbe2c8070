//! What goes wrong: the faults as a scenario states them, with ranges that a seed draws from.

use crate::ranges::{CountRange, DurRange, SignedDurRange, SizeRange};
use crate::rates::Probability;
use crate::release::Release;
use crate::selector::Selector;
use crate::units::Dur;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A fault: what, to whom, when, how often.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fault {
    /// Its name in reports. Its random draws depend on the seed and on this name alone.
    pub id: String,
    /// Whom it hits. Default: "any(broker)".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<Selector>,
    /// When it first happens, counted from the end of the warmup. Default: at once, or with `every` after the
    /// first gap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<DurRange>,
    /// That it happens again and again: the gap between the end of one occurrence and the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Every>,
    /// How long it lasts; for a process, how long it is down. Whatever it did is undone at the end.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<DurRange>,
    /// How likely each occurrence is. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<Probability>,
    /// In what part of all seeds it takes part at all. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_runs: Option<Probability>,
    /// That it accompanies each occurrence of the fault with this id, on the same target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<String>,
    /// With `with`: how long after the other's start. Default: at the same moment, right after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_start: Option<DurRange>,
    /// With `with`: how long after the other's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_end: Option<DurRange>,
    /// Capabilities that the target must have besides what the kind needs by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Capability>,
    /// What it does.
    #[serde(flatten)]
    pub kind: FaultKind,
}

/// The gap between two occurrences.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Every {
    /// Its mean.
    pub mean: Dur,
    /// How it is distributed.
    #[serde(default)]
    pub dist: Dist,
}

/// A distribution with a given mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Dist {
    /// Many short gaps, few long ones.
    #[default]
    Exponential,
    /// From zero to twice the mean, all equally likely.
    Uniform,
    /// Always the mean.
    Fixed,
}

/// What a target must be able to do for a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// Kill, stop, start and pause processes.
    Process,
    /// Cut the power: lose what was not synced.
    Power,
    /// Break connections and links.
    Net,
    /// Break disks.
    Disk,
    /// Move wall clocks.
    Clock,
    /// Run nodes of several releases.
    Releases,
}

impl Capability {
    /// As scenarios write it.
    pub fn name(self) -> &'static str {
        match self {
            Capability::Process => "process",
            Capability::Power => "power",
            Capability::Net => "net",
            Capability::Disk => "disk",
            Capability::Clock => "clock",
            Capability::Releases => "releases",
        }
    }
}

/// What a fault does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind")]
pub enum FaultKind {
    /// The process dies at once; its page cache survives. It is started again at the end.
    #[serde(rename = "process.kill")]
    ProcessKill {},
    /// The machine loses power: what was not synced is kept, lost or torn. It is started again at the end.
    #[serde(rename = "process.power_loss")]
    ProcessPowerLoss {},
    /// The process is asked to stop, and stops in order. It is started again at the end.
    #[serde(rename = "process.stop")]
    ProcessStop {},
    /// The process is asked to stop and is started again as soon as it has stopped.
    #[serde(rename = "process.restart")]
    ProcessRestart {},
    /// The process is asked to stop, and is started again at the end as another release.
    #[serde(rename = "process.upgrade")]
    ProcessUpgrade {
        /// Which. An earlier one undoes an upgrade, as long as no feature was raised.
        to: Release,
    },
    /// The process stands still, as after SIGSTOP; its connections stay open.
    #[serde(rename = "process.pause")]
    ProcessPause {},
    /// The machine is replaced: it loses power and its disk, and comes back with an empty one at the end.
    #[serde(rename = "process.wipe")]
    ProcessWipe {},
    /// Disk operations that are begun do not return before the end.
    #[serde(rename = "disk.hang")]
    DiskHang {},
    /// Disk operations take longer.
    #[serde(rename = "disk.slow")]
    DiskSlow {
        /// How many times longer.
        factor: CountRange,
    },
    /// Disk operations fail with EIO. A failed fsync drops the dirty pages that it was to write.
    #[serde(rename = "disk.fail")]
    DiskFail {
        /// Which operations.
        op: DiskOp,
        /// In which files. Default: all.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        files: Vec<FileClass>,
        /// How many operations fail; then the disk is well again. Default: every one until the end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<CountRange>,
        /// Whether a broker that halted because of it is started again at the end.
        #[serde(default = "yes")]
        restart: bool,
    },
    /// Nothing more fits on the disk (ENOSPC).
    #[serde(rename = "disk.full")]
    DiskFull {
        /// How much still fits when it begins.
        #[serde(default = "no_bytes")]
        free: SizeRange,
        /// Whether a broker that halted because of it is started again at the end.
        #[serde(default = "yes")]
        restart: bool,
    },
    /// Writes write only a part and fail.
    #[serde(rename = "disk.short_write")]
    DiskShortWrite {
        /// In which files. Default: all.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        files: Vec<FileClass>,
        /// How many writes are cut short; then the disk is well again. Default: every one until the end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<CountRange>,
        /// Whether a broker that halted because of it is started again at the end.
        #[serde(default = "yes")]
        restart: bool,
    },
    /// Bits flip on the medium, and stay flipped.
    #[serde(rename = "disk.bit_rot")]
    DiskBitRot {
        /// In which files.
        #[schemars(length(min = 1))]
        files: Vec<FileClass>,
        /// How many bits.
        #[serde(default = "one_bit")]
        bits: CountRange,
    },
    /// Nothing gets through between two sides; connections hang, then break.
    #[serde(rename = "net.partition")]
    NetPartition {
        /// The two sides. Not together with `shape`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        between: Option<[Selector; 2]>,
        /// How the brokers are cut apart. Not together with `between`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shape: Option<Shape>,
        /// Which way is cut, as seen from the first side (or from `on`).
        #[serde(default)]
        direction: Direction,
    },
    /// One side of every open connection forgets it without telling the other.
    #[serde(rename = "net.half_open")]
    NetHalfOpen {
        /// The two sides. Default: ["any(client)", "any(broker)"].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        between: Option<[Selector; 2]>,
        /// Who forgets.
        #[serde(default)]
        forgets: Forgets,
    },
    /// Open connections are broken with RST.
    #[serde(rename = "net.reset")]
    NetReset {
        /// The two sides. Default: ["any(client)", "any(broker)"].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        between: Option<[Selector; 2]>,
    },
    /// Open connections end with FIN.
    #[serde(rename = "net.end")]
    NetEnd {
        /// The two sides. Default: ["any(client)", "any(broker)"].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        between: Option<[Selector; 2]>,
    },
    /// Links are slower.
    #[serde(rename = "net.slow")]
    NetSlow {
        /// The two sides. Default: ["any(client)", "any(broker)"].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        between: Option<[Selector; 2]>,
        /// How long a segment travels meanwhile.
        latency: DurRange,
    },
    /// Links lose packets. TCP sends them again, so bytes come late.
    #[serde(rename = "net.lossy")]
    NetLossy {
        /// The two sides. Default: ["any(client)", "any(broker)"].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        between: Option<[Selector; 2]>,
        /// What part of the segments is lost.
        loss: Probability,
    },
    /// Every packet of the connections that are open at the moment is swallowed for ever; new ones work.
    #[serde(rename = "net.blackhole")]
    NetBlackhole {
        /// The two sides. Default: ["any(client)", "any(broker)"].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        between: Option<[Selector; 2]>,
    },
    /// New connections are refused.
    #[serde(rename = "net.refuse")]
    NetRefuse {},
    /// New connections are never answered.
    #[serde(rename = "net.hang_connects")]
    NetHangConnects {},
    /// The wall clock jumps; at the end it jumps back.
    #[serde(rename = "clock.jump")]
    ClockJump {
        /// How far.
        by: SignedDurRange,
    },
    /// The wall clock runs too fast or too slowly. What it gained stays.
    #[serde(rename = "clock.drift")]
    ClockDrift {
        /// By how many parts in a million.
        ppm: CountRange,
    },
}

fn yes() -> bool {
    true
}

fn no_bytes() -> SizeRange {
    SizeRange::exactly(crate::units::Size(0))
}

fn one_bit() -> CountRange {
    CountRange::exactly(1)
}

/// Disk operations that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DiskOp {
    /// Reads from the medium.
    Read,
    /// Writes.
    Write,
    /// fsync and fdatasync.
    Sync,
}

/// Kinds of files in a log directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FileClass {
    /// Segments (`.log`).
    Log,
    /// Offset indexes (`.index`).
    Index,
    /// Time indexes (`.timeindex`).
    Timeindex,
    /// Checkpoints (`leader-epoch-checkpoint`, `recovery-point-offset-checkpoint`, ...).
    Checkpoint,
    /// Producer snapshots (`.snapshot`).
    Snapshot,
}

/// How a partition cuts the brokers apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// `on` from everybody else.
    Isolate,
    /// Into two halves, drawn.
    Halves,
    /// Each broker reaches only its two neighbours in a ring.
    Ring,
    /// Two halves that only one broker can both reach.
    Bridge,
}

/// Which way of a link is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Both ways.
    #[default]
    Both,
    /// What the first side sends.
    Out,
    /// What the first side receives.
    In,
    /// One of the three, drawn.
    Any,
}

/// Who forgets a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Forgets {
    /// The first side.
    First,
    /// The second side.
    Second,
    /// One of them, drawn.
    #[default]
    Any,
}

/// Whether a kind of fault lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// It needs a `for`.
    Yes,
    /// It may have a `for`.
    Perhaps,
    /// It is over at once: a `for` makes no sense.
    No,
}

impl FaultKind {
    /// Its name, as in `process.kill`.
    pub fn name(&self) -> &'static str {
        match self {
            FaultKind::ProcessKill {} => "process.kill",
            FaultKind::ProcessPowerLoss {} => "process.power_loss",
            FaultKind::ProcessStop {} => "process.stop",
            FaultKind::ProcessRestart {} => "process.restart",
            FaultKind::ProcessUpgrade { .. } => "process.upgrade",
            FaultKind::ProcessPause {} => "process.pause",
            FaultKind::ProcessWipe {} => "process.wipe",
            FaultKind::DiskHang {} => "disk.hang",
            FaultKind::DiskSlow { .. } => "disk.slow",
            FaultKind::DiskFail { .. } => "disk.fail",
            FaultKind::DiskFull { .. } => "disk.full",
            FaultKind::DiskShortWrite { .. } => "disk.short_write",
            FaultKind::DiskBitRot { .. } => "disk.bit_rot",
            FaultKind::NetPartition { .. } => "net.partition",
            FaultKind::NetHalfOpen { .. } => "net.half_open",
            FaultKind::NetReset { .. } => "net.reset",
            FaultKind::NetEnd { .. } => "net.end",
            FaultKind::NetSlow { .. } => "net.slow",
            FaultKind::NetLossy { .. } => "net.lossy",
            FaultKind::NetBlackhole { .. } => "net.blackhole",
            FaultKind::NetRefuse {} => "net.refuse",
            FaultKind::NetHangConnects {} => "net.hang_connects",
            FaultKind::ClockJump { .. } => "clock.jump",
            FaultKind::ClockDrift { .. } => "clock.drift",
        }
    }

    /// Whether it lasts.
    pub fn lasting(&self) -> Lasting {
        match self {
            FaultKind::DiskBitRot { .. }
            | FaultKind::NetHalfOpen { .. }
            | FaultKind::NetReset { .. }
            | FaultKind::NetEnd { .. }
            | FaultKind::NetBlackhole { .. }
            | FaultKind::ProcessRestart {} => Lasting::No,
            FaultKind::ClockJump { .. } => Lasting::Perhaps,
            _ => Lasting::Yes,
        }
    }

    /// What a target must be able to do for it.
    pub fn capability(&self) -> Capability {
        match self.name().split_once('.').expect("a kind has two parts") {
            ("process", "power_loss" | "wipe") => Capability::Power,
            ("process", "upgrade") => Capability::Releases,
            ("process", _) => Capability::Process,
            ("disk", _) => Capability::Disk,
            ("net", _) => Capability::Net,
            ("clock", _) => Capability::Clock,
            (area, _) => unreachable!("unknown area {area}"),
        }
    }

    /// The two sides of a fault between nodes; `None` for those that hit what `on` selects.
    pub fn sides(&self) -> Option<[Selector; 2]> {
        let between = match self {
            FaultKind::NetPartition { shape: Some(_), .. } => return None,
            FaultKind::NetPartition { between, .. }
            | FaultKind::NetHalfOpen { between, .. }
            | FaultKind::NetReset { between }
            | FaultKind::NetEnd { between }
            | FaultKind::NetLossy { between, .. }
            | FaultKind::NetBlackhole { between }
            | FaultKind::NetSlow { between, .. } => between,
            _ => return None,
        };
        Some(between.clone().unwrap_or([Selector::AnyClient, Selector::AnyBroker]))
    }
}
