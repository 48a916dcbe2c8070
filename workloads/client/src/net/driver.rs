//! The task behind a connection: wait until somebody wants it, connect, agree on versions, serve, and after a
//! failure begin again, with backoff.

use super::pump::{End, Limits, Pump};
use super::{Connection, NetworkListener, RequestFailure, Versions};
use crate::config::ClientConfig;
use burnin_runtime::{Net, Runtime, timeout};
use burnin_wire::kafka::messages::ApiVersionsRequest;
use burnin_wire::{Api, Request, Response, StrBytes, decode_response};
use std::sync::{Arc, Weak};

/// What a connection's task needs of its client.
pub(crate) struct Dial<R> {
    pub runtime: R,
    pub config: Arc<ClientConfig>,
    pub listener: Weak<dyn NetworkListener>,
}

/// Runs until the connection is closed.
pub(crate) async fn run<R: Runtime>(dial: Dial<R>, connection: Arc<Connection>) {
    let runtime = &dial.runtime;
    let mut entropy = runtime.entropy("client/reconnect");
    let mut failures = 0u32;
    while std::future::poll_fn(|cx| connection.poll_wanted(cx)).await {
        let wait = dial.config.reconnect_backoff.after(failures, &mut entropy);
        if !wait.is_zero() {
            runtime.sleep(wait).await;
        }
        match open(&dial, &connection).await {
            Ok(pump) => {
                changed(&dial, &connection, true);
                let end = pump.serve().await;
                connection.down();
                fail_queue(runtime, &connection, &end);
                if matches!(end, End::Closed) {
                    return;
                }
                // The first attempt after a break waits too: a broker that restarts gets no storm.
                failures = 1;
                changed(&dial, &connection, false);
            }
            Err(reason) => {
                failures = failures.saturating_add(1);
                for queued in connection.take_queue() {
                    let failure = RequestFailure::NotConnected(reason.clone());
                    queued.reply.send(runtime.now(), connection.node, Err(failure));
                }
                changed(&dial, &connection, false);
            }
        }
    }
}

fn changed<R: Runtime>(dial: &Dial<R>, connection: &Connection, up: bool) {
    if let Some(listener) = dial.listener.upgrade() {
        listener.connection_changed(dial.runtime.now(), connection.node, connection.lane, up);
    }
}

fn fail_queue<R: Runtime>(runtime: &R, connection: &Connection, end: &End) {
    let reason: Arc<str> = match end {
        End::Broken(reason) => reason.clone(),
        End::TimedOut => "another request timed out".into(),
        End::Closed => "the client was closed".into(),
    };
    for queued in connection.take_queue() {
        let failure = RequestFailure::Disconnected { sent: false, reason: reason.clone() };
        queued.reply.send(runtime.now(), connection.node, Err(failure));
    }
}

async fn open<'a, R: Runtime>(
    dial: &'a Dial<R>,
    connection: &'a Connection,
) -> Result<Pump<'a, R>, Arc<str>> {
    let Dial { runtime, config, .. } = dial;
    let (host, port) = connection.address();
    let connecting = async {
        let addresses = runtime.net().resolve(&host, port).await?;
        let address = addresses.first().copied().ok_or(std::io::ErrorKind::NotFound)?;
        runtime.net().connect(address).await
    };
    let stream = match timeout(runtime, config.connect_timeout, connecting).await {
        None => {
            return Err(format!("{host}:{port} did not accept within {:?}", config.connect_timeout).into());
        }
        Some(Err(error)) => return Err(format!("{host}:{port}: {error}").into()),
        Some(Ok(stream)) => stream,
    };
    let limits = Limits {
        in_flight_max: config.in_flight_max,
        response_bytes_max: config.response_bytes_max,
        answers: config.answers.clone(),
    };
    let mut pump = Pump::new(runtime, connection, &config.client_id, limits, stream);
    let versions = match timeout(runtime, config.connect_timeout, negotiate(&mut pump)).await {
        None => return Err(format!("{host}:{port} did not answer ApiVersions in time").into()),
        Some(Err(reason)) => return Err(format!("{host}:{port}: {reason}").into()),
        Some(Ok(versions)) => versions,
    };
    pump.set_versions(versions.clone());
    connection.up(versions);
    Ok(pump)
}

/// ApiVersions in our highest version, and once more in the broker's highest (KIP-511) when it refuses.
async fn negotiate<R: Runtime>(pump: &mut Pump<'_, R>) -> Result<Versions, Arc<str>> {
    const UNSUPPORTED_VERSION: i16 = 35;
    let mut version = Api::ApiVersions.versions().max.min(4);
    loop {
        let mut request = ApiVersionsRequest::default();
        if version >= 3 {
            request.client_software_name = StrBytes::from_static_str("burnin");
            request.client_software_version = StrBytes::from_static_str(env!("CARGO_PKG_VERSION"));
        }
        let frame = pump.exchange(version, &Request::ApiVersions(request)).await?;
        // The error code comes first in every version; a refusal has the body of version 0.
        let refused = frame.get(4..6) == Some(&UNSUPPORTED_VERSION.to_be_bytes()[..]);
        let answer = decode_response(Api::ApiVersions, if refused { 0 } else { version }, frame)
            .map_err(|error| Arc::<str>::from(error.to_string()))?;
        let Response::ApiVersions(answer) = answer else { unreachable!("decoded as ApiVersions") };
        if !refused {
            return match answer.error_code {
                0 => Ok(Versions::of(&answer)),
                code => Err(format!("ApiVersions was answered with error code {code}").into()),
            };
        }
        let theirs = answer.api_keys.iter().find(|key| key.api_key == Api::ApiVersions.key());
        version = match theirs.map_or(0, |key| key.max_version) {
            max if max < version => max.max(0),
            _ => {
                return Err(
                    format!("ApiVersions v{version} was refused, and nothing lower is offered").into()
                );
            }
        };
    }
}
