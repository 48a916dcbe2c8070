//! What is under way: segments leave, arrive, stall and are sent again; acknowledgements open windows.
//!
//! A pipe has at most one event in the queue, for its first segment. When the path is closed at that moment,
//! everything under way waits, without an event, for the path to come back, and then for the retransmission
//! that TCP's backoff would make next.

use super::conn::{Kind, Segment};
use crate::latency::nanos;
use crate::timers::Event;
use crate::trace::TraceKind;
use crate::world::State;
use std::io;

impl State {
    /// Sends what makes the server accept the connection.
    pub(super) fn net_send_open(&mut self, index: u32) {
        self.conn(index).opening = true;
        self.net_send(index, 0, Kind::Open, 0);
    }

    pub(super) fn net_send(&mut self, index: u32, from: usize, kind: Kind, len: u32) {
        let now = self.now;
        let conn = self.conn(index);
        let (a, b) = (conn.sides[from].node, conn.sides[1 - from].node);
        let pipe = &mut conn.pipes[from];
        let stalled = pipe.stalled.is_some();
        if kind == Kind::Data
            && let Some(last) = pipe.segments.back_mut()
            && last.kind == Kind::Data
            && (stalled || last.sent == now)
            && last.len < u32::MAX / 2
        {
            // One burst: it travels as one.
            if stalled || !self.paced(a, b) {
                let last = self.conn(index).pipes[from].segments.back_mut().expect("checked above");
                last.len += len;
                return;
            }
        }
        if stalled {
            self.conn(index).pipes[from].segments.push_back(Segment { at: u64::MAX, sent: now, len, kind });
            return;
        }
        if !self.conn_path_open(index, from) {
            self.conn(index).pipes[from].segments.push_back(Segment { at: u64::MAX, sent: now, len, kind });
            self.net_stall(index, from);
            return;
        }
        let transit = self.transit(a, b, len as usize);
        if transit.split && kind == Kind::Data && len > 1 {
            let first = self.split_point(a, b, len);
            self.net_push(index, from, transit.delay, Kind::Data, first);
            let again = self.transit(a, b, 0);
            self.net_push(index, from, transit.delay.max(again.delay) + 1, Kind::Data, len - first);
        } else {
            self.net_push(index, from, transit.delay, kind, len);
        }
    }

    fn net_push(&mut self, index: u32, from: usize, delay: u64, kind: Kind, len: u32) {
        let now = self.now;
        let pipe = &mut self.conn(index).pipes[from];
        let at = pipe.segments.back().map_or(0, |last| last.at).max(now + delay);
        pipe.segments.push_back(Segment { at, sent: now, len, kind });
        if pipe.event.is_none() {
            let key = self.queue.insert(at, Event::Deliver { conn: index, from: from as u8 });
            self.conn(index).pipes[from].event = Some(key);
        }
    }

    /// Sends a reset, once: what waits for a retransmission is dropped, and on a cut link it is lost.
    pub(super) fn net_reset(&mut self, index: u32, from: usize) {
        self.net.stats.resets += 1;
        let open = self.conn_path_open(index, from);
        let conn = self.conn(index);
        conn.pipes[from].fin_sent = true;
        conn.pipes[from].ack_stalled = None;
        if conn.pipes[from].stalled.is_some() {
            conn.opening = false;
            conn.pipes[from].clear_flight();
        } else if open {
            let (a, b) = (conn.sides[from].node, conn.sides[1 - from].node);
            let delay = self.transit(a, b, 0).delay;
            self.net_push(index, from, delay, Kind::Rst, 0);
        }
        self.net_cancel_give_up(index, from);
    }

    /// Segments arrive.
    pub(crate) fn net_deliver(&mut self, index: u32, from: usize) {
        self.conn(index).pipes[from].event = None;
        if !self.conn_path_open(index, from) {
            self.net_stall(index, from);
            return;
        }
        let (now, to) = (self.now, 1 - from);
        let (mut bytes, mut open, mut fin, mut rst) = (0usize, false, false, false);
        let conn = self.conn(index);
        while let Some(first) = conn.pipes[from].segments.front()
            && first.at <= now
            && !rst
        {
            match first.kind {
                Kind::Data => bytes += first.len as usize,
                Kind::Open => open = true,
                Kind::Fin => fin = true,
                Kind::Rst => rst = true,
            }
            conn.pipes[from].segments.pop_front();
        }
        let (number, node) = (conn.number, conn.sides[to].node);
        let flags = u64::from(open) | u64::from(fin) << 1 | u64::from(rst) << 2;
        self.record(TraceKind::Deliver, node, number, (bytes as u64) << 3 | flags);
        self.net.stats.deliveries += 1;
        self.net.stats.bytes += bytes as u64;
        if open {
            self.net_accept(index);
        }
        let conn = self.conn(index);
        conn.pipes[from].readable += bytes;
        let (alive, gone) = (conn.sides[to].alive, conn.sides[to].gone);
        if alive {
            conn.pipes[from].eof |= fin;
            if rst {
                let error = if conn.pipes[from].eof {
                    io::ErrorKind::BrokenPipe
                } else {
                    io::ErrorKind::ConnectionReset
                };
                self.net_break(index, to, error);
            } else {
                let mut wake = conn.sides[to].read_wake.take();
                self.wake_option(&mut wake);
                if bytes > 0 && !self.conn_path_open(index, to) {
                    self.net_ack_stalled(index, from);
                }
            }
        } else {
            conn.pipes[from].ring.drain(..bytes);
            conn.pipes[from].readable -= bytes;
            if !rst && (bytes > 0 || open || fin && gone) {
                self.net_reset(index, to);
            }
        }
        let pipe = &mut self.conn(index).pipes[from];
        if pipe.event.is_none()
            && let Some(at) = pipe.segments.front().map(|first| first.at)
        {
            let key = self.queue.insert(at, Event::Deliver { conn: index, from: from as u8 });
            self.conn(index).pipes[from].event = Some(key);
        }
        self.net_free_if_unused(index);
    }

