//! The shape of one message in one version, flat: what the walk runs.

use super::parse::{Field, Kind, Message};

/// A message, or an element of an array, in one version.
pub(super) struct Program {
    pub(super) ops: Box<[Op]>,
    /// The fewest bytes that it can take on the wire.
    pub(super) wire_min: usize,
    /// Bytes that the decoder's struct takes, heap not counted.
    pub(super) memory: usize,
}

/// A step of the walk. Neighbouring fields of fixed size are one step.
pub(super) enum Op {
    Skip {
        name: &'static str,
        length: usize,
    },
    /// A 2-byte length, or a compact one, and so many bytes.
    String {
        name: &'static str,
        compact: bool,
        nullable: bool,
    },
    /// A 4-byte length, or a compact one, and so many bytes.
    Bytes {
        name: &'static str,
        compact: bool,
        nullable: bool,
    },
    /// A 4-byte count, or a compact one, and so many elements.
    Array {
        name: &'static str,
        compact: bool,
        nullable: bool,
        element: Program,
    },
    /// A byte, -1 for null, and the struct's own steps.
    Nullable {
        name: &'static str,
        inner: Program,
    },
    /// The tagged fields at the end of a struct; those that are known, by tag.
    Tags {
        known: Box<[(u32, &'static str, Program)]>,
    },
}

impl Program {
    /// Whether every value takes the same number of bytes and no heap.
    pub(super) fn is_fixed(&self) -> bool {
        matches!(*self.ops, [] | [Op::Skip { .. }])
    }
}

/// The program of `message` in `version`.
pub(super) fn compile(message: &Message, version: i16) -> Program {
    let compiler = Compiler { version, flexible: version >= message.flexible };
    compiler.structure(&message.fields)
}

struct Compiler {
    version: i16,
    flexible: bool,
}

impl Compiler {
    fn structure(&self, fields: &[Field]) -> Program {
        let mut ops = Vec::new();
        self.push_structure(&mut ops, fields);
        finish(ops, structure_memory(fields))
    }

    /// The steps of a struct. A struct in a struct has its steps in line.
    fn push_structure(&self, ops: &mut Vec<Op>, fields: &[Field]) {
        let mut known = Vec::new();
        for field in fields.iter().filter(|field| self.present(field)) {
            match field.tag {
                None => self.push(ops, field.name, field.nullable, &field.kind),
                Some(tag) => {
                    let mut value = Vec::new();
                    self.push(&mut value, field.name, field.nullable, &field.kind);
                    known.push((tag, field.name, finish(value, 0)));
                }
            }
        }
        if self.flexible {
            ops.push(Op::Tags { known: known.into() });
        } else {
            assert!(known.is_empty(), "tagged field in version {} which is not flexible", self.version);
        }
    }

    fn present(&self, field: &Field) -> bool {
        (field.versions.0..=field.versions.1).contains(&self.version)
    }

    fn push(&self, ops: &mut Vec<Op>, name: &'static str, nullable: bool, kind: &Kind) {
        let compact = self.flexible;
        match kind {
            Kind::Fixed(length) => push_skip(ops, name, *length),
            Kind::Bool => push_skip(ops, name, 1),
            Kind::String => ops.push(Op::String { name, compact, nullable }),
            Kind::Bytes => ops.push(Op::Bytes { name, compact, nullable }),
            Kind::Array(element) => {
                let element = match &**element {
                    Kind::Struct(fields) => self.structure(fields),
                    scalar => {
                        let mut ops = Vec::new();
                        self.push(&mut ops, name, false, scalar);
                        finish(ops, kind_memory(scalar))
                    }
                };
                ops.push(Op::Array { name, compact, nullable, element });
            }
            Kind::Struct(fields) if nullable => {
                ops.push(Op::Nullable { name, inner: self.structure(fields) });
            }
            Kind::Struct(fields) => self.push_structure(ops, fields),
        }
    }
}

fn push_skip(ops: &mut Vec<Op>, name: &'static str, more: usize) {
    match ops.last_mut() {
        Some(Op::Skip { length, .. }) => *length += more,
        _ => ops.push(Op::Skip { name, length: more }),
    }
}

fn finish(ops: Vec<Op>, memory: usize) -> Program {
    let wire_min = ops.iter().map(op_wire_min).sum();
    Program { ops: ops.into(), wire_min, memory }
}

fn op_wire_min(op: &Op) -> usize {
    match op {
        Op::Skip { length, .. } => *length,
        Op::String { compact: false, .. } => 2,
        Op::Bytes { compact: false, .. } | Op::Array { compact: false, .. } => 4,
        Op::String { .. } | Op::Bytes { .. } | Op::Array { .. } | Op::Nullable { .. } | Op::Tags { .. } => 1,
    }
}

/// Bytes of the crate's struct: it has the fields of all versions, and a map of unknown tagged fields.
fn structure_memory(fields: &[Field]) -> usize {
    const MAP: usize = size_of::<std::collections::BTreeMap<i32, bytes::Bytes>>();
    let fields: usize = fields
        .iter()
        .map(|field| {
            let discriminant = if field.nullable && matches!(field.kind, Kind::Struct(_)) { 8 } else { 0 };
            kind_memory(&field.kind) + discriminant
        })
        .sum();
    (fields + MAP).next_multiple_of(8)
}

fn kind_memory(kind: &Kind) -> usize {
    match kind {
        Kind::Fixed(length) => *length,
        Kind::Bool => 1,
        Kind::String | Kind::Bytes => size_of::<bytes::Bytes>(),
        Kind::Array(_) => size_of::<Vec<u8>>(),
        Kind::Struct(fields) => structure_memory(fields),
    }
}
