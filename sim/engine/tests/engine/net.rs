//! Each fault of the network bites, ends when it is healed, and never touches the bytes of a stream.

use crate::common::*;
use burnin_engine::*;
use burnin_runtime::{Listener, Net, Runtime, Stream, Task};
use std::io::ErrorKind;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[test]
fn a_fixed_latency_is_exact() {
    run(1, config(), |h| async move {
        let (a, b) = pair(&h);
        let start = h.now();
        let (mut server, mut client) = connected(&h, a, b).await;
        assert_eq!(h.now().since(start), 3 * MS, "SYN, SYN-ACK, ACK");
        let start = h.now();
        client.write_all(b"ping").await.unwrap();
        let mut buf = [0; 4];
        server.read_exact(&mut buf).await.unwrap();
        assert_eq!((h.now().since(start), &buf), (MS, b"ping"));
    });
}

#[test]
fn a_partition_stalls_a_stream_and_healing_resumes_it_at_a_retransmission() {
    run(1, config(), |h| async move {
        let (a, b) = pair(&h);
        let (mut server, mut client) = connected(&h, a, b).await;
        client.write_all(b"before ").await.unwrap();
        h.net().partition(a, b).unwrap();
        client.write_all(b"during").await.unwrap();
        let start = h.now();
        let mut buf = [0; 13];
        assert!(within(&h, SECOND, server.read_exact(&mut buf[..1])).await.is_none(), "the link is cut");
        h.net().heal(a, b).unwrap();
        server.read_exact(&mut buf).await.unwrap();
        assert_eq!(&buf, b"before during");
        // Lost at 0 s, sent again at 0.2, 0.6 and 1.4 s.
        assert_eq!(h.now().since(start), Duration::from_millis(1401));
        assert!(h.net().heal(a, b).is_err(), "nothing is left to heal");
    });
}

#[test]
fn partitions_add_up_and_heal_all_takes_every_one_back() {
    run(1, config(), |h| async move {
        let (a, b) = pair(&h);
        let (mut server, mut client) = connected(&h, a, b).await;
        h.net().partition(a, b).unwrap();
        h.net().partition(a, b).unwrap();
        client.write_all(b"x").await.unwrap();
        h.net().heal(a, b).unwrap();
        let mut buf = [0; 1];
        assert!(within(&h, 2 * SECOND, server.read_exact(&mut buf)).await.is_none(), "one is left");
        h.net().heal_all();
        server.read_exact(&mut buf).await.unwrap();
        assert!(h.net().partition(a, a).is_err());
    });
}

#[test]
fn a_one_way_partition_lets_requests_through_and_no_answers() {
    run(1, config(), |h| async move {
        let (a, b) = pair(&h);
        let (mut server, mut client) = connected(&h, a, b).await;
        h.net().partition_one_way(a, b).unwrap();
        client.write_all(b"request").await.unwrap();
        let mut buf = [0; 7];
        server.read_exact(&mut buf).await.unwrap();
        server.write_all(b"answer!").await.unwrap();
        assert!(within(&h, SECOND, client.read_exact(&mut buf)).await.is_none());
        h.net().heal_one_way(a, b).unwrap();
        client.read_exact(&mut buf).await.unwrap();
        assert_eq!(&buf, b"answer!");
    });
}

#[test]
fn a_sender_without_acknowledgements_stops_at_its_window_and_goes_on_after_healing() {
    run(1, config(), |h| async move {
        let (a, b) = pair(&h);
        let (mut server, mut client) = connected(&h, a, b).await;
        h.net().partition_one_way(a, b).unwrap();
        let writer = h.runtime(b).spawn("writer", async move {
            client.write_all(&vec![7; 200_000]).await.unwrap();
        });
        let mut buf = vec![0; 200_000];
        let got = within(&h, 5 * SECOND, server.read_exact(&mut buf)).await;
        assert!(got.is_none() && !writer.is_finished(), "more than a window went through");
        assert!(buf[..64 * 1024].iter().all(|&byte| byte == 7) && buf[64 * 1024] == 0);
        h.net().heal_one_way(a, b).unwrap();
        server.read_exact(&mut buf[64 * 1024..]).await.unwrap();
        writer.await.unwrap();
    });
}