    /// Nothing gets through: what is under way waits for a retransmission.
    fn net_stall(&mut self, index: u32, from: usize) {
        let conn = self.conn(index);
        let pipe = &mut conn.pipes[from];
        let event = pipe.event.take();
        if conn.sides[from].gone {
            // Nobody is left who would send it again.
            pipe.clear_flight();
        } else {
            // A reset is sent only once.
            pipe.segments.retain(|segment| segment.kind != Kind::Rst);
            pipe.segments.iter_mut().for_each(|segment| segment.at = u64::MAX);
            pipe.stalled = pipe.segments.front().map(|first| first.sent);
            if let Some(since) = pipe.stalled {
                self.net_arm_give_up(index, from, since);
            }
        }
        if let Some(key) = event {
            self.queue.cancel(key);
        }
    }

    /// Data arrives, and the sender does not hear of it.
    fn net_ack_stalled(&mut self, index: u32, from: usize) {
        let now = self.now;
        let pipe = &mut self.conn(index).pipes[from];
        if pipe.ack_stalled.is_none() {
            pipe.ack_stalled = Some(now);
            self.net_arm_give_up(index, from, now);
        }
    }

    fn net_arm_give_up(&mut self, index: u32, from: usize, since: u64) {
        if self.conn(index).pipes[from].give_up.is_none() {
            let at = since.saturating_add(nanos(self.net.tcp.retransmit_give_up)).max(self.now);
            let key = self.queue.insert(at, Event::GiveUp { conn: index, from: from as u8 });
            self.conn(index).pipes[from].give_up = Some(key);
        }
    }

    pub(super) fn net_cancel_give_up(&mut self, index: u32, from: usize) {
        let pipe = &mut self.conn(index).pipes[from];
        if pipe.stalled.is_none()
            && pipe.ack_stalled.is_none()
            && let Some(key) = pipe.give_up.take()
        {
            self.queue.cancel(key);
        }
    }

    /// The sender's kernel stops trying.
    pub(crate) fn net_give_up(&mut self, index: u32, from: usize) {
        let conn = self.conn(index);
        conn.pipes[from].give_up = None;
        let (number, node) = (conn.number, conn.sides[from].node);
        self.record(TraceKind::GiveUp, node, number, from as u64);
        self.net_break(index, from, io::ErrorKind::TimedOut);
        self.conn(index).opening = false;
        self.net_free_if_unused(index);
    }

    /// The path from one side's node to the other's is whole again: what stalled goes on.
    pub(super) fn net_path_back(&mut self, index: u32, from: usize) {
        if !self.conn_path_open(index, from) {
            return;
        }
        let (now, tcp) = (self.now, self.net.tcp);
        let conn = self.conn(index);
        let (a, b) = (conn.sides[from].node, conn.sides[1 - from].node);
        if let Some(since) = conn.pipes[from].stalled.take() {
            self.net_cancel_give_up(index, from);
            let at = tcp.retransmission(since, now) + self.transit(a, b, 0).delay;
            let pipe = &mut self.conn(index).pipes[from];
            pipe.segments.iter_mut().for_each(|segment| segment.at = at);
            if !pipe.segments.is_empty() {
                let key = self.queue.insert(at, Event::Deliver { conn: index, from: from as u8 });
                self.conn(index).pipes[from].event = Some(key);
            }
        }
        // Acknowledgements of the other direction travel here.
        let other = 1 - from;
        if let Some(since) = self.conn(index).pipes[other].ack_stalled.take() {
            self.net_cancel_give_up(index, other);
            let at = tcp.retransmission(since, now) + self.transit(a, b, 0).delay;
            self.net_schedule_window(index, other, at);
        }
    }

    fn net_schedule_window(&mut self, index: u32, from: usize, at: u64) {
        if self.conn(index).pipes[from].window.is_none() {
            let key = self.queue.insert(at, Event::Window { conn: index, from: from as u8 });
            self.conn(index).pipes[from].window = Some(key);
        }
    }

    /// The sender learns of free space.
    pub(crate) fn net_window(&mut self, index: u32, from: usize) {
        let conn = self.conn(index);
        conn.pipes[from].window = None;
        let (number, node) = (conn.number, conn.sides[from].node);
        self.record(TraceKind::Window, node, number, from as u64);
        if !self.conn_path_open(index, 1 - from) {
            self.net_ack_stalled(index, from);
            return;
        }
        let conn = self.conn(index);
        conn.pipes[from].unacked = 0;
        let mut wake = conn.sides[from].write_wake.take();
        self.wake_option(&mut wake);
    }

    /// The program of side `1 - from` has read `bytes`.
    pub(super) fn net_consumed(&mut self, index: u32, from: usize, bytes: usize) {
        if self.conn_path_open(index, 1 - from) {
            let window = self.net.tcp.window;
            let conn = self.conn(index);
            // As TCP does, small openings of the window are not announced.
            let space = window.saturating_sub(conn.pipes[from].ring.len());
            if conn.sides[from].write_wake.is_some() && space >= window / 4 {
                let (a, b) = (conn.sides[1 - from].node, conn.sides[from].node);
                let at = self.now + self.transit(a, b, 0).delay;
                self.net_schedule_window(index, from, at);
            }
        } else {
            self.conn(index).pipes[from].unacked += bytes;
            self.net_ack_stalled(index, from);
        }
    }
}
