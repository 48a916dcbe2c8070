//! What a follower's fetch session has not been told yet. Partitions put their names in when something happens to
//! them, so that an idle session costs nothing, however many partitions it has.

use super::hub::Key;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use tokio::sync::Notify;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Feed {
    news: Mutex<News>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct News {
    /// To be told at once.
    fresh: BTreeSet<Key>,
    /// To be told when something is told anyway.
    quiet: BTreeSet<Key>,
}

impl Feed {
    /// Something has happened that the follower is waiting for.
    pub(super) fn tell(&self, key: Key) {
        if self.news.lock().fresh.insert(key) {
            self.wake.notify_one();
        }
    }

    /// Something has happened that can wait until there is more, such as a high watermark that moved.
    pub(super) fn tell_quietly(&self, key: Key) {
        self.news.lock().quiet.insert(key);
    }

    /// What is to be told at once; the session looks at all of it now.
    pub(super) fn take_fresh(&self) -> BTreeSet<Key> {
        std::mem::take(&mut self.news.lock().fresh)
    }

    /// The rest.
    pub(super) fn take_quiet(&self) -> BTreeSet<Key> {
        std::mem::take(&mut self.news.lock().quiet)
    }

    /// Has whoever waits look again.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits for news. What came since the last time counts.
    pub(super) async fn news(&self) {
        self.wake.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn news_are_taken_once_and_quiet_ones_wake_nobody() {
        let feed = Feed::default();
        let key = |n| (Uuid::from_u128(1), n);
        feed.tell_quietly(key(1));
        assert!(feed.take_fresh().is_empty());
        feed.tell(key(2));
        feed.tell(key(2));
        assert_eq!(feed.take_fresh(), BTreeSet::from([key(2)]));
        assert_eq!((feed.take_quiet(), feed.take_fresh()), (BTreeSet::from([key(1)]), BTreeSet::new()));
    }
}