#[test]
fn unacknowledged_data_times_out_and_an_idle_peer_never_learns() {
    run(1, config(), |h| async move {
        let (a, b) = pair(&h);
        let (mut server, mut client) = connected(&h, a, b).await;
        h.net().partition(a, b).unwrap();
        let start = h.now();
        client.write_all(b"x").await.unwrap();
        let mut buf = [0; 1];
        assert_eq!(kind(client.read_exact(&mut buf).await), ErrorKind::TimedOut);
        assert_eq!(h.now().since(start), 10 * SECOND);
        assert_eq!(kind(client.write_all(b"y").await), ErrorKind::TimedOut);
        assert!(
            within(&h, 1000 * SECOND, server.read_exact(&mut buf)).await.is_none(),
            "there is no keepalive"
        );
    });
}

#[test]
fn a_machine_without_power_is_silent_and_answers_with_resets_when_it_is_back() {
    run(1, config(), |h| async move {
        let (a, b) = pair(&h);
        let (server, mut client) = connected(&h, a, b).await;
        h.power_loss(a).unwrap();
        assert!(!h.is_up(a));
        let mut buf = [0; 1];
        assert!(within(&h, 5 * SECOND, client.read_exact(&mut buf)).await.is_none(), "silence");
        client.write_all(b"x").await.unwrap();
        assert!(within(&h, 5 * SECOND, client.read_exact(&mut buf)).await.is_none(), "still silence");
        h.start(a).unwrap();
        assert_eq!(kind(client.read_exact(&mut buf).await), ErrorKind::ConnectionReset);
        drop((server, client));
        assert_eq!(h.net().connections(), 0);
    });
}

#[test]
fn a_machine_that_lost_power_and_came_back_leaves_an_idle_peer_half_open() {
    run(1, config(), |h| async move {
        let (a, b) = pair(&h);
        let (_server, mut client) = connected(&h, a, b).await;
        h.power_loss(a).unwrap();
        h.start(a).unwrap();
        let mut buf = [0; 1];
        assert!(within(&h, 100 * SECOND, client.read_exact(&mut buf)).await.is_none());
        client.write_all(b"x").await.unwrap();
        assert_eq!(kind(client.read_exact(&mut buf).await), ErrorKind::ConnectionReset);
    });
}

