//! Fields of flexible messages: compact lengths, tagged fields at the end of each struct.

use bytes::{BufMut, BytesMut};
use uuid::Uuid;

use super::MetadataRecordError;

const SHORT: MetadataRecordError = MetadataRecordError::Malformed("record ends inside a field");

/// A field on the wire.
pub(crate) trait Field: Sized {
    fn put(&self, buf: &mut BytesMut);
    fn take(bytes: &mut &[u8]) -> Result<Self, MetadataRecordError>;
    /// As Kafka's generated `toString` has it.
    #[cfg(test)]
    fn text(&self) -> String;
}

macro_rules! numbers {
    ($($type:ty: $put:ident;)*) => {
        $(impl Field for $type {
            fn put(&self, buf: &mut BytesMut) {
                buf.$put(*self);
            }
            fn take(bytes: &mut &[u8]) -> Result<Self, MetadataRecordError> {
                let (number, rest) = bytes.split_first_chunk().ok_or(SHORT)?;
                *bytes = rest;
                Ok(<$type>::from_be_bytes(*number))
            }
            #[cfg(test)]
            fn text(&self) -> String {
                self.to_string()
            }
        })*
    };
}

numbers! {
    i8: put_i8;
    i16: put_i16;
    u16: put_u16;
    i32: put_i32;
    i64: put_i64;
}

impl Field for bool {
    fn put(&self, buf: &mut BytesMut) {
        buf.put_u8(u8::from(*self));
    }
    fn take(bytes: &mut &[u8]) -> Result<Self, MetadataRecordError> {
        Ok(i8::take(bytes)? != 0)
    }
    #[cfg(test)]
    fn text(&self) -> String {
        self.to_string()
    }
}

impl Field for Uuid {
    fn put(&self, buf: &mut BytesMut) {
        buf.put_slice(self.as_bytes());
    }
    fn take(bytes: &mut &[u8]) -> Result<Self, MetadataRecordError> {
        let (id, rest) = bytes.split_first_chunk().ok_or(SHORT)?;
        *bytes = rest;
        Ok(Uuid::from_bytes(*id))
    }
    #[cfg(test)]
    fn text(&self) -> String {
        super::tests::base64(self.as_bytes())
    }
}

impl Field for String {
    fn put(&self, buf: &mut BytesMut) {
        put_length(buf, self.len());
        buf.put_slice(self.as_bytes());
    }
    fn take(bytes: &mut &[u8]) -> Result<Self, MetadataRecordError> {
        <Option<String> as Field>::take(bytes)?.ok_or(MetadataRecordError::Malformed("null string"))
    }
    #[cfg(test)]
    fn text(&self) -> String {
        format!("'{self}'")
    }
}

impl Field for Option<String> {
    fn put(&self, buf: &mut BytesMut) {
        match self {
            Some(string) => string.put(buf),
            None => buf.put_u8(0),
        }
    }
    fn take(bytes: &mut &[u8]) -> Result<Self, MetadataRecordError> {
        let Some(length) = take_length(bytes)? else {
            return Ok(None);
        };
        let string = take_slice(bytes, length)?.to_vec();
        String::from_utf8(string).map(Some).map_err(|_| MetadataRecordError::Malformed("string is not UTF-8"))
    }
    #[cfg(test)]
    fn text(&self) -> String {
        self.as_ref().map_or("null".to_owned(), Field::text)
    }
}

impl<T: Field> Field for Vec<T> {
    fn put(&self, buf: &mut BytesMut) {
        put_length(buf, self.len());
        self.iter().for_each(|element| element.put(buf));
    }
    fn take(bytes: &mut &[u8]) -> Result<Self, MetadataRecordError> {
        <Option<Vec<T>> as Field>::take(bytes)?.ok_or(MetadataRecordError::Malformed("null array"))
    }
    #[cfg(test)]
    fn text(&self) -> String {
        format!("[{}]", self.iter().map(Field::text).collect::<Vec<_>>().join(", "))
    }
}

impl<T: Field> Field for Option<Vec<T>> {
    fn put(&self, buf: &mut BytesMut) {
        match self {
            Some(elements) => elements.put(buf),
            None => buf.put_u8(0),
        }
    }
    /// Grows as elements are read: a count alone takes no memory.
    fn take(bytes: &mut &[u8]) -> Result<Self, MetadataRecordError> {
        let Some(count) = take_length(bytes)? else {
            return Ok(None);
        };
        let mut elements = Vec::new();
        for _ in 0..count {
            elements.push(T::take(bytes)?);
        }
        Ok(Some(elements))
    }
    #[cfg(test)]
    fn text(&self) -> String {
        self.as_ref().map_or("null".to_owned(), Field::text)
    }
}

/// One more than the length; 0 is null.
fn put_length(buf: &mut BytesMut, length: usize) {
    put_varint(buf, u32::try_from(length + 1).expect("a metadata record is small"));
}

fn take_length(bytes: &mut &[u8]) -> Result<Option<usize>, MetadataRecordError> {
    Ok(take_varint(bytes)?.checked_sub(1).map(|length| length as usize))
}

pub(crate) fn put_varint(buf: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        buf.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    buf.put_u8(value as u8);
}

pub(crate) fn take_varint(bytes: &mut &[u8]) -> Result<u32, MetadataRecordError> {
    let mut value = 0;
    for shift in [0, 7, 14, 21, 28] {
        let (&byte, rest) = bytes.split_first().ok_or(SHORT)?;
        *bytes = rest;
        if shift == 28 && byte > 0x0f {
            break;
        }
        value |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(MetadataRecordError::Malformed("variable-length integer of more than 32 bits"))
}

/// Encodes a tagged field and keeps it for [`put_tagged`].
pub(crate) fn push_tagged(tagged: &mut Vec<(u32, BytesMut)>, tag: u32, field: &impl Field) {
    let mut value = BytesMut::new();
    field.put(&mut value);
    tagged.push((tag, value));
}

/// Appends the tagged fields of a struct, which are in the order of their tags.
pub(crate) fn put_tagged(buf: &mut BytesMut, tagged: &[(u32, BytesMut)]) {
    put_varint(buf, u32::try_from(tagged.len()).expect("few tagged fields"));
    for (tag, value) in tagged {
        put_varint(buf, *tag);
        put_varint(buf, u32::try_from(value.len()).expect("a metadata record is small"));
        buf.put_slice(value);
    }
}

/// Takes all tagged fields of a struct: tags and bytes.
pub(crate) fn take_tagged<'a>(bytes: &mut &'a [u8]) -> Result<Vec<(u32, &'a [u8])>, MetadataRecordError> {
    let mut tagged = Vec::new();
    for _ in 0..take_varint(bytes)? {
        let tag = take_varint(bytes)?;
        let length = take_varint(bytes)? as usize;
        tagged.push((tag, take_slice(bytes, length)?));
    }
    Ok(tagged)
}

/// The value of a tagged field, which takes all of `bytes`.
pub(crate) fn take_whole<T: Field>(mut bytes: &[u8]) -> Result<T, MetadataRecordError> {
    let value = T::take(&mut bytes)?;
    if bytes.is_empty() {
        Ok(value)
    } else {
        Err(MetadataRecordError::Malformed("tagged field is longer than its value"))
    }
}

fn take_slice<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], MetadataRecordError> {
    let (slice, rest) = bytes.split_at_checked(length).ok_or(SHORT)?;
    *bytes = rest;
    Ok(slice)
}
