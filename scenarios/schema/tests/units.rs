//! Quantities: what is printed reads back as the same value, and what is no quantity says so.

use burnin_scenario::{
    CountRange, Dur, DurRange, Pace, Probability, Rate, Seed, Seeds, Selector, Shard, SignedDur, Size,
};
use proptest::prelude::*;
use std::fmt::{Debug, Display};
use std::str::FromStr;

fn round_trip<T: FromStr<Err = String> + Display + Debug + PartialEq>(value: T) {
    let text = value.to_string();
    assert_eq!(T::from_str(&text).as_ref(), Ok(&value), "{text}");
}

proptest! {
    #[test]
    fn printed_quantities_read_back(nanos: u64, signed in -i64::MAX..=i64::MAX, low: u32, more: u32, count: i64) {
        round_trip(Dur::from_nanos(nanos));
        round_trip(SignedDur(signed));
        round_trip(Size(nanos));
        round_trip(Seed(nanos));
        round_trip(DurRange::new(Dur::from_nanos(low.into()), Dur::from_nanos(u64::from(low) + u64::from(more))));
        round_trip(CountRange::exactly(count));
        round_trip(Pace::Closed(1 + low % 10_000));
    }

    #[test]
    fn no_text_panics(text in ".{0,20}") {
        let _ = (Dur::from_str(&text), Size::from_str(&text), Rate::from_str(&text), Probability::from_str(&text));
        let _ = (Pace::from_str(&text), Seeds::from_str(&text), Shard::from_str(&text), Selector::from_str(&text), DurRange::from_str(&text));
    }
}

#[test]
fn durations_are_exact() {
    for (text, nanos) in
        [("1.5s", 1_500_000_000), ("0.1ms", 100_000), ("2m", 120_000_000_000), ("0s", 0), ("7ns", 7)]
    {
        assert_eq!(Dur::from_str(text).unwrap().nanos(), nanos, "{text}");
    }
    for text in ["", "5", "s", "-1s", "1.5ns", "1e3s", "99999999999d", "1.s", "5 parsecs"] {
        assert!(Dur::from_str(text).is_err(), "{text}");
    }
}

#[test]
fn paces_are_rates_or_closed_loops() {
    for text in ["200/s", "12/m", "closed(4)"] {
        assert_eq!(Pace::from_str(text).unwrap().to_string(), text);
    }
    for text in ["200", "0/s", "closed", "closed()", "closed(0)", "closed(10001)", "closed(4", "closed(4)/s"]
    {
        assert!(Pace::from_str(text).is_err(), "{text}");
    }
}

#[test]
fn seeds_are_counts_ranges_or_lists() {
    let all = |text: &str| Seeds::from_str(text).unwrap().iter().map(|seed| seed.0).collect::<Vec<_>>();
    assert_eq!(all("3"), [0, 1, 2]);
    assert_eq!(all("5..7"), [5, 6]);
    assert_eq!(all("5..=7"), [5, 6, 7]);
    assert_eq!(all("0x10,9"), [16, 9]);
    for text in ["0", "7..7", "7..3", "a", "1,,2", "..", "5.."] {
        assert!(Seeds::from_str(text).is_err(), "{text}");
    }
}

#[test]
fn selectors_read_back() {
    for text in [
        "broker(3)",
        "any(broker)",
        "all(broker)",
        "client(2)",
        "any(client)",
        "all(client)",
        "controller",
        "leader(orders/0)",
        "follower(orders/*)",
        "isr-1(my.topic_x/12)",
    ] {
        assert_eq!(Selector::from_str(text).unwrap().to_string(), text);
    }
    for text in
        ["broker()", "client(0)", "leader(orders)", "leader(/1)", "leader(orders/-1)", "any(thing)", "leader"]
    {
        assert!(Selector::from_str(text).is_err(), "{text}");
    }
}
