//! Connections: two sides and a pipe in each direction. A pipe is one ring of bytes; its segments only say
//! how many of them arrive when, so that a chunk is copied in once, copied out once, and is one event.
//!
//! Can: end in order (FIN), break (RST), be forgotten by one side, stall while a link is cut or the peer has
//! no power, time out after TCP's retransmissions, push back when the window is full.
//! Never: loses a byte that a later byte of the same stream survives. An RST is sent once: when it is lost,
//! the peer learns of it only by sending something itself.

use super::{ConnId, Step};
use crate::executor::Wake;
use crate::latency::nanos;
use crate::node::SimNode;
use crate::timers::{Event, EventKey};
use crate::trace::TraceKind;
use crate::world::State;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

/// A connection.
pub(super) struct Conn {
    pub(super) number: u64,
    pub(super) sides: [Side; 2],
    /// `pipes[s]` carries what side `s` writes.
    pub(super) pipes: [Pipe; 2],
    pub(super) phase: Phase,
    pub(super) started: u64,
    /// The next step of opening it.
    pub(super) step: Option<EventKey>,
    /// Whether the packet that makes the server accept it is under way.
    pub(super) opening: bool,
    /// Packets of this connection alone get lost (a forgotten NAT entry).
    pub(super) blackhole: bool,
}

/// How far opening got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Connecting,
    Open,
    Failed(io::ErrorKind),
}

/// One end.
pub(super) struct Side {
    pub(super) node: SimNode,
    pub(super) addr: SocketAddr,
    /// Whether the kernel knows the socket and the program has not closed it.
    pub(super) alive: bool,
    /// Whether the kernel knows nothing of it (it answers with RST), as opposed to having closed it in order.
    pub(super) gone: bool,
    /// Whether a program (or the accept queue) holds it.
    pub(super) held: bool,
    pub(super) reading: bool,
    pub(super) writing: bool,
    pub(super) reset_on_drop: bool,
    pub(super) error: Option<io::ErrorKind>,
    pub(super) read_wake: Option<Wake>,
    pub(super) write_wake: Option<Wake>,
}

impl Side {
    pub(super) fn new(node: SimNode, addr: SocketAddr) -> Self {
        Side {
            node,
            addr,
            alive: false,
            gone: false,
            held: false,
            reading: false,
            writing: false,
            reset_on_drop: false,
            error: None,
            read_wake: None,
            write_wake: None,
        }
    }

    pub(super) fn open(&mut self) {
        (self.alive, self.held, self.reading, self.writing) = (true, true, true, true);
    }
}

/// One direction.
#[derive(Default)]
pub(super) struct Pipe {
    /// What was written and not read: first what has arrived, then what is under way.
    pub(super) ring: VecDeque<u8>,
    /// How much of the ring has arrived.
    pub(super) readable: usize,
    segments: VecDeque<Segment>,
    /// The arrival of the first segment.
    event: Option<EventKey>,
    /// Since when nothing gets through; segments wait for a retransmission.
    stalled: Option<u64>,
    /// Bytes that were read while the acknowledgement could not travel: the sender does not know.
    unacked: usize,
    /// Since when acknowledgements do not get through.
    ack_stalled: Option<u64>,
    give_up: Option<EventKey>,
    /// The sender's learning of free space.
    window: Option<EventKey>,
    pub(super) fin_sent: bool,
    /// The FIN has arrived.
    pub(super) eof: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Data,
    /// The last step of opening: the server may accept.
    Open,
    Fin,
    Rst,
}

struct Segment {
    at: u64,
    sent: u64,
    len: u32,
    kind: Kind,
}

impl Pipe {
    /// Drops what has not arrived.
    fn clear_flight(&mut self) {
        self.segments.clear();
        self.ring.truncate(self.readable);
        self.stalled = None;
    }
}

impl State {
    pub(super) fn conn(&mut self, index: u32) -> &mut Conn {
        self.net.conns[index as usize].conn.as_deref_mut().expect("events and queues name live connections")
    }

    /// The connection, unless it ended and its place may serve another.
    pub(super) fn conn_by_id(&mut self, id: ConnId) -> Option<&mut Conn> {
        let slot = self.net.conns.get_mut(id.index as usize)?;
        if slot.generation == id.generation { slot.conn.as_deref_mut() } else { None }
    }

    fn conn_path_open(&mut self, index: u32, from: usize) -> bool {
        let conn = self.conn(index);
        let (a, b, blackhole) = (conn.sides[from].node, conn.sides[1 - from].node, conn.blackhole);
        !blackhole && self.path_open(a, b)
    }

