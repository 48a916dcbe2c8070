//! A controller tells the cluster once for each of its starts where it listens and which features it supports
//! (`ControllerRegistrationManager`).

use crate::handlers::text;
use crate::shared::Shared;
use burnin_runtime::Runtime;
use burnin_wire::Response;
use burnin_wire::kafka::messages::ControllerRegistrationRequest;
use burnin_wire::kafka::messages::controller_registration_request::{Feature, Listener};
use std::sync::Arc;
use std::time::Duration;

/// Between two tries.
const RETRY: Duration = Duration::from_millis(500);

/// Tries until it is registered.
pub(crate) async fn register<R: Runtime>(shared: Arc<Shared<R>>) {
    let request = request(&shared);
    let within = shared.config.quorum.session_timeout;
    loop {
        let error = match shared.controller_channel.call(request.clone().into(), within).await {
            Ok(Response::ControllerRegistration(response)) if response.error_code == 0 => return,
            Ok(Response::ControllerRegistration(response)) => {
                burnin_wire::ErrorCode(response.error_code).to_string()
            }
            Ok(other) => format!("an answer to {}", other.api()),
            Err(error) => error.to_string(),
        };
        tracing::warn!(error, "the controller is not registered yet");
        shared.runtime.sleep(RETRY).await;
    }
}

fn request<R: Runtime>(shared: &Shared<R>) -> ControllerRegistrationRequest {
    let listeners = shared.listeners.iter().filter(|listener| listener.is_controllers).map(|listener| {
        let (host, port) = listener.reached_at();
        Listener::default().with_name(text(listener.name.as_str())).with_host(text(host)).with_port(port)
    });
    let features = shared.config.release.features().into_iter().map(|(name, (min, max))| {
        Feature::default()
            .with_name(text(name))
            .with_min_supported_version(min)
            .with_max_supported_version(max)
    });
    ControllerRegistrationRequest::default()
        .with_controller_id(shared.identity.node_id)
        .with_incarnation_id(shared.lifecycle.incarnation_id)
        .with_listeners(listeners.collect())
        .with_features(features.collect())
}
