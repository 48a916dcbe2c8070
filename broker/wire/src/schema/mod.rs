//! The bounds check: no byte from a socket reaches the protocol crate's decoder before it.
//!
//! `kafka-protocol` 0.18.0 reserves memory for as many elements as an array's count says, before it has seen a
//! single one, and an allocation that fails ends the process. So every body is first walked by the shape of its
//! API and version: lengths and counts must fit in the bytes that are left, tagged fields must be exactly as long
//! as they say, the body must end where the frame ends, and what the decoder will allocate must stay within
//! [`memory_max`]. The walk allocates nothing.
//!
//! Shapes are text, in `schema/*.txt`, one stanza per API and direction:
//!
//! ```text
//! Metadata request 0..13 flexible 9+ {
//!   topics []? {
//!     topic_id uuid 10+
//!     name string?
//!   }
//!   allow_auto_topic_creation bool 4+
//!   include_cluster_authorized_operations bool 8..10
//! }
//! ```
//!
//! A field is `[tag N] name type[?] [versions]`; `?` means nullable, `versions` is `A+`, `A..B`, `..B`, or absent
//! for all; `none` is a field of the decoder's struct that no version carries, listed because it takes memory. Fields
//! keep the order of the wire. Types: `bool i8 i16 u16 i32 u32 i64 f64 uuid string bytes struct`
//! and `[]` of a type or of a struct. Tests hold every stanza against the crate's own encoder and decoder.

pub(crate) mod parse;
mod program;
#[cfg(test)]
mod tests;
mod walk;

use std::sync::LazyLock;

use crate::api::Api;
use parse::Message;
use program::Program;
pub(crate) use walk::{WalkError, skip_tags};

/// Which way a message goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    Request,
    Response,
}

/// Bytes on the heap that decoding a frame of `frame_length` bytes may take, the frame itself not counted:
/// 64 KiB and 16 times the frame. Frames that would need more are refused before they are decoded.
///
/// Decoded strings and record batches are slices of the frame; what costs is the structs around them. Frames of
/// real clients stay below 8 times their length; only a frame made of thousands of empty names, or of
/// unknown tagged fields, comes near the bound.
pub const fn memory_max(frame_length: usize) -> usize {
    64 * 1024 + 16 * frame_length
}

/// Walks `body` as a message of this API, direction and version.
///
/// # Panics
/// When there is no stanza for it: [`crate::Api::versions`] and `schema/` disagree, which a test excludes.
pub(crate) fn check(api: Api, direction: Direction, version: i16, body: &[u8]) -> Result<(), WalkError> {
    walk::walk(program(api, direction, version), body)
}

fn program(api: Api, direction: Direction, version: i16) -> &'static Program {
    let entry = PROGRAMS
        .get(api.key() as usize)
        .and_then(Option::as_ref)
        .map(|programs| &programs[direction as usize])
        .unwrap_or_else(|| panic!("no schema for {api}"));
    usize::try_from(version - entry.first)
        .ok()
        .and_then(|index| entry.programs.get(index))
        .unwrap_or_else(|| panic!("no schema for {api} v{version} {direction:?}"))
}

/// The stanzas of all APIs.
const TEXTS: [&str; 5] = [
    include_str!("../../schema/clients.txt"),
    include_str!("../../schema/data.txt"),
    include_str!("../../schema/admin.txt"),
    include_str!("../../schema/cluster.txt"),
    include_str!("../../schema/controller.txt"),
];

#[derive(Default)]
struct Versions {
    first: i16,
    programs: Vec<Program>,
}

/// By API key, then by direction, then by version.
static PROGRAMS: LazyLock<Vec<Option<[Versions; 2]>>> = LazyLock::new(|| {
    let mut table: Vec<Option<[Versions; 2]>> = Vec::new();
    for message in messages() {
        let api = Api::ALL
            .iter()
            .find(|api| api.name() == message.api)
            .unwrap_or_else(|| panic!("schema for {} which is not in the table of APIs", message.api));
        let key = api.key() as usize;
        if table.len() <= key {
            table.resize_with(key + 1, || None);
        }
        let versions = &mut table[key].get_or_insert_default()[message.direction as usize];
        assert!(versions.programs.is_empty(), "two schemas for {api} {:?}", message.direction);
        versions.first = message.versions.0;
        versions.programs = (message.versions.0..=message.versions.1)
            .map(|version| program::compile(&message, version))
            .collect();
    }
    table
});

/// Every stanza, parsed.
pub(crate) fn messages() -> Vec<Message> {
    TEXTS.iter().flat_map(|text| parse::parse(text)).collect()
}
