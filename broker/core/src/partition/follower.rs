//! A follower of a partition: where it fetches from, what it must cut, and what it may believe.

/// A follower in one leader epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follower {
    leader: i32,
    leader_epoch: i32,
    high_watermark: i64,
}

/// What a fetch response asks of the follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowerStep {
    /// Cut the log to this offset, then fetch again from its end.
    Truncate(i64),
    /// The leader no longer has what comes next: drop everything, and begin at this offset.
    StartAt(i64),
    /// Nothing is wrong any more: fetch from the end of the log.
    Fetch,
}

impl Follower {
    /// Follows `leader`, knowing that everything below `high_watermark` is committed.
    pub fn new(leader: i32, leader_epoch: i32, high_watermark: i64) -> Self {
        Follower { leader, leader_epoch, high_watermark }
    }

    pub fn leader(&self) -> i32 {
        self.leader
    }

    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    /// What this replica knows to be committed; readers of a follower see no further (KIP-392).
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark
    }

    /// The leader says that its log leaves ours: it knows `epoch` (the largest that is at most our last one) to
    /// end at `end_offset`. `own` is what our own log says of that epoch: the largest epoch at most `epoch` and
    /// where it ends here. The cut is repeated until both agree (KIP-279). The response's high watermark is not
    /// taken: it speaks of another log (KAFKA-14704).
    pub fn diverging(
        &self,
        epoch: i32,
        end_offset: i64,
        own: Option<(i32, i64)>,
        log_start: i64,
    ) -> FollowerStep {
        let at = match own {
            Some((own_epoch, own_end)) if own_epoch == epoch => own_end.min(end_offset),
            Some((_, own_end)) => own_end,
            None => log_start,
        };
        FollowerStep::Truncate(at)
    }

    /// The leader refused our offset as out of range. `leader_start` and `leader_end` are its log's bounds.
    pub fn out_of_range(&self, own_end: i64, leader_start: i64, leader_end: i64) -> FollowerStep {
        if leader_end < own_end {
            FollowerStep::Truncate(leader_end)
        } else if leader_start > own_end {
            FollowerStep::StartAt(leader_start)
        } else {
            FollowerStep::Fetch
        }
    }

    /// Records came (perhaps none), after which our log ends at `log_end`; the leader's high watermark is
    /// `leader_high_watermark`.
    pub fn appended(&mut self, leader_high_watermark: i64, log_end: i64, log_start: i64) -> i64 {
        let known = leader_high_watermark.min(log_end).max(log_start);
        self.high_watermark = self.high_watermark.max(known);
        assert!(
            self.high_watermark <= log_end,
            "high watermark past the log: high_watermark={} log_end_offset={log_end}",
            self.high_watermark
        );
        self.high_watermark
    }

    /// Everything was dropped, and the log begins again at `offset`: what lies below is deleted in the leader's log.
    pub fn started_at(&mut self, offset: i64) {
        self.high_watermark = offset;
    }

    /// The log was cut to `offset`. Whether what was committed may be cut, this replica does not know: it may have
    /// been away when an unclean election lost it. So it does as its leader says (`ReplicaFetcherThread.truncate`).
    pub fn truncated(&mut self, offset: i64) {
        self.high_watermark = self.high_watermark.min(offset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_goes_to_the_smaller_end_of_the_common_epoch() {
        let follower = Follower::new(2, 7, 0);
        // We hold epoch 5 up to 20, the leader up to 15, or the other way round.
        assert_eq!(follower.diverging(5, 15, Some((5, 20)), 0), FollowerStep::Truncate(15));
        assert_eq!(follower.diverging(5, 20, Some((5, 15)), 0), FollowerStep::Truncate(15));
    }

    #[test]
    fn unknown_epoch_cuts_to_the_one_before_and_asks_again() {
        let follower = Follower::new(2, 7, 0);
        // The leader names epoch 5, which we never saw: our largest below it is 3, which ends at 12 (KIP-279).
        assert_eq!(follower.diverging(5, 40, Some((3, 12)), 0), FollowerStep::Truncate(12));
        assert_eq!(follower.diverging(5, 40, None, 8), FollowerStep::Truncate(8));
    }

    #[test]
    fn out_of_range_never_throws_away_what_the_leader_still_has() {
        let follower = Follower::new(2, 7, 0);
        assert_eq!(follower.out_of_range(30, 0, 20), FollowerStep::Truncate(20));
        assert_eq!(follower.out_of_range(5, 10, 50), FollowerStep::StartAt(10));
        assert_eq!(follower.out_of_range(30, 10, 50), FollowerStep::Fetch);
    }

    #[test]
    fn high_watermark_never_passes_the_own_log_and_never_goes_back() {
        let mut follower = Follower::new(2, 7, 3);
        assert_eq!(follower.appended(50, 10, 0), 10);
        assert_eq!(follower.appended(5, 12, 0), 10);
    }

    #[test]
    fn cut_below_the_high_watermark_lowers_it() {
        let mut follower = Follower::new(2, 7, 10);
        follower.truncated(12);
        assert_eq!(follower.high_watermark(), 10);
        follower.truncated(9);
        assert_eq!(follower.high_watermark(), 9);
    }
}
