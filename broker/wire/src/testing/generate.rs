//! Random frames of every API and version, written from the schema.

use bytes::{BufMut, Bytes};

use super::Rng;
use crate::api::Api;
use crate::schema::parse::{Field, Kind, Message};
use crate::schema::{Direction, messages};

/// A frame without its length.
pub(crate) struct Frame {
    pub(crate) api: Api,
    pub(crate) version: i16,
    pub(crate) direction: Direction,
    pub(crate) bytes: Bytes,
    /// Where the body starts.
    pub(crate) body: usize,
    /// Where lengths and counts are, and how many bytes they take.
    pub(crate) lengths: Vec<(usize, usize)>,
}

/// All that can be generated: stanza and version.
pub(crate) fn shapes() -> Vec<(&'static Message, i16)> {
    MESSAGES
        .iter()
        .flat_map(|message| (message.versions.0..=message.versions.1).map(move |version| (message, version)))
        .collect()
}

static MESSAGES: std::sync::LazyLock<Vec<Message>> = std::sync::LazyLock::new(messages);

/// A random frame of this shape, with unknown tagged fields now and then.
pub(crate) fn frame(rng: &mut Rng, message: &Message, version: i16) -> Frame {
    generate(rng, message, version, true)
}

/// A random response without unknown tagged fields.
pub(crate) fn response_without_unknown_tags(rng: &mut Rng, api: Api, version: i16) -> Frame {
    let message = MESSAGES
        .iter()
        .find(|message| message.api == api.name() && message.direction == Direction::Response)
        .expect("a stanza");
    generate(rng, message, version, false)
}

fn generate(rng: &mut Rng, message: &Message, version: i16, unknown_tags: bool) -> Frame {
    let api = *Api::ALL.iter().find(|api| api.name() == message.api).expect("an api");
    let mut writer = Writer {
        rng,
        version,
        flexible: version >= message.flexible,
        unknown_tags,
        out: Vec::new(),
        lengths: Vec::new(),
        depth: 0,
    };
    writer.header(api, message.direction);
    let body = writer.out.len();
    writer.structure(&message.fields);
    let Writer { out, lengths, .. } = writer;
    Frame { api, version, direction: message.direction, bytes: out.into(), body, lengths }
}

struct Writer<'a> {
    rng: &'a mut Rng,
    version: i16,
    flexible: bool,
    unknown_tags: bool,
    out: Vec<u8>,
    lengths: Vec<(usize, usize)>,
    depth: usize,
}

impl Writer<'_> {
    fn header(&mut self, api: Api, direction: Direction) {
        let correlation_id = self.rng.next() as i32;
        let has_tags = match direction {
            Direction::Request => {
                self.out.put_i16(api.key());
                self.out.put_i16(self.version);
                self.out.put_i32(correlation_id);
                let flexible = std::mem::replace(&mut self.flexible, false);
                self.string(true);
                self.flexible = flexible;
                api.request_header_version(self.version) >= 2
            }
            Direction::Response => {
                self.out.put_i32(correlation_id);
                api.response_header_version(self.version) >= 1
            }
        };
        if has_tags {
            self.tags(&[]);
        }
    }

    fn structure(&mut self, fields: &[Field]) {
        let present: Vec<&Field> = fields
            .iter()
            .filter(|field| (field.versions.0..=field.versions.1).contains(&self.version))
            .collect();
        for field in present.iter().filter(|field| field.tag.is_none()) {
            self.value(&field.kind, field.nullable);
        }
        if self.flexible {
            let tagged: Vec<&Field> = present.into_iter().filter(|field| field.tag.is_some()).collect();
            self.tags(&tagged);
        }
    }

    fn tags(&mut self, tagged: &[&Field]) {
        let chosen: Vec<&&Field> = tagged.iter().filter(|_| !self.rng.one_in(3)).collect();
        let unknown = if self.unknown_tags && self.rng.one_in(12) { 1 + self.rng.below(3) } else { 0 };
        self.length(chosen.len() as i64 + unknown as i64 - 1, Width::Compact);
        for field in chosen {
            put_varint(&mut self.out, field.tag.expect("tagged"));
            let outer = std::mem::take(&mut self.out);
            let lengths = std::mem::take(&mut self.lengths);
            self.value(&field.kind, field.nullable);
            let value = std::mem::replace(&mut self.out, outer);
            let inner = std::mem::replace(&mut self.lengths, lengths);
            self.length(value.len() as i64 - 1, Width::Compact);
            let start = self.out.len();
            self.lengths.extend(inner.into_iter().map(|(at, width)| (at + start, width)));
            self.out.extend_from_slice(&value);
        }
        for index in 0..unknown {
            put_varint(&mut self.out, 100 + 1000 * index as u32);
            let length = self.rng.below(10);
            self.length(length as i64 - 1, Width::Compact);
            self.random(length);
        }
    }

    fn value(&mut self, kind: &Kind, nullable: bool) {
        match kind {
            Kind::Fixed(length) => self.random(*length),
            Kind::Bool => self.out.push(self.rng.below(2) as u8),
            Kind::String => self.string(nullable),
            Kind::Bytes => {
                let length = if nullable && self.rng.one_in(5) { -1 } else { self.rng.below(60) as i64 };
                self.length(length, Width::Four);
                self.random(length.max(0) as usize);
            }
            Kind::Array(element) => {
                let most = if self.rng.one_in(20) && self.depth < 2 { 30 } else { 4 };
                let count = if nullable && self.rng.one_in(5) { -1 } else { self.rng.below(most) as i64 };
                self.length(count, Width::Four);
                self.depth += 1;
                for _ in 0..count {
                    self.value(element, false);
                }
                self.depth -= 1;
            }
            Kind::Struct(fields) if nullable => {
                if self.rng.one_in(3) {
                    self.out.push(0xff);
                } else {
                    self.out.push(1);
                    self.structure(fields);
                }
            }
            Kind::Struct(fields) => self.structure(fields),
        }
    }

    fn string(&mut self, nullable: bool) {
        let length = if nullable && self.rng.one_in(5) { -1 } else { self.rng.below(20) as i64 };
        self.length(length, Width::Two);
        for _ in 0..length {
            self.out.push(b'a' + self.rng.below(26) as u8);
        }
    }

    fn length(&mut self, length: i64, width: Width) {
        let at = self.out.len();
        match width {
            Width::Compact => put_varint(&mut self.out, (length + 1) as u32),
            _ if self.flexible => put_varint(&mut self.out, (length + 1) as u32),
            Width::Two => self.out.put_i16(length as i16),
            Width::Four => self.out.put_i32(length as i32),
        }
        self.lengths.push((at, self.out.len() - at));
    }

    fn random(&mut self, length: usize) {
        let start = self.out.len();
        self.out.resize(start + length, 0);
        self.rng.fill(&mut self.out[start..]);
    }
}

#[derive(Clone, Copy)]
enum Width {
    Two,
    Four,
    Compact,
}

fn put_varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