    /// Writes as much as the window allows; `None` when that is nothing.
    pub(super) fn net_write(
        &mut self,
        id: ConnId,
        side: usize,
        data: &[io::IoSlice<'_>],
    ) -> io::Result<Option<usize>> {
        let window = self.net.tcp.window;
        let Some(conn) = self.conn_by_id(id) else { return Err(io::ErrorKind::ConnectionReset.into()) };
        if let Some(error) = conn.sides[side].error {
            return Err(error.into());
        }
        let pipe = &mut conn.pipes[side];
        if pipe.fin_sent {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut space = window.saturating_sub(pipe.ring.len() + pipe.unacked);
        let mut written = 0;
        for part in data {
            let part = &part[..part.len().min(space)];
            pipe.ring.extend(part);
            space -= part.len();
            written += part.len();
        }
        if written == 0 {
            let empty = data.iter().all(|part| part.is_empty());
            return Ok(empty.then_some(0));
        }
        self.net_send(id.index, side, Kind::Data, written as u32);
        Ok(Some(written))
    }

    /// Sends the end of the direction, once.
    pub(super) fn net_finish(&mut self, index: u32, side: usize) {
        let conn = self.conn(index);
        if conn.sides[side].alive && !conn.pipes[side].fin_sent {
            conn.pipes[side].fin_sent = true;
            self.net_send(index, side, Kind::Fin, 0);
        }
    }

    /// Sends what makes the server accept the connection.
    pub(super) fn net_send_open(&mut self, index: u32) {
        self.conn(index).opening = true;
        self.net_send(index, 0, Kind::Open, 0);
    }

    fn net_send(&mut self, index: u32, from: usize, kind: Kind, len: u32) {
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

    /// A side's connection is broken: nothing more leaves it, and its program sees `error` after what has
    /// already arrived.
    pub(super) fn net_break(&mut self, index: u32, side: usize, error: io::ErrorKind) {
        let conn = self.conn(index);
        conn.sides[side].alive = false;
        conn.sides[side].gone = true;
        conn.sides[side].error.get_or_insert(error);
        if side == 0 {
            conn.opening = false;
        }
        let event = conn.pipes[side].event.take();
        conn.pipes[side].clear_flight();
        conn.pipes[side].ack_stalled = None;
        let (mut read, mut write) = (conn.sides[side].read_wake.take(), conn.sides[side].write_wake.take());
        if let Some(key) = event {
            self.queue.cancel(key);
        }
        self.wake_option(&mut read);
        self.wake_option(&mut write);
        self.net_cancel_give_up(index, side);
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

    fn net_cancel_give_up(&mut self, index: u32, from: usize) {
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

    /// The program closes its side, or its kernel does so for it.
    pub(super) fn net_close(&mut self, index: u32, side: usize, reset: bool) {
        let conn = self.conn(index);
        let s = &mut conn.sides[side];
        if !s.held {
            return;
        }
        (s.held, s.reading, s.writing) = (false, false, false);
        let (read, write) = (s.read_wake.take(), s.write_wake.take());
        let was_alive = std::mem::replace(&mut s.alive, false);
        let reset = reset || s.reset_on_drop;
        // Closing with unread data is a reset, as in Linux.
        let incoming = &mut conn.pipes[1 - side];
        let unread = incoming.readable > 0;
        incoming.ring.drain(..incoming.readable);
        incoming.readable = 0;
        if was_alive && (reset || unread) {
            conn.sides[side].gone = true;
            self.net_reset(index, side);
        } else if was_alive && !conn.pipes[side].fin_sent {
            conn.pipes[side].fin_sent = true;
            self.net_send(index, side, Kind::Fin, 0);
        }
        for wake in [read, write].into_iter().flatten() {
            self.forget(wake);
        }
        self.net_free_if_unused(index);
    }

    /// The side's machine forgets the connection without a word: after a power loss, or as a half-open fault.
    pub(super) fn net_forget_side(&mut self, index: u32, side: usize) {
        let conn = self.conn(index);
        conn.sides[side].alive = false;
        conn.sides[side].gone = true;
        let incoming = &mut conn.pipes[1 - side];
        incoming.ring.drain(..incoming.readable);
        incoming.readable = 0;
        let pipe = &mut conn.pipes[side];
        pipe.fin_sent = true;
        if pipe.stalled.is_some() {
            pipe.clear_flight();
            conn.opening = false;
        }
        pipe.ack_stalled = None;
        self.net_cancel_give_up(index, side);
    }

    /// Frees a connection that nobody holds and that nobody will come to hold.
    pub(super) fn net_free_if_unused(&mut self, index: u32) {
        let conn = self.conn(index);
        if conn.opening || conn.sides.iter().any(|side| side.held) {
            return;
        }
        let slot = &mut self.net.conns[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        let conn = slot.conn.take().expect("it was there above");
        self.net.free.push(index);
        if let Some(key) = conn.step {
            self.queue.cancel(key);
        }
        for pipe in conn.pipes {
            for key in [pipe.event, pipe.give_up, pipe.window].into_iter().flatten() {
                self.queue.cancel(key);
            }
        }
        for side in conn.sides {
            for wake in [side.read_wake, side.write_wake].into_iter().flatten() {
                self.forget(wake);
            }
        }
    }

    pub(super) fn net_schedule_step(&mut self, index: u32, at: u64, step: Step) {
        let key = self.queue.insert(at, Event::Connect { conn: index, step });
        let old = self.conn(index).step.replace(key);
        assert!(old.is_none(), "connection {index} takes two steps at once");
    }
}
