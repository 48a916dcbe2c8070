//! The frame protocol, the same code for both engines: whatever differs is the engine.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// How many nodes the leader sends to.
pub const FOLLOWERS: u64 = 2;

/// The port that followers listen on.
pub const PORT: u16 = 9000;

/// How many frames are sent before their acknowledgements are read.
const WINDOW: u64 = 32;

const FRAME_BYTES: usize = 200;

/// Sends `frames` frames and reads the acknowledgement of each.
pub async fn lead(mut stream: impl AsyncRead + AsyncWrite + Unpin, frames: u64) {
    let mut frame = [0; 4 + FRAME_BYTES];
    frame[..4].copy_from_slice(&(FRAME_BYTES as u32).to_be_bytes());
    let mut sent = 0;
    while sent < frames {
        let window = WINDOW.min(frames - sent);
        for number in sent..sent + window {
            frame[4..12].copy_from_slice(&number.to_be_bytes());
            stream.write_all(&frame).await.expect("the follower is there");
        }
        stream.flush().await.expect("the follower is there");
        for number in sent..sent + window {
            let ack = stream.read_u64().await.expect("the follower answers");
            assert_eq!(ack, number, "a follower acknowledged something else");
        }
        sent += window;
    }
}

/// Acknowledges frames until the leader closes.
pub async fn follow(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut frame = Vec::new();
    while let Ok(len) = stream.read_u32().await {
        frame.resize(len as usize, 0);
        stream.read_exact(&mut frame).await.expect("a frame is whole");
        stream.write_all(&frame[..8]).await.expect("the leader waits");
        stream.flush().await.expect("the leader waits");
    }
}
