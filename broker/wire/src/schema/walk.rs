//! The walk over the bytes of a body.

use bytes::{Buf, Bytes};
use thiserror::Error;

use super::memory_max;
use super::program::{Op, Program};

/// Why a body is refused. Offsets count from the start of the body.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(crate) enum WalkError {
    #[error("body ends inside {field} at byte {at}")]
    Short { field: &'static str, at: usize },
    #[error("{field} at byte {at} has length {length}")]
    Length { field: &'static str, at: usize, length: i64 },
    #[error("{field} at byte {at} claims {count} elements of at least {each} bytes with {left} bytes left")]
    Count { field: &'static str, at: usize, count: i64, each: usize, left: usize },
    #[error("{field} at byte {at} has a variable-length integer of more than 32 bits")]
    Varint { field: &'static str, at: usize },
    #[error("tagged field {field} at byte {at} is not as long as it says")]
    Tag { field: &'static str, at: usize },
    #[error("{left} bytes after the end of the body")]
    Trailing { left: usize },
    #[error("decoding {length} bytes would take {memory} bytes of memory")]
    Memory { length: usize, memory: usize },
}

/// Walks the whole body, or says what is wrong with it.
pub(super) fn walk(program: &Program, body: &[u8]) -> Result<(), WalkError> {
    let memory = memory(program, body)?;
    if memory > memory_max(body.len()) {
        return Err(WalkError::Memory { length: body.len(), memory });
    }
    Ok(())
}

/// Walks the whole body and says how much memory the decoder will take for it, at most.
pub(super) fn memory(program: &Program, body: &[u8]) -> Result<usize, WalkError> {
    let mut walk = Walk { body, at: 0, memory: 0 };
    walk.run(program)?;
    match body.len() - walk.at {
        0 => Ok(walk.memory),
        left => Err(WalkError::Trailing { left }),
    }
}

/// Drops the tagged fields of a flexible header from the front of `body`; none is known.
pub(crate) fn skip_tags(body: &mut Bytes) -> Result<(), WalkError> {
    let mut walk = Walk { body, at: 0, memory: 0 };
    walk.tags(&[])?;
    let at = walk.at;
    body.advance(at);
    Ok(())
}

struct Walk<'a> {
    body: &'a [u8],
    at: usize,
    /// What the decoder will allocate for what has been walked.
    memory: usize,
}

/// A map node of the decoder for the first unknown tagged field of a struct, and a share of one for each further.
const UNKNOWN_TAG_FIRST_MEMORY: usize = 512;
const UNKNOWN_TAG_MEMORY: usize = 128;

impl Walk<'_> {
    fn run(&mut self, program: &Program) -> Result<(), WalkError> {
        for op in &program.ops {
            match op {
                Op::Skip { name, length } => self.skip(name, *length)?,
                Op::String { name, compact, nullable } => {
                    let length = if *compact { self.compact(name)? } else { i64::from(self.i16(name)?) };
                    self.sized(name, length, *nullable)?;
                }
                Op::Bytes { name, compact, nullable } => {
                    let length = if *compact { self.compact(name)? } else { i64::from(self.i32(name)?) };
                    self.sized(name, length, *nullable)?;
                }
                Op::Array { name, compact, nullable, element } => {
                    let count = if *compact { self.compact(name)? } else { i64::from(self.i32(name)?) };
                    self.array(name, count, *nullable, element)?;
                }
                Op::Nullable { name, inner } => match self.i8(name)? {
                    -1 => {}
                    1 => self.run(inner)?,
                    length => {
                        return Err(WalkError::Length {
                            field: name,
                            at: self.at - 1,
                            length: length.into(),
                        });
                    }
                },
                Op::Tags { known } => self.tags(known)?,
            }
        }
        Ok(())
    }

    fn array(
        &mut self,
        name: &'static str,
        count: i64,
        nullable: bool,
        element: &Program,
    ) -> Result<(), WalkError> {
        let Ok(elements) = usize::try_from(count) else {
            return self.null(name, count, nullable);
        };
        let left = self.left();
        // An element of no bytes does not exist in Kafka; `max(1)` keeps the bound if one ever does.
        let each = element.wire_min.max(1);
        if elements > left / each {
            return Err(WalkError::Count { field: name, at: self.at, count, each, left });
        }
        self.memory = self.memory.saturating_add(elements.saturating_mul(element.memory));
        if element.is_fixed() {
            return self.skip(name, elements * element.wire_min);
        }
        for _ in 0..elements {
            self.run(element)?;
        }
        Ok(())
    }

    fn tags(&mut self, known: &[(u32, &'static str, Program)]) -> Result<(), WalkError> {
        const FIELD: &str = "tagged fields";
        let mut unknown = 0;
        for _ in 0..self.varint(FIELD)? {
            let tag = self.varint(FIELD)?;
            let length = self.varint(FIELD)? as usize;
            match known.iter().find(|(known, ..)| *known == tag) {
                Some((_, name, program)) => {
                    let end = self.at.checked_add(length).filter(|end| *end <= self.body.len());
                    let end = end.ok_or(WalkError::Short { field: name, at: self.at })?;
                    let whole = self.body;
                    self.body = &whole[..end];
                    let result = self.run(program);
                    self.body = whole;
                    result?;
                    if self.at != end {
                        return Err(WalkError::Tag { field: name, at: self.at });
                    }
                }
                None => {
                    self.skip(FIELD, length)?;
                    self.memory += if unknown == 0 { UNKNOWN_TAG_FIRST_MEMORY } else { UNKNOWN_TAG_MEMORY };
                    unknown += 1;
                }
            }
        }
        Ok(())
    }

    /// A string or bytes of `length`, -1 for null.
    fn sized(&mut self, name: &'static str, length: i64, nullable: bool) -> Result<(), WalkError> {
        match usize::try_from(length) {
            Ok(length) => self.skip(name, length),
            Err(_) => self.null(name, length, nullable),
        }
    }

    fn null(&self, field: &'static str, length: i64, nullable: bool) -> Result<(), WalkError> {
        if nullable && length == -1 { Ok(()) } else { Err(WalkError::Length { field, at: self.at, length }) }
    }

    fn left(&self) -> usize {
        self.body.len() - self.at
    }

    #[inline]
    fn skip(&mut self, field: &'static str, length: usize) -> Result<(), WalkError> {
        if length > self.left() {
            return Err(WalkError::Short { field, at: self.at });
        }
        self.at += length;
        Ok(())
    }

    #[inline]
    fn take<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], WalkError> {
        let bytes = self.body[self.at..].first_chunk::<N>().ok_or(WalkError::Short { field, at: self.at })?;
        self.at += N;
        Ok(*bytes)
    }

    fn i8(&mut self, field: &'static str) -> Result<i8, WalkError> {
        self.take::<1>(field).map(i8::from_be_bytes)
    }

    fn i16(&mut self, field: &'static str) -> Result<i16, WalkError> {
        self.take(field).map(i16::from_be_bytes)
    }

    fn i32(&mut self, field: &'static str) -> Result<i32, WalkError> {
        self.take(field).map(i32::from_be_bytes)
    }

    /// A compact length: one more than the length, 0 for null. Here -1 for null.
    fn compact(&mut self, field: &'static str) -> Result<i64, WalkError> {
        Ok(i64::from(self.varint(field)?) - 1)
    }

    #[inline]
    fn varint(&mut self, field: &'static str) -> Result<u32, WalkError> {
        let start = self.at;
        // Nearly all are of one byte.
        if let Some(&byte) = self.body.get(start)
            && byte < 0x80
        {
            self.at += 1;
            return Ok(u32::from(byte));
        }
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.take::<1>(field)?;
            if shift == 28 && byte > 0x0f {
                break;
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(WalkError::Varint { field, at: start })
    }
}
