//! When brokers were heard of last (`BrokerHeartbeatManager`). Only the active controller has this, and it is not
//! in the log.

use crate::metadata::Image;
use burnin_runtime::Instant;
use std::collections::BTreeMap;
use std::time::Duration;

/// What is known of one registration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    /// The registration that is meant; an older one has no session.
    pub(super) epoch: i64,
    pub(super) last_contact: Instant,
    /// Whether this controller has heard of it at all, or only gives it time.
    heard: bool,
    /// The offset of the last metadata record that the broker has applied; -1 before its first heartbeat.
    pub(super) metadata_offset: i64,
    /// In controlled shutdown: every other broker must have applied the record at this offset.
    pub(super) shutdown_offset: Option<i64>,
    /// The broker was told that it may stop. Its next start need not wait for the session to end.
    pub(super) released: bool,
}

/// All sessions. An unfenced broker always has one.
#[derive(Debug)]
pub(super) struct Sessions {
    timeout: Duration,
    by_broker: BTreeMap<i32, Session>,
}

impl Sessions {
    /// Every unfenced broker begins a session now.
    pub(super) fn begin(timeout: Duration, image: &Image, now: Instant) -> Sessions {
        let mut sessions = Sessions { timeout, by_broker: BTreeMap::new() };
        for (id, broker) in image.brokers().iter().filter(|(_, broker)| !broker.fenced) {
            sessions.open(*id, broker.epoch, now, false);
        }
        sessions
    }

    /// A broker registered (again).
    fn open(&mut self, broker: i32, epoch: i64, last_contact: Instant, heard: bool) {
        let session = Session {
            epoch,
            last_contact,
            heard,
            metadata_offset: -1,
            shutdown_offset: None,
            released: false,
        };
        self.by_broker.insert(broker, session);
    }

    /// The broker was heard of. After a failover this may be the first that is heard of a fenced one.
    pub(super) fn touch(&mut self, broker: i32, epoch: i64, now: Instant) -> &mut Session {
        if self.by_broker.get(&broker).is_none_or(|session| session.epoch != epoch) {
            self.open(broker, epoch, now, true);
        }
        let session = self.by_broker.get_mut(&broker).expect("it was just opened");
        session.last_contact = now;
        session.heard = true;
        session
    }

    pub(super) fn remove(&mut self, broker: i32) {
        self.by_broker.remove(&broker);
    }

    /// Whether this controller has heard of this registration in time and has not told it to stop. After a failover
    /// a broker that starts again need not wait until it is sure that its former start is gone: from its
    /// registration on, that one acts with an old epoch.
    pub(super) fn is_alive(&self, broker: i32, epoch: i64, now: Instant) -> bool {
        let session = self.by_broker.get(&broker).filter(|session| session.epoch == epoch);
        session.is_some_and(|session| {
            session.heard && !session.released && now < session.last_contact + self.timeout
        })
    }

    /// The least metadata offset that a broker other than those that stop has applied.
    pub(super) fn lowest_active_offset(&self, image: &Image) -> i64 {
        let active = image.brokers().iter().filter(|(_, broker)| broker.is_active());
        active.map(|(id, _)| self.of(*id).metadata_offset).min().unwrap_or(i64::MAX)
    }

    /// When the next session ends.
    pub(super) fn deadline(&self, image: &Image) -> Instant {
        self.oldest(image).map_or(Instant::FAR_FUTURE, |(_, last)| last + self.timeout)
    }

    /// The broker whose session ended first, if one has ended.
    pub(super) fn stale(&self, image: &Image, now: Instant) -> Option<i32> {
        let (broker, last) = self.oldest(image)?;
        (last + self.timeout <= now).then_some(broker)
    }

    fn oldest(&self, image: &Image) -> Option<(i32, Instant)> {
        let unfenced = image.brokers().iter().filter(|(_, broker)| !broker.fenced);
        unfenced.map(|(id, _)| (*id, self.of(*id).last_contact)).min_by_key(|(id, last)| (*last, *id))
    }

    fn of(&self, broker: i32) -> &Session {
        let session = self.by_broker.get(&broker);
        session.unwrap_or_else(|| panic!("broker {broker} is unfenced and has no session"))
    }
}
