//! Connections: two sides and a pipe in each direction. A pipe is one ring of bytes; its segments only say
//! how many of them arrive when, so that a chunk is copied in once, copied out once, and is one event.
//!
//! Can: end in order (FIN), break (RST), be forgotten by one side, stall while a link is cut or the peer has
//! no power, time out after TCP's retransmissions, push back when the window is full.
//! Never: loses a byte that a later byte of the same stream survives. An RST is sent once: when it is lost,
//! the peer learns of it only by sending something itself.

use super::{ConnId, Step};
use crate::executor::Wake;
use crate::node::SimNode;
use crate::timers::{Event, EventKey};
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
    pub(super) segments: VecDeque<Segment>,
    /// The arrival of the first segment.
    pub(super) event: Option<EventKey>,
    /// Since when nothing gets through; segments wait for a retransmission.
    pub(super) stalled: Option<u64>,
    /// Bytes that were read while the acknowledgement could not travel: the sender does not know.
    pub(super) unacked: usize,
    /// Since when acknowledgements do not get through.
    pub(super) ack_stalled: Option<u64>,
    pub(super) give_up: Option<EventKey>,
    /// The sender's learning of free space.
    pub(super) window: Option<EventKey>,
    pub(super) fin_sent: bool,
    /// The FIN has arrived.
    pub(super) eof: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    /// The last step of opening: the server may accept.
    Open,
    Fin,
    Rst,
}

pub(super) struct Segment {
    pub(super) at: u64,
    pub(super) sent: u64,
    pub(super) len: u32,
    pub(super) kind: Kind,
}

impl Pipe {
    /// Drops what has not arrived.
    pub(super) fn clear_flight(&mut self) {
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

    pub(super) fn conn_path_open(&mut self, index: u32, from: usize) -> bool {
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
