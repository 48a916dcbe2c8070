//! Blocks of producer ids (`ProducerIdControlManager`, KIP-730).

use super::{Cluster, Decision};
use crate::metadata::ApiError;
use burnin_wire::ErrorCode;
use burnin_wire::metadata_records::ProducerIdsRecord;

/// How many ids a block has (`ProducerIdsBlock.PRODUCER_ID_BLOCK_SIZE`).
const BLOCK: i64 = 1000;

/// Ids that no other broker hands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdBlock {
    /// The first.
    pub first: i64,
    /// How many.
    pub count: i32,
}

impl Cluster<'_> {
    /// AllocateProducerIds. Errors: STALE_BROKER_EPOCH; UNKNOWN_SERVER_ERROR when no ids are left.
    pub fn allocate_producer_ids(
        &self,
        broker_id: i32,
        broker_epoch: i64,
    ) -> Result<Decision<ProducerIdBlock>, ApiError> {
        self.check_epoch(broker_id, broker_epoch)?;
        let first = self.image.next_producer_id();
        let Some(next_producer_id) = first.checked_add(BLOCK) else {
            let message = "Exhausted all producerIds as the next block's end producerId has exceeded the int64 \
                           type limit";
            return Err(ApiError::new(ErrorCode::UNKNOWN_SERVER_ERROR, message));
        };
        let record = ProducerIdsRecord { broker_id, broker_epoch, next_producer_id };
        Ok(Decision::new(ProducerIdBlock { first, count: BLOCK as i32 }, vec![record.into()]))
    }
}
