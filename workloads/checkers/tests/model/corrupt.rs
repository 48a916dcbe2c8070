//! One corruption of a lawful history, each of a kind that some checker must find.

use crate::model::{FINAL, History, Owned, Rng, idempotent};
use burnin_history::{Event, Outcome, Payload, PayloadError, Seen};

type Corruption = fn(&mut History, &mut Rng) -> Option<String>;

/// Name, what it does (`None`: the history has nothing to do it to), and who of them must find it.
pub const KINDS: [(&str, Corruption, &[&str]); 11] = [
    ("a promised record is dropped", drop_promised, &["B2"]),
    ("a promised tail is cut off", cut_tail, &["B2"]),
    ("a record is there twice", duplicate, &["B3"]),
    ("two records are swapped", swap, &["B1", "B3"]),
    ("a record that was seen is altered", alter, &["B1"]),
    ("a checksum fails", damage, &["B6"]),
    ("a record was never sent", invent, &["B6"]),
    ("an acknowledgement names another offset", misplace_ack, &["B1", "B4"]),
    ("a reader is not shown a promised record", hide, &["B1", "B2", "B5"]),
    ("a reader goes back", go_back, &["B5"]),
    ("the latest offset is too low", stale_latest, &["B13"]),
];

fn final_polls(history: &mut History) -> impl Iterator<Item = &mut Vec<Seen>> {
    history.events.iter_mut().filter_map(|(_, event)| match event {
        Owned::Polled { consumer, records, .. } if *consumer == FINAL => Some(records),
        _ => None,
    })
}

fn pick<T: Copy>(from: &[T], rng: &mut Rng) -> Option<T> {
    (!from.is_empty()).then(|| from[rng.below(from.len())])
}

fn drop_promised(history: &mut History, rng: &mut Rng) -> Option<String> {
    let (producer, seq, _) = pick(&history.promised.clone(), rng)?;
    for records in final_polls(history) {
        records.retain(|seen| seen.payload.map(|p| (p.producer.0, p.seq)) != Ok((producer, seq)));
    }
    Some(format!("{producer}:{seq}"))
}

fn cut_tail(history: &mut History, rng: &mut Rng) -> Option<String> {
    // (Of a plain producer's record a copy may remain.)
    let firm: Vec<_> =
        history.promised.iter().copied().filter(|(producer, _, _)| idempotent(*producer)).collect();
    let (_, _, cut) = pick(&firm, rng)?;
    history.events.retain(|(_, event)| {
        !matches!(event, Owned::Polled { consumer, fetch, .. } if *consumer == FINAL && *fetch >= cut)
    });
    for (_, event) in &mut history.events {
        match event {
            Owned::Polled { consumer, next, records, .. } if *consumer == FINAL => {
                records.retain(|seen| seen.offset < cut);
                *next = (*next).min(cut);
            }
            Owned::Plain(Event::FinalReadCompleted { log_end_offset, .. }) => *log_end_offset = cut,
            _ => {}
        }
    }
    Some(format!("at {cut}"))
}

fn duplicate(history: &mut History, rng: &mut Rng) -> Option<String> {
    let mine = |seen: &Seen| seen.payload.is_ok_and(|payload| idempotent(payload.producer.0));
    let all: Vec<Seen> = final_polls(history).flatten().filter(|seen| mine(seen)).map(|seen| *seen).collect();
    let copy = pick(&all, rng)?;
    for (_, event) in history.events.iter_mut().rev() {
        match event {
            Owned::Plain(Event::FinalReadCompleted { log_end_offset, .. }) => *log_end_offset += 1,
            Owned::Polled { consumer, next, records, high_watermark, .. } if *consumer == FINAL => {
                let leader_epoch = records.last().map_or(copy.leader_epoch, |last| last.leader_epoch);
                records.push(Seen { offset: *next, leader_epoch, ..copy });
                *next += 1;
                *high_watermark += 1;
                return Some(format!("{copy:?}"));
            }
            _ => {}
        }
    }
    None
}

fn swap(history: &mut History, rng: &mut Rng) -> Option<String> {
    let mine = |seen: &Seen| seen.payload.map_or(u32::MAX, |payload| payload.producer.0);
    let mut pairs = Vec::new();
    for (poll, records) in final_polls(history).enumerate() {
        for i in 1..records.len() {
            if mine(&records[i]) == mine(&records[i - 1]) && idempotent(mine(&records[i])) {
                pairs.push((poll, i));
            }
        }
    }
    let (poll, i) = pick(&pairs, rng)?;
    let records = final_polls(history).nth(poll)?;
    let (a, b) = (records[i - 1], records[i]);
    records[i - 1] = Seen { offset: a.offset, leader_epoch: a.leader_epoch, ..b };
    records[i] = Seen { offset: b.offset, leader_epoch: b.leader_epoch, ..a };
    Some(format!("{a:?} {b:?}"))
}

fn alter(history: &mut History, rng: &mut Rng) -> Option<String> {
    // Seen by somebody since the last loss of anything, at the same offset and in the same epoch.
    let mut seen = Vec::new();
    for (_, event) in &history.events {
        if let Owned::Polled { consumer, records, late: false, .. } = event
            && *consumer != FINAL
        {
            seen.extend(records.iter().map(|seen| (seen.offset, seen.leader_epoch, seen.content)));
        }
    }
    let all: Vec<Seen> = final_polls(history).flatten().map(|seen| *seen).collect();
    let known: Vec<Seen> =
        all.into_iter().filter(|s| seen.contains(&(s.offset, s.leader_epoch, s.content))).collect();
    let target = pick(&known, rng)?;
    let record = final_polls(history).flatten().find(|seen| seen.offset == target.offset)?;
    record.content ^= 1 << rng.below(64);
    Some(format!("{target:?}"))
}

