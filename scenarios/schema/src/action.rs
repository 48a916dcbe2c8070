//! What the faults of a plan do, with every parameter decided.

use crate::fault::{DiskOp, FileClass, Shape};
use crate::ranges::DurRange;
use crate::rates::Probability;
use crate::release::Release;
use crate::selector::Selector;
use crate::units::{SignedDur, Size};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a scheduled fault does. Kinds and meaning are those of [`crate::FaultKind`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind")]
pub enum Action {
    /// The process dies at once.
    #[serde(rename = "process.kill")]
    ProcessKill {},
    /// The machine loses power.
    #[serde(rename = "process.power_loss")]
    ProcessPowerLoss {},
    /// The process stops in order.
    #[serde(rename = "process.stop")]
    ProcessStop {},
    /// The process stops in order and starts again.
    #[serde(rename = "process.restart")]
    ProcessRestart {},
    /// The process stops in order and comes back as another release.
    #[serde(rename = "process.upgrade")]
    ProcessUpgrade {
        /// Which.
        to: Release,
    },
    /// The process stands still.
    #[serde(rename = "process.pause")]
    ProcessPause {},
    /// The machine is replaced by one with an empty disk.
    #[serde(rename = "process.wipe")]
    ProcessWipe {},
    /// Disk operations do not return.
    #[serde(rename = "disk.hang")]
    DiskHang {},
    /// Disk operations take longer.
    #[serde(rename = "disk.slow")]
    DiskSlow {
        /// How many times longer.
        factor: u32,
    },
    /// Disk operations fail.
    #[serde(rename = "disk.fail")]
    DiskFail {
        /// Which.
        op: DiskOp,
        /// In which files; empty for all.
        #[serde(default)]
        files: Vec<FileClass>,
        /// How many; absent for all until the end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<u32>,
        /// Whether a halted broker is started again at the end.
        restart: bool,
    },
    /// Nothing more fits.
    #[serde(rename = "disk.full")]
    DiskFull {
        /// How much still fits.
        free: Size,
        /// Whether a halted broker is started again at the end.
        restart: bool,
    },
    /// Writes write only a part and fail.
    #[serde(rename = "disk.short_write")]
    DiskShortWrite {
        /// In which files; empty for all.
        #[serde(default)]
        files: Vec<FileClass>,
        /// How many; absent for all until the end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<u32>,
        /// Whether a halted broker is started again at the end.
        restart: bool,
    },
    /// Bits flip.
    #[serde(rename = "disk.bit_rot")]
    DiskBitRot {
        /// In which files.
        files: Vec<FileClass>,
        /// How many bits.
        bits: u32,
    },
    /// Nothing gets through.
    #[serde(rename = "net.partition")]
    NetPartition {
        /// The two sides, or absent with `shape`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        between: Option<[Selector; 2]>,
        /// How the brokers are cut apart around `on`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shape: Option<Shape>,
        /// Which way.
        direction: Cut,
    },
    /// One side of open connections forgets them.
    #[serde(rename = "net.half_open")]
    NetHalfOpen {
        /// The side that forgets, and the side that is not told.
        between: [Selector; 2],
    },
    /// Open connections are broken with RST.
    #[serde(rename = "net.reset")]
    NetReset {
        /// The two sides.
        between: [Selector; 2],
    },
    /// Open connections end with FIN.
    #[serde(rename = "net.end")]
    NetEnd {
        /// The two sides.
        between: [Selector; 2],
    },
    /// Links are slower.
    #[serde(rename = "net.slow")]
    NetSlow {
        /// The two sides.
        between: [Selector; 2],
        /// How long a segment travels.
        latency: DurRange,
    },
    /// Links lose packets.
    #[serde(rename = "net.lossy")]
    NetLossy {
        /// The two sides.
        between: [Selector; 2],
        /// What part of the segments is lost.
        loss: Probability,
    },
    /// Every packet of the open connections is swallowed.
    #[serde(rename = "net.blackhole")]
    NetBlackhole {
        /// The two sides.
        between: [Selector; 2],
    },
    /// New connections are refused.
    #[serde(rename = "net.refuse")]
    NetRefuse {},
    /// New connections are never answered.
    #[serde(rename = "net.hang_connects")]
    NetHangConnects {},
    /// The wall clock jumps.
    #[serde(rename = "clock.jump")]
    ClockJump {
        /// How far; back again at the end when it lasts.
        by: SignedDur,
    },
    /// The wall clock drifts.
    #[serde(rename = "clock.drift")]
    ClockDrift {
        /// Parts in a million.
        ppm: i32,
    },
}

impl Action {
    /// Whether it happens between two sides, which it names.
    pub fn is_between(&self) -> bool {
        match self {
            Action::NetPartition { between, .. } => between.is_some(),
            Action::NetHalfOpen { .. }
            | Action::NetReset { .. }
            | Action::NetEnd { .. }
            | Action::NetSlow { .. }
            | Action::NetLossy { .. }
            | Action::NetBlackhole { .. } => true,
            _ => false,
        }
    }

    /// Its kind, as in `process.kill`.
    pub fn name(&self) -> &'static str {
        match self {
            Action::ProcessKill {} => "process.kill",
            Action::ProcessPowerLoss {} => "process.power_loss",
            Action::ProcessStop {} => "process.stop",
            Action::ProcessRestart {} => "process.restart",
            Action::ProcessUpgrade { .. } => "process.upgrade",
            Action::ProcessPause {} => "process.pause",
            Action::ProcessWipe {} => "process.wipe",
            Action::DiskHang {} => "disk.hang",
            Action::DiskSlow { .. } => "disk.slow",
            Action::DiskFail { .. } => "disk.fail",
            Action::DiskFull { .. } => "disk.full",
            Action::DiskShortWrite { .. } => "disk.short_write",
            Action::DiskBitRot { .. } => "disk.bit_rot",
            Action::NetPartition { .. } => "net.partition",
            Action::NetHalfOpen { .. } => "net.half_open",
            Action::NetReset { .. } => "net.reset",
            Action::NetEnd { .. } => "net.end",
            Action::NetSlow { .. } => "net.slow",
            Action::NetLossy { .. } => "net.lossy",
            Action::NetBlackhole { .. } => "net.blackhole",
            Action::NetRefuse {} => "net.refuse",
            Action::NetHangConnects {} => "net.hang_connects",
            Action::ClockJump { .. } => "clock.jump",
            Action::ClockDrift { .. } => "clock.drift",
        }
    }
}

/// Which way of a link is cut, seen from the first side (or from `on`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cut {
    /// Both ways.
    Both,
    /// What it sends.
    Out,
    /// What it receives.
    In,
}
