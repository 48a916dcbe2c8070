//! A connection that sends requests and reads responses, and nothing more.

use burnin_runtime::{Net, Runtime, Stream, timeout};
use burnin_wire::kafka::messages::ApiVersionsRequest;
use burnin_wire::{Request, Response, decode_response, encode_request, response_correlation_id};
use bytes::{Buf, Bytes, BytesMut};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long an answer may take, in simulated or real time.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Peer<R: Runtime> {
    runtime: R,
    read: <<R::Net as Net>::Stream as Stream>::Read,
    write: <<R::Net as Net>::Stream as Stream>::Write,
    buffer: BytesMut,
    next_id: i32,
}

impl<R: Runtime> Peer<R> {
    pub async fn connect(runtime: &R, address: SocketAddr) -> Peer<R> {
        let stream = runtime.net().connect(address).await.expect("the broker accepts");
        let (read, write) = stream.split();
        Peer { runtime: runtime.clone(), read, write, buffer: BytesMut::new(), next_id: 1 }
    }

    /// To a broker that may have to find its place in the cluster first, and serves nobody before.
    pub async fn connect_served(runtime: &R, address: SocketAddr) -> Peer<R> {
        let serves = async {
            loop {
                let mut peer = Peer::connect(runtime, address).await;
                peer.send(0, ApiVersionsRequest::default()).await;
                if peer.frame().await.is_some() {
                    return peer;
                }
                runtime.sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(runtime, PATIENCE, serves).await.expect("the broker serves clients in time")
    }

    /// Sends bytes as they are.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        // The broker may have closed already, which the next read tells.
        let _ = self.write.write_all(bytes).await;
        let _ = self.write.flush().await;
    }

    /// Sends a request and gives its correlation id.
    pub async fn send(&mut self, version: i16, request: impl Into<Request>) -> i32 {
        let id = self.next_id;
        self.next_id += 1;
        let frame = encode_request(version, id, "peer", &request.into()).into_bytes();
        self.send_bytes(&frame).await;
        id
    }

    /// The next frame without its length; `None` when the broker closed the connection.
    pub async fn frame(&mut self) -> Option<Bytes> {
        let runtime = self.runtime.clone();
        timeout(&runtime, PATIENCE, self.frame_or_end()).await.expect("an answer in time")
    }

    async fn frame_or_end(&mut self) -> Option<Bytes> {
        loop {
            if let Some(length) = self.buffer.first_chunk::<4>() {
                let length = i32::from_be_bytes(*length) as usize;
                if self.buffer.len() >= 4 + length {
                    self.buffer.advance(4);
                    return Some(self.buffer.split_to(length).freeze());
                }
            }
            match self.read.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// The response to the request with this id, which must be the next one.
    pub async fn receive(&mut self, id: i32, api: burnin_wire::Api, version: i16) -> Response {
        let frame = self.frame().await.unwrap_or_else(|| panic!("the broker closed before {api} v{version}"));
        assert_eq!(response_correlation_id(&frame), Some(id), "responses come in the order of requests");
        decode_response(api, version, frame).expect("a well-formed response")
    }

    /// Sends a request and reads its response.
    pub async fn call(&mut self, version: i16, request: impl Into<Request>) -> Response {
        let request = request.into();
        let api = request.api();
        let id = self.send(version, request).await;
        self.receive(id, api, version).await
    }

    /// Waits for the broker to close the connection without an answer.
    pub async fn expect_closed(&mut self) {
        assert_eq!(self.frame().await, None, "the broker closes without an answer");
    }
}

/// Calls and unpacks the response of an API.
#[macro_export]
macro_rules! call {
    ($peer:expr, $api:ident v $version:expr, $request:expr) => {{
        match $peer.call($version, $request).await {
            burnin_wire::Response::$api(response) => response,
            other => panic!("{:?}", other),
        }
    }};
}