/// A record of the final read.
fn any_final<'a>(history: &'a mut History, rng: &mut Rng) -> Option<&'a mut Seen> {
    let mut all: Vec<&mut Seen> = final_polls(history).flatten().collect();
    if all.is_empty() {
        return None;
    }
    let which = rng.below(all.len());
    Some(all.swap_remove(which))
}

fn damage(history: &mut History, rng: &mut Rng) -> Option<String> {
    let record = any_final(history, rng)?;
    record.payload = Err(PayloadError::BadChecksum);
    Some(format!("{record:?}"))
}

fn invent(history: &mut History, rng: &mut Rng) -> Option<String> {
    let which = rng.below(4);
    let record = any_final(history, rng)?;
    let payload: &mut Payload = record.payload.as_mut().ok()?;
    match which {
        0 => payload.run += 1,
        1 => payload.topic_number += 1,
        2 => payload.partition += 1,
        _ => payload.seq += 1_000_000,
    }
    Some(format!("{record:?}"))
}

fn misplace_ack(history: &mut History, rng: &mut Rng) -> Option<String> {
    // (Of a plain producer's record there may be a copy at the other offset.)
    let firm = history.promised.iter().filter(|(producer, _, _)| idempotent(*producer));
    let promised: Vec<i64> = firm.map(|(_, _, offset)| *offset).collect();
    let mut acks = Vec::new();
    for (i, (_, event)) in history.events.iter().enumerate() {
        if let Owned::Plain(Event::ProduceCompleted {
            outcome: Outcome::Applied,
            base_offset: Some(base),
            ..
        }) = event
            && promised.contains(base)
        {
            acks.push(i);
        }
    }
    // Acknowledgements of before a licensed loss bind nobody: take one of the last third.
    let late: Vec<usize> = acks[acks.len() * 2 / 3..].to_vec();
    let which = pick(&late, rng)?;
    if history.events[which..].iter().any(|(_, event)| is_power_loss(event)) {
        return None;
    }
    let Owned::Plain(Event::ProduceCompleted { base_offset: Some(base), .. }) = &mut history.events[which].1
    else {
        return None;
    };
    let was = *base;
    *base = if *base > 0 && rng.one_in(2) { *base - 1 } else { *base + 1 };
    Some(format!("event {which}: {was} became {base}"))
}

fn is_power_loss(event: &Owned) -> bool {
    matches!(event, Owned::Plain(Event::Fault(burnin_history::FaultEvent::PowerLost { .. })))
}

fn hide(history: &mut History, rng: &mut Rng) -> Option<String> {
    let promised = history.promised.clone();
    let mut polls = Vec::new();
    let last_loss = history.events.iter().rposition(|(_, event)| is_power_loss(event)).unwrap_or(0);
    for (i, (_, event)) in history.events.iter().enumerate().skip(last_loss) {
        if let Owned::Polled { consumer, records, late: false, .. } = event {
            if *consumer == FINAL {
                continue;
            }
            // The first answer after a loss may be of before it.
            let asked = history.events[last_loss..i].iter().any(|(_, event)| match event {
                Owned::Polled { consumer: other, .. }
                | Owned::Plain(Event::Positioned { consumer: other, .. }) => other == consumer,
                _ => false,
            });
            if !asked {
                continue;
            }
            for (j, seen) in records.iter().enumerate() {
                let id = seen.payload.map(|p| (p.producer.0, p.seq, seen.offset));
                if id.is_ok_and(|id| promised.contains(&id)) {
                    polls.push((i, j));
                }
            }
        }
    }
    let (i, j) = pick(&polls, rng)?;
    let Owned::Polled { records, .. } = &mut history.events[i].1 else { return None };
    Some(format!("event {i}: {:?}", records.remove(j)))
}

fn go_back(history: &mut History, rng: &mut Rng) -> Option<String> {
    let mut polls = Vec::new();
    for (i, (_, event)) in history.events.iter().enumerate() {
        if let Owned::Polled { consumer, fetch, records, .. } = event
            && *consumer == FINAL
            && *fetch > 0
            && !records.is_empty()
        {
            polls.push(i);
        }
    }
    // The first follows a seek to the same offset: it too must not be answered for another.
    let i = pick(&polls, rng)?;
    let Owned::Polled { fetch, .. } = &mut history.events[i].1 else { return None };
    *fetch -= 1;
    Some(format!("event {i}: fetch became {fetch}"))
}

fn stale_latest(history: &mut History, _: &mut Rng) -> Option<String> {
    let (_, _, offset) = history.promised.iter().copied().max_by_key(|(_, _, offset)| *offset)?;
    let end = history.end() + 10_000_000;
    let spec = burnin_history::OffsetSpec::Latest;
    let event = Event::OffsetsListed { tp: crate::model::TP, spec, invoked: end - 1, offset, timestamp: -1 };
    history.events.push((end, Owned::Plain(event)));
    Some(format!("latest {offset}"))
}
