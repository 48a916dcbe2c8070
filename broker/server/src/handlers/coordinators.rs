//! FindCoordinator: there are no groups and no transactions yet, and the answer says so.

use burnin_wire::kafka::messages::BrokerId;
use burnin_wire::kafka::messages::find_coordinator_request::FindCoordinatorRequest;
use burnin_wire::kafka::messages::find_coordinator_response::{Coordinator, FindCoordinatorResponse};
use burnin_wire::{ErrorCode, Response, StrBytes};

/// Answers FindCoordinator.
pub(super) fn find(version: i16, request: FindCoordinatorRequest) -> Response {
    let message = StrBytes::from_static_str(match request.key_type {
        0 => "consumer groups are not supported yet: read by assignment",
        1 => "transactions are not supported yet",
        2 => "share groups are not supported yet",
        _ => "unknown key type (known: 0 group, 1 transaction, 2 share)",
    });
    let code = match request.key_type {
        0..=2 => ErrorCode::COORDINATOR_NOT_AVAILABLE.code(),
        _ => ErrorCode::INVALID_REQUEST.code(),
    };
    let mut response = FindCoordinatorResponse::default();
    if version >= 4 {
        let coordinator = |key| {
            Coordinator::default()
                .with_key(key)
                .with_node_id(BrokerId(-1))
                .with_port(-1)
                .with_error_code(code)
                .with_error_message(Some(message.clone()))
        };
        response.coordinators = request.coordinator_keys.into_iter().map(coordinator).collect();
    } else {
        response.error_code = code;
        response.node_id = BrokerId(-1);
        response.port = -1;
        if version >= 1 {
            response.error_message = Some(message);
        }
    }
    response.into()
}
