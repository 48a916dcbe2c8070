//! InitProducerId: producer ids for idempotence, from blocks that the metadata log hands out
//! (`ProducerIdControlManager`, `RPCProducerIdManager`).

use crate::reply::Reply;
use crate::shared::Shared;
use burnin_core::metadata::Image;
use burnin_runtime::Runtime;
use burnin_wire::ErrorCode;
use burnin_wire::kafka::messages::ProducerId;
use burnin_wire::kafka::messages::init_producer_id_request::InitProducerIdRequest;
use burnin_wire::kafka::messages::init_producer_id_response::InitProducerIdResponse;
use burnin_wire::metadata_records::{MetadataRecord, ProducerIdsRecord};
use std::sync::Arc;

/// How many ids a block has (`ProducerIdsBlock.PRODUCER_ID_BLOCK_SIZE`).
const BLOCK: i64 = 1000;

/// Handles InitProducerId. An idempotent producer gets a new id with epoch 0, also when it names an old one: its
/// epoch is raised by itself (KIP-360).
pub(super) fn init<R: Runtime>(shared: &Arc<Shared<R>>, request: InitProducerIdRequest) -> Reply<R> {
    let refused = |code: ErrorCode| {
        let response = InitProducerIdResponse::default()
            .with_error_code(code.code())
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        Reply::Now(response.into())
    };
    if request.transactional_id.is_some() {
        // There is no transaction coordinator yet; this error is final for clients.
        return refused(ErrorCode::INVALID_REQUEST);
    }
    if (request.producer_id.0 == -1) != (request.producer_epoch == -1) {
        return refused(ErrorCode::INVALID_REQUEST);
    }
    if let Some(id) = take(shared) {
        return Reply::Now(granted(id).into());
    }
    let shared = shared.clone();
    super::changing(async move {
        loop {
            if let Err(error) = next_block(&shared).await {
                return InitProducerIdResponse::default()
                    .with_error_code(error.code())
                    .with_producer_id(ProducerId(-1))
                    .with_producer_epoch(-1);
            }
            // Others may have used the block up meanwhile.
            if let Some(id) = take(&shared) {
                return granted(id);
            }
        }
    })
}

fn granted(id: i64) -> InitProducerIdResponse {
    InitProducerIdResponse::default().with_producer_id(ProducerId(id)).with_producer_epoch(0)
}

fn take<R: Runtime>(shared: &Shared<R>) -> Option<i64> {
    let mut ids = shared.producer_ids.lock();
    let id = ids.next;
    (id < ids.end).then(|| {
        ids.next += 1;
        id
    })
}

/// Reserves a block durably before any id of it is given out, so that no id is given twice.
async fn next_block<R: Runtime>(shared: &Arc<Shared<R>>) -> Result<(), ErrorCode> {
    let node_id = shared.identity.node_id;
    let committed = shared.controller.commit(move |image: &Image| {
        let first = image.next_producer_id();
        let record = ProducerIdsRecord {
            broker_id: node_id,
            broker_epoch: image.brokers().get(&node_id).map_or(-1, |broker| broker.epoch),
            next_producer_id: first + BLOCK,
        };
        (first, vec![MetadataRecord::ProducerIds(record)])
    });
    let first = committed.await.map_err(|error| error.code)?;
    let mut ids = shared.producer_ids.lock();
    if ids.next >= ids.end {
        (ids.next, ids.end) = (first, first + BLOCK);
    }
    Ok(())
}