#[test]
fn the_kernel_of_a_killed_process_ends_its_connections() {
    run(1, config(), |h| async move {
        let (a, b) = pair(&h);
        let (mut server, mut client) = connected(&h, a, b).await;
        server.write_all(b"last words").await.unwrap();
        let start = h.now();
        h.kill(a).unwrap();
        let mut all = Vec::new();
        client.read_to_end(&mut all).await.unwrap();
        assert_eq!((&all[..], h.now().since(start)), (&b"last words"[..], MS), "what was written, then FIN");
        assert_eq!(kind(h.runtime(b).net().connect(A).await.map(|_| ())), ErrorKind::ConnectionRefused);
        // Whoever holds a stream of the dead process sees it broken, not hanging.
        assert_eq!(kind(server.write_all(b"ghost").await), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_process_killed_with_unread_data_resets() {
    run(1, config(), |h| async move {
        let (a, b) = pair(&h);
        let (_server, mut client) = connected(&h, a, b).await;
        client.write_all(b"never read").await.unwrap();
        sleep(&h, 5 * MS).await;
        h.kill(a).unwrap();
        assert_eq!(kind(client.read_to_end(&mut Vec::new()).await), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_reset_that_is_lost_in_a_partition_is_not_sent_again() {
    run(1, config(), |h| async move {
        let (a, b) = pair(&h);
        let (server, mut client) = connected(&h, a, b).await;
        h.net().partition(a, b).unwrap();
        server.set_reset_on_drop(true);
        drop(server);
        h.net().heal(a, b).unwrap();
        let mut buf = [0; 1];
        assert!(within(&h, 100 * SECOND, client.read_exact(&mut buf)).await.is_none(), "it was lost");
        client.write_all(b"x").await.unwrap();
        assert_eq!(kind(client.read_exact(&mut buf).await), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_fin_that_is_lost_in_a_partition_is_sent_again() {
    run(1, config(), |h| async move {
        let (a, b) = pair(&h);
        let (server, mut client) = connected(&h, a, b).await;
        h.net().partition(a, b).unwrap();
        drop(server);
        let mut all = Vec::new();
        assert!(within(&h, SECOND, client.read_to_end(&mut all)).await.is_none());
        h.net().heal(a, b).unwrap();
        client.read_to_end(&mut all).await.unwrap();
    });
}

#[test]
fn connecting_to_silence_times_out_and_to_a_healed_link_succeeds() {
    run(1, config(), |h| async move {
        let (a, b) = pair(&h);
        let mut listener = h.runtime(a).net().listen(A).await.unwrap();
        let net = h.runtime(b);
        h.net().partition(a, b).unwrap();
        let start = h.now();
        assert_eq!(kind(net.net().connect(A).await.map(|_| ())), ErrorKind::TimedOut);
        assert_eq!(h.now().since(start), 20 * SECOND);
        let start = h.now();
        let connecting = h.runtime(b);
        let connect = connecting.spawn("connect", async move { net.net().connect(A).await.map(|_| ()) });
        sleep(&h, 5 * SECOND).await;
        assert!(!connect.is_finished());
        h.net().heal(a, b).unwrap();
        connect.await.unwrap().unwrap();
        // SYN at 0, 1, 3 and 7 s.
        assert_eq!(h.now().since(start), 7 * SECOND + 2 * MS);
        listener.accept().await.unwrap();
    });
}

#[test]
fn connects_are_refused_or_ignored_as_told() {
    run(1, config(), |h| async move {
        let (a, b) = pair(&h);
        let net = h.runtime(b);
        let net = net.net();
        assert_eq!(kind(net.connect(A).await.map(|_| ())), ErrorKind::ConnectionRefused);
        let _listener = h.runtime(a).net().listen(A).await.unwrap();
        h.net().refuse_connects(a, true);
        assert_eq!(kind(net.connect(A).await.map(|_| ())), ErrorKind::ConnectionRefused);
        h.net().refuse_connects(a, false);
        h.net().hang_connects(a, true);
        assert!(within(&h, 15 * SECOND, net.connect(A)).await.is_none());
        assert_eq!(h.net().connections(), 0, "an abandoned connect leaves nothing");
        h.net().hang_connects(a, false);
        net.connect(A).await.unwrap();
        assert_eq!(
            kind(net.connect("10.0.0.77:1".parse().unwrap()).await.map(|_| ())),
            ErrorKind::HostUnreachable
        );
    });
}

#[test]
fn a_full_backlog_delays_connects() {
    let tcp = TcpModel { backlog: 2, ..config().tcp };
    run(1, SimConfig { tcp, ..config() }, |h| async move {
        let (a, b) = pair(&h);
        let mut listener = h.runtime(a).net().listen(A).await.unwrap();
        let rt = h.runtime(b);
        let _one = rt.net().connect(A).await.unwrap();
        let _two = rt.net().connect(A).await.unwrap();
        sleep(&h, 5 * MS).await;
        let start = h.now();
        let rt2 = rt.clone();
        let third = rt.spawn("third", async move { rt2.net().connect(A).await.map(|_| ()) });
        sleep(&h, 100 * MS).await;
        assert!(!third.is_finished());
        listener.accept().await.unwrap();
        third.await.unwrap().unwrap();
        assert_eq!(h.now().since(start), SECOND + 2 * MS, "the SYN was sent again");
    });
}

#[test]
fn connections_are_reset_ended_half_forgotten_and_swallowed() {
    run(1, config(), |h| async move {
        let (a, b) = pair(&h);
        let net = h.net();
        assert!(net.reset_connections(a, b).is_err(), "there is none");
        let mut buf = [0; 1];

        let (mut server, mut client) = connected(&h, a, b).await;
        assert_eq!(net.reset_connections(a, b), Ok(1));
        assert_eq!(kind(server.read_exact(&mut buf).await), ErrorKind::ConnectionReset);
        assert_eq!(kind(client.read_exact(&mut buf).await), ErrorKind::ConnectionReset);
        drop((server, client));

        let (mut server, mut client) = connected(&h, a, b).await;
        client.write_all(b"last").await.unwrap();
        assert_eq!(net.end_connections(b, a), Ok(1));
        let mut all = Vec::new();
        server.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"last");
        assert_eq!(client.read(&mut buf).await.unwrap(), 0);
        assert_eq!(kind(client.write_all(b"x").await), ErrorKind::BrokenPipe);
        drop((server, client));

        let (mut server, mut client) = connected(&h, a, b).await;
        assert_eq!(net.half_open(a, b), Ok(1));
        assert_eq!(kind(server.read_exact(&mut buf).await), ErrorKind::ConnectionReset);
        assert!(within(&h, 100 * SECOND, client.read_exact(&mut buf)).await.is_none(), "it hears nothing");
        client.write_all(b"x").await.unwrap();
        assert_eq!(kind(client.read_exact(&mut buf).await), ErrorKind::ConnectionReset);
        drop((server, client));

        let (server, mut client) = connected(&h, a, b).await;
        assert_eq!(net.blackhole_connections(a, b), Ok(1));
        client.write_all(b"x").await.unwrap();
        let (_server2, mut client2) = connected(&h, a, b).await;
        client2.write_all(b"new ones work").await.unwrap();
        assert_eq!(kind(client.read_exact(&mut buf).await), ErrorKind::TimedOut);
        drop((server, client));
        drop((_server2, client2));
        sleep(&h, SECOND).await;
        assert_eq!(net.connections(), 0);
    });
}

#[test]
fn bandwidth_is_shared_by_the_streams_of_a_direction() {
    run(1, config(), |h| async move {
        let (a, b) = pair(&h);
        let slow = LinkModel { bandwidth: Some(100_000), ..LinkModel::fixed(MS) };
        h.net().set_link(a, b, Some(slow));
        let (mut s1, mut c1) = connected(&h, a, b).await;
        let (mut s2, mut c2) = connected(&h, a, b).await;
        let start = h.now();
        c1.write_all(&[1; 50_000]).await.unwrap();
        c2.write_all(&[2; 50_000]).await.unwrap();
        let mut buf = vec![0; 50_000];
        s1.read_exact(&mut buf).await.unwrap();
        assert_eq!(h.now().since(start), 501 * MS);
        s2.read_exact(&mut buf).await.unwrap();
        assert_eq!(h.now().since(start), 1001 * MS);
    });
}

#[test]
fn loss_makes_bytes_late_and_never_wrong() {
    run(3, config(), |h| async move {
        let (a, b) = pair(&h);
        h.net().set_link(a, b, Some(LinkModel { loss: 0.3, split: 0.3, ..LinkModel::fixed(MS) }));
        let (mut server, mut client) = connected(&h, a, b).await;
        let start = h.now();
        let reader = h.runtime(a).spawn("reader", async move {
            let mut all = Vec::new();
            server.read_to_end(&mut all).await.unwrap();
            all
        });
        let mut sent = Vec::new();
        for n in 0..200u32 {
            let chunk: Vec<u8> = (0..n % 50 + 1).map(|k| (n * 7 + k) as u8).collect();
            client.write_all(&chunk).await.unwrap();
            sent.extend(chunk);
            sleep(&h, MS).await;
        }
        drop(client);
        assert!(reader.await.unwrap() == sent, "the stream was changed");
        assert!(h.now().since(start) > 300 * MS, "nothing was lost");
    });
}

#[test]
fn loopback_listeners_are_reached_from_their_own_node_only() {
    run(1, config(), |h| async move {
        let (a, b) = pair(&h);
        let rt = h.runtime(a);
        let _listener = rt.net().listen("127.0.0.1:9092".parse().unwrap()).await.unwrap();
        rt.net().connect("127.0.0.1:9092".parse().unwrap()).await.unwrap();
        assert_eq!(kind(h.runtime(b).net().connect(A).await.map(|_| ())), ErrorKind::ConnectionRefused);
        let other = rt.net().listen("10.0.0.2:1".parse().unwrap()).await;
        assert_eq!(kind(other.map(|_| ())), ErrorKind::AddrNotAvailable);
    });
}

/// The byte at `at` of stream `number`.
fn pattern(number: u64, at: u64) -> u8 {
    (number.wrapping_mul(131) ^ at.wrapping_mul(7) ^ (at >> 8)) as u8
}

/// A client that reconnects for ever and writes a pattern of its connection's number; a server that checks
/// it; a supervisor that breaks everything. Whatever breaks, each stream's bytes are a prefix of its pattern.
#[test]
fn under_any_mix_of_faults_a_stream_is_a_prefix_of_what_was_written() {
    let mut verified = 0;
    for seed in 0..60 {
        let tcp = TcpModel { window: 4096, ..config().tcp };
        let (bytes, _) = run(seed, SimConfig { tcp, ..SimConfig::default() }, |h| async move {
            let total = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
            let count = total.clone();
            let server = h.add_node(NodeSpec::new("a", [10, 0, 0, 1]).start(move |rt| {
                let count = count.clone();
                async move {
                    let mut listener = rt.net().listen(A).await.unwrap();
                    while let Ok((mut stream, _)) = listener.accept().await {
                        let count = count.clone();
                        rt.spawn("reader", async move {
                            let Ok(number) = stream.read_u64().await else { return };
                            let (mut at, mut buf) = (0, [0; 700]);
                            while let Ok(n @ 1..) = stream.read(&mut buf).await {
                                for &byte in &buf[..n] {
                                    assert_eq!(byte, pattern(number, at), "stream {number} at {at}");
                                    at += 1;
                                }
                                count.fetch_add(n as u64, std::sync::atomic::Ordering::Relaxed);
                                if stream.write_all(&buf[..1]).await.is_err() {
                                    return;
                                }
                            }
                        })
                        .detach();
                    }
                }
            }));
            let client = h.add_node(NodeSpec::new("b", [10, 0, 0, 2]).start(|rt| async move {
                let mut entropy = rt.entropy("client");
                loop {
                    let number = entropy.u64();
                    let connect = burnin_runtime::timeout(&rt, 3 * SECOND, rt.net().connect(A)).await;
                    let Some(Ok(stream)) = connect else {
                        rt.sleep(50 * MS).await;
                        continue;
                    };
                    let (mut read, mut write) = stream.split();
                    let _acks = rt.spawn("acks", async move {
                        let _ = tokio::io::copy(&mut read, &mut tokio::io::sink()).await;
                    });
                    let mut at = 0;
                    let mut alive = write.write_u64(number).await.is_ok();
                    while alive && !entropy.chance(0.003) {
                        let len = entropy.between(1, 900);
                        let chunk: Vec<u8> = (at..at + len).map(|at| pattern(number, at)).collect();
                        at += len;
                        alive = matches!(
                            burnin_runtime::timeout(&rt, 2 * SECOND, write.write_all(&chunk)).await,
                            Some(Ok(()))
                        );
                        if entropy.chance(0.3) {
                            rt.sleep(entropy.duration(Duration::ZERO, 20 * MS)).await;
                        }
                    }
                }
            }));
            h.start(server).unwrap();
            h.start(client).unwrap();
            let mut chaos = h.entropy("chaos");
            let net = h.net();
            for _ in 0..150 {
                sleep(&h, chaos.duration(MS, 300 * MS)).await;
                let (x, y) = if chaos.chance(0.5) { (server, client) } else { (client, server) };
                // Faults that cannot be applied now are refused; this mix does not mind.
                match chaos.below(14) {
                    0 => net.partition(x, y).unwrap(),
                    1 => net.partition_one_way(x, y).unwrap(),
                    2..5 => net.heal_all(),
                    5 => drop(net.reset_connections(x, y)),
                    6 => drop(net.end_connections(x, y)),
                    7 => drop(net.half_open(x, y)),
                    8 => drop(net.blackhole_connections(x, y)),
                    9 => drop(h.kill(x)),
                    10 => drop(h.power_loss(x)),
                    11 => drop(h.pause(x)),
                    12 => drop(h.resume(x)),
                    _ => {
                        net.set_link(x, y, Some(LinkModel { loss: 0.1, split: 0.5, ..LinkModel::default() }))
                    }
                }
                if chaos.chance(0.3) {
                    net.heal_all();
                    for node in [x, y] {
                        drop(h.start(node));
                        drop(h.resume(node));
                    }
                }
            }
            for node in [server, client] {
                drop(h.kill(node));
            }
            net.heal_all();
            sleep(&h, 2000 * SECOND).await;
            assert_eq!(net.connections(), 0, "connections outlive their ends");
            total.load(std::sync::atomic::Ordering::Relaxed)
        });
        verified += bytes;
    }
    assert!(verified > 10_000_000, "only {verified} bytes went through");
}
