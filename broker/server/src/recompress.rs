//! Stores a batch with the topic's codec instead of the producer's (`compression.type` other than `producer`).

use burnin_wire::batch::{BatchBuilder, BatchHeader, BatchOptions, Compression, records};
use bytes::{Bytes, BytesMut};

/// The batch compressed with `codec` (Kafka's name, `uncompressed` for none), or `None` when it is already.
pub(crate) fn recompressed(
    batch: &Bytes,
    header: &BatchHeader,
    codec: &str,
) -> Result<Option<BytesMut>, String> {
    let compression = match codec {
        "uncompressed" => Compression::None,
        name => Compression::from_name(name).ok_or_else(|| format!("compression.type is `{name}`"))?,
    };
    if header.compression().map_err(|error| error.to_string())? == compression {
        return Ok(None);
    }
    let options = BatchOptions {
        compression,
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
        transactional: header.is_transactional(),
        ..BatchOptions::default()
    };
    let mut builder = BatchBuilder::with_capacity(options, batch.len());
    let opened = records(batch).map_err(|error| error.to_string())?;
    for record in &opened {
        let record = record.map_err(|error| error.to_string())?;
        let mut headers = Vec::with_capacity(record.headers.len());
        for header in record.headers.iter() {
            let key =
                std::str::from_utf8(header.key).map_err(|_| "a header's key is not UTF-8".to_owned())?;
            headers.push((key, header.value));
        }
        builder.push(record.timestamp, record.key, record.value, &headers);
    }
    let stored = builder.build();
    Ok(Some(stored.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_keep_everything_but_their_codec() {
        let options =
            BatchOptions { producer_id: 7, producer_epoch: 2, base_sequence: 5, ..BatchOptions::default() };
        let mut builder = BatchBuilder::new(options);
        builder.push(1000, Some(b"k"), Some(b"value"), &[("h", Some(b"x")), ("h", None)]);
        builder.push(990, None, None, &[]);
        let batch = builder.build();
        let header = BatchHeader::parse(&batch).unwrap();
        assert_eq!(recompressed(&batch, &header, "uncompressed"), Ok(None));
        for codec in ["gzip", "snappy", "lz4", "zstd"] {
            let stored = recompressed(&batch, &header, codec).unwrap().unwrap().freeze();
            let stored_header = BatchHeader::parse(&stored).unwrap();
            assert_eq!(stored_header.compression().unwrap().to_string(), codec);
            assert_eq!((stored_header.producer_id, stored_header.base_sequence), (7, 5));
            assert_eq!(stored_header.max_timestamp, 1000);
            let (before, after) = (records(&batch).unwrap(), records(&stored).unwrap());
            let seen: Vec<_> =
                after.iter().map(Result::unwrap).map(|r| (r.timestamp, r.key, r.value)).collect();
            let wanted: Vec<_> =
                before.iter().map(Result::unwrap).map(|r| (r.timestamp, r.key, r.value)).collect();
            assert_eq!(seen, wanted);
            assert_eq!(after.iter().next().unwrap().unwrap().headers.len(), 2);
        }
    }
}
