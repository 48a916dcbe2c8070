//! Net: listening, connecting, addresses, names.

use crate::Env;
use burnin_runtime::{Listener, Net, Runtime, Stream, Task, timeout};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The stream type of a runtime.
pub(crate) type StreamOf<R> = <<R as Runtime>::Net as Net>::Stream;

/// A connection: the accepted side (on `env.runtime`) and the connecting side (on `env.peer`).
pub(crate) async fn pair<R: Runtime>(env: &Env<R>) -> (StreamOf<R>, StreamOf<R>) {
    let mut listener = env.runtime.net().listen(env.any_port()).await.expect("a free port can be bound");
    let address = listener.local_addr();
    let peer = env.peer.clone();
    let connect = env.peer.spawn("connect", async move { peer.net().connect(address).await });
    let (server, _) = env.soon("accept", listener.accept()).await.expect("the connection is accepted");
    let client = env.soon("connect", connect).await.expect("the task ends").expect("the connection opens");
    (server, client)
}

pub async fn echo<R: Runtime>(env: Env<R>) {
    let (mut server, mut client) = pair(&env).await;
    let echo = env.runtime.spawn("echo", async move {
        let mut line = [0; 5];
        for _ in 0..10 {
            server.read_exact(&mut line).await.expect("the request arrives");
            server.write_all(&line).await.expect("the answer is sent");
            server.flush().await.expect("the answer is flushed");
        }
    });
    for round in 0..10u8 {
        let request = [round; 5];
        client.write_all(&request).await.expect("the request is sent");
        client.flush().await.expect("the request is flushed");
        let mut answer = [255; 5];
        env.soon("the answer", client.read_exact(&mut answer)).await.expect("the answer arrives");
        assert_eq!(answer, request);
    }
    env.soon("the echo task ends", echo).await.expect("it ends");
}

pub async fn port_zero_picks_a_free_port<R: Runtime>(env: Env<R>) {
    let a = env.runtime.net().listen(env.any_port()).await.expect("a free port exists");
    let b = env.runtime.net().listen(env.any_port()).await.expect("another free port exists");
    assert_ne!(a.local_addr().port(), 0);
    assert_ne!(a.local_addr(), b.local_addr());
    assert_eq!(a.local_addr().ip(), env.ip);
}

pub async fn second_listener_is_refused<R: Runtime>(env: Env<R>) {
    let first = env.runtime.net().listen(env.any_port()).await.expect("a free port exists");
    let second = env.runtime.net().listen(first.local_addr()).await.err().map(|e| e.kind());
    assert_eq!(second, Some(ErrorKind::AddrInUse));
}

pub async fn dropped_listener_frees_its_port<R: Runtime>(env: Env<R>) {
    let mut first = env.runtime.net().listen(env.any_port()).await.expect("a free port exists");
    let address = first.local_addr();
    let peer = env.peer.clone();
    let connect = env.peer.spawn("connect", async move { peer.net().connect(address).await });
    let (server, _) = env.soon("accept", first.accept()).await.expect("the connection is accepted");
    drop(first);
    // The old connection is still open, and then in its last state: neither keeps the port.
    drop(env.runtime.net().listen(address).await.expect("the port is free beside its old connection"));
    drop(server);
    drop(env.soon("connect", connect).await);
    drop(env.runtime.net().listen(address).await.expect("the port is free after its old connection"));
}

pub async fn connect_without_a_listener_is_refused<R: Runtime>(env: Env<R>) {
    // On a shared host somebody else may pick the port that was just freed: try again.
    for _ in 0..5 {
        let listener = env.runtime.net().listen(env.any_port()).await.expect("a free port exists");
        let address = listener.local_addr();
        drop(listener);
        match env.soon("connect", env.peer.net().connect(address)).await {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
                return;
            }
        }
    }
    panic!("five connects in a row found a listener on a port that was just freed");
}

