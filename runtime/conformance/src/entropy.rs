//! Entropy: every label and every call has a stream of its own.

use crate::Env;
use burnin_runtime::{Entropy, Runtime};
use std::time::Duration;

fn draws(mut stream: Entropy) -> Vec<u64> {
    (0..32).map(|_| stream.u64()).collect()
}

pub async fn labels_give_independent_streams<R: Runtime>(env: Env<R>) {
    let (a, b) = (draws(env.runtime.entropy("a")), draws(env.runtime.entropy("b")));
    assert!(a.iter().all(|n| !b.contains(n)), "two labels share numbers: {a:?} {b:?}");
}

pub async fn one_label_twice_gives_two_streams<R: Runtime>(env: Env<R>) {
    let (a, b) = (draws(env.runtime.entropy("a")), draws(env.runtime.entropy("a")));
    assert!(a.iter().all(|n| !b.contains(n)), "two streams share numbers: {a:?} {b:?}");
}

pub async fn draws_stay_in_their_range<R: Runtime>(env: Env<R>) {
    let mut stream = env.runtime.entropy("ranges");
    let mut seen = [false; 6];
    for _ in 0..2_000 {
        seen[stream.below(6) as usize] = true;
        let n = stream.between(10, 12);
        assert!((10..=12).contains(&n), "between(10, 12) gave {n}");
        let unit = stream.unit();
        assert!((0.0..1.0).contains(&unit), "unit() gave {unit}");
        let (low, high) = (Duration::from_micros(3), Duration::from_micros(5));
        let duration = stream.duration(low, high);
        assert!((low..=high).contains(&duration), "duration({low:?}, {high:?}) gave {duration:?}");
        assert!(!stream.chance(0.0), "what is impossible happened");
        assert!(stream.chance(1.0), "what is certain did not happen");
    }
    assert_eq!(seen, [true; 6], "2000 throws of a die miss a side");
}
