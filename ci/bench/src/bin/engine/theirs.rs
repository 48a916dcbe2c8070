//! The same measures on turmoil.

use crate::frames::{PORT, follow, lead};
use std::time::Duration;
use turmoil::net::{TcpListener, TcpStream};
use turmoil::{Builder, Result, Sim};

const MILLISECOND: Duration = Duration::from_millis(1);

fn sim() -> Sim<'static> {
    Builder::new()
        .rng_seed(7)
        .tick_duration(MILLISECOND)
        .min_message_latency(MILLISECOND)
        .max_message_latency(MILLISECOND)
        .simulation_duration(Duration::from_secs(1_000_000))
        .build()
}

async fn serve() -> Result {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(follow(stream));
    }
}

/// A leader sends `each` frames to each of two followers.
pub fn frames(each: u64) {
    let mut sim = sim();
    sim.host("follower-1", serve);
    sim.host("follower-2", serve);
    sim.client("leader", async move {
        let leading = ["follower-1", "follower-2"].map(|name| {
            tokio::spawn(async move {
                tokio::time::sleep(MILLISECOND).await;
                let stream = TcpStream::connect((name, PORT)).await.expect("the follower listens");
                lead(stream, each).await;
            })
        });
        for task in leading {
            task.await?;
        }
        Ok(())
    });
    sim.run().expect("the world runs to its end");
}

/// Three nodes with a timer of 50 ms, for so much simulated time.
pub fn idle(time: Duration) {
    let mut sim = sim();
    for name in ["a", "b", "c"] {
        sim.client(name, async move {
            let began = tokio::time::Instant::now();
            while began.elapsed() < time {
                tokio::time::sleep(50 * MILLISECOND).await;
            }
            Ok(())
        });
    }
    sim.run().expect("the world runs to its end");
}

/// A world of three nodes is made, boots and is dropped.
pub fn world(_: u32) {
    let mut sim = sim();
    for name in ["a", "b", "c"] {
        sim.client(name, async {
            tokio::time::sleep(MILLISECOND).await;
            Ok(())
        });
    }
    sim.run().expect("the world runs to its end");
}