pub async fn addresses_agree_on_both_sides<R: Runtime>(env: Env<R>) {
    let mut listener = env.runtime.net().listen(env.any_port()).await.expect("a free port exists");
    let address = listener.local_addr();
    let peer = env.peer.clone();
    let connect = env.peer.spawn("connect", async move { peer.net().connect(address).await });
    let (server, from) = env.soon("accept", listener.accept()).await.expect("the connection is accepted");
    let client = env.soon("connect", connect).await.expect("the task ends").expect("the connection opens");
    assert_eq!(client.peer_addr(), address);
    assert_eq!(server.local_addr(), address);
    assert_eq!(server.peer_addr(), from);
    assert_eq!(client.local_addr(), from);
}

pub async fn connect_completes_before_accept<R: Runtime>(env: Env<R>) {
    let mut listener = env.runtime.net().listen(env.any_port()).await.expect("a free port exists");
    let connect = env.peer.net().connect(listener.local_addr());
    let mut client = env.soon("connect without accept", connect).await.expect("the backlog takes it");
    client.write_all(b"early").await.expect("the window takes it");
    client.flush().await.expect("the window takes it");
    let (mut server, _) = env.soon("accept", listener.accept()).await.expect("the connection is accepted");
    let mut bytes = [0; 5];
    env.soon("the early bytes", server.read_exact(&mut bytes)).await.expect("they arrive");
    assert_eq!(&bytes, b"early");
}

pub async fn accept_survives_a_dropped_call<R: Runtime>(env: Env<R>) {
    let mut listener = env.runtime.net().listen(env.any_port()).await.expect("a free port exists");
    let address = listener.local_addr();
    let nobody = timeout(&env.runtime, Duration::from_millis(10), listener.accept()).await;
    assert!(nobody.is_none(), "a connection that nobody opened");
    let peer = env.peer.clone();
    let connect = env.peer.spawn("connect", async move { peer.net().connect(address).await });
    env.soon("accept", listener.accept()).await.expect("the connection is accepted");
    env.soon("connect", connect).await.expect("the task ends").expect("the connection opens");
}

pub async fn many_connections_at_once<R: Runtime>(env: Env<R>) {
    const CLIENTS: u8 = 40;
    let mut listener = env.runtime.net().listen(env.any_port()).await.expect("a free port exists");
    let address = listener.local_addr();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let peer = env.peer.clone();
            env.peer.spawn("client", async move {
                let mut stream = peer.net().connect(address).await.expect("the connection opens");
                stream.write_all(&[number]).await.expect("the request is sent");
                stream.flush().await.expect("the request is flushed");
                let mut answer = [0];
                stream.read_exact(&mut answer).await.expect("the answer arrives");
                (answer[0], stream.local_addr())
            })
        })
        .collect();
    for _ in 0..CLIENTS {
        let (mut stream, _) = env.soon("accept", listener.accept()).await.expect("accepted");
        let serve = env.runtime.spawn("serve", async move {
            let mut request = [0];
            stream.read_exact(&mut request).await.expect("the request arrives");
            stream.write_all(&request).await.expect("the answer is sent");
            stream.flush().await.expect("the answer is flushed");
            // Until the client closes, so that nothing of the answer depends on the close.
            assert_eq!(stream.read(&mut request).await.expect("the end arrives"), 0);
        });
        serve.detach();
    }
    let mut ports = BTreeSet::new();
    for (number, client) in (0..CLIENTS).zip(clients) {
        let (answer, local) = env.soon("a client", client).await.expect("the client ends");
        assert_eq!(answer, number, "a client got the answer of another one");
        assert!(ports.insert(local), "two connections have one address: {local}");
    }
}

pub async fn ip_literals_resolve_to_themselves<R: Runtime>(env: Env<R>) {
    let host = env.ip.to_string();
    let found = env.soon("resolve", env.peer.net().resolve(&host, 9092)).await.expect("it resolves");
    assert_eq!(found, [SocketAddr::new(env.ip, 9092)]);
    let found = env.soon("resolve", env.peer.net().resolve("::1", 7)).await.expect("it resolves");
    assert_eq!(found, ["[::1]:7".parse::<SocketAddr>().expect("an address")]);
}

pub async fn unknown_names_do_not_resolve<R: Runtime>(env: Env<R>) {
    // A label of more than 63 bytes cannot exist, so that no name server is asked.
    let name = "n".repeat(70);
    let found = env.soon("resolve", env.peer.net().resolve(&name, 9092)).await;
    assert!(found.is_err(), "a name that cannot exist resolved to {found:?}");
}
