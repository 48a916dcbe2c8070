//! InitProducerId: producer ids for idempotence, from blocks that the metadata log hands out
//! (`ProducerIdControlManager`, `RPCProducerIdManager`).

use crate::reply::Reply;
use crate::shared::Shared;
use burnin_runtime::Runtime;
use burnin_wire::kafka::messages::allocate_producer_ids_request::AllocateProducerIdsRequest;
use burnin_wire::kafka::messages::init_producer_id_request::InitProducerIdRequest;
use burnin_wire::kafka::messages::init_producer_id_response::InitProducerIdResponse;
use burnin_wire::kafka::messages::{BrokerId, ProducerId};
use burnin_wire::{ErrorCode, Response};
use std::sync::Arc;
use std::time::Duration;

/// How long the controller may take (`RPCProducerIdManager` waits as long as a client does).
const ALLOCATION_TIMEOUT: Duration = Duration::from_secs(30);

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

/// Has the controller reserve a block before any id of it is given out, so that no id is given twice.
async fn next_block<R: Runtime>(shared: &Arc<Shared<R>>) -> Result<(), ErrorCode> {
    let node_id = shared.identity.node_id;
    let epoch = shared.broker_epoch();
    let request =
        AllocateProducerIdsRequest::default().with_broker_id(BrokerId(node_id)).with_broker_epoch(epoch);
    let answer = shared.controller_channel.call(request.into(), ALLOCATION_TIMEOUT).await;
    let Response::AllocateProducerIds(block) = answer.map_err(|error| error.code)? else {
        return Err(ErrorCode::UNKNOWN_SERVER_ERROR);
    };
    match ErrorCode(block.error_code) {
        ErrorCode::NONE => {}
        // The broker is about to be registered again: the client may ask once more.
        ErrorCode::STALE_BROKER_EPOCH => return Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
        other => return Err(other),
    }
    let mut ids = shared.producer_ids.lock();
    if ids.next >= ids.end {
        let first = block.producer_id_start.0;
        (ids.next, ids.end) = (first, first + i64::from(block.producer_id_len));
    }
    Ok(())
}
