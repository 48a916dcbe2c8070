//! Opening connections, in TCP's steps (SYN, SYN-ACK, ACK), each a link's latency.
//!
//! A machine with power answers a SYN to a port where nobody listens with a reset (`ConnectionRefused`); a
//! machine without power, a cut link, or a full backlog answer nothing, and the SYN is sent again after 1 s,
//! 3 s, 7 s and so on, until `connect` times out.

use super::conn::{Conn, Phase, Pipe, Side};
use super::{ConnId, Slot};
use crate::latency::nanos;
use crate::node::SimNode;
use crate::trace::TraceKind;
use crate::world::State;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

/// A step of opening a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The client sends (again).
    SendSyn,
    /// The SYN arrives.
    Syn,
    /// The SYN-ACK arrives.
    SynAck,
    /// The reset arrives.
    Refused,
    /// The client stops trying.
    GiveUp,
}

impl State {
    pub(super) fn net_connect(
        &mut self,
        node: SimNode,
        boot: u32,
        address: SocketAddr,
    ) -> io::Result<ConnId> {
        if !self.is_alive(node, boot) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let target = match address.ip() {
            ip if ip.is_loopback() => node,
            ip => match self.nodes.iter().position(|n| n.ip == ip) {
                Some(index) => SimNode(index as u32),
                None => return Err(io::ErrorKind::HostUnreachable.into()),
            },
        };
        let local = if address.ip().is_loopback() { address.ip() } else { self.nodes[node.at()].ip };
        let local = SocketAddr::new(local, self.net_free_port(node));
        self.net.opened += 1;
        let mut conn = Box::new(Conn {
            number: self.net.opened,
            sides: [Side::new(node, local), Side::new(target, address)],
            pipes: [Pipe::default(), Pipe::default()],
            phase: Phase::Connecting,
            started: self.now,
            step: None,
            opening: false,
            blackhole: false,
        });
        conn.sides[0].open();
        let index = self.net.free.pop().unwrap_or_else(|| {
            self.net.conns.push(Slot { generation: 0, conn: None });
            (self.net.conns.len() - 1) as u32
        });
        let slot = &mut self.net.conns[index as usize];
        slot.conn = Some(conn);
        let id = ConnId { index, generation: slot.generation };
        self.net_send_syn(index);
        Ok(id)
    }

    fn net_send_syn(&mut self, index: u32) {
        let conn = self.conn(index);
        let (a, b) = (conn.sides[0].node, conn.sides[1].node);
        if self.path_open(a, b) {
            let at = self.now + self.transit(a, b, 0).delay;
            self.net_schedule_step(index, at, Step::Syn);
        } else {
            self.net_syn_again(index);
        }
    }

    /// A packet of the handshake was lost: the client sends the SYN again, or gives up.
    fn net_syn_again(&mut self, index: u32) {
        let (now, started) = (self.now, self.conn(index).started);
        let give_up = started.saturating_add(nanos(self.net.tcp.connect_give_up));
        let mut next = started;
        let mut step = 1_000_000_000;
        while next <= now {
            next += step;
            step *= 2;
        }
        if next < give_up {
            self.net_schedule_step(index, next, Step::SendSyn);
        } else {
            self.net_schedule_step(index, give_up.max(now), Step::GiveUp);
        }
    }

    pub(crate) fn net_connect_step(&mut self, index: u32, step: Step) {
        let conn = self.conn(index);
        conn.step = None;
        let (client, server, number) = (conn.sides[0].node, conn.sides[1].node, conn.number);
        let address = conn.sides[1].addr;
        self.record(TraceKind::Connect, client, number, step as u64);
        match step {
            Step::SendSyn => self.net_send_syn(index),
            Step::Syn => {
                let flags = self.net.flags[server.at()];
                let backlog = self.net.tcp.backlog;
                let listener = self.net.listeners.get(&(server, address.port()));
                let listener = listener.filter(|l| !l.loopback_only || address.ip().is_loopback());
                let full = listener.is_some_and(|l| l.queue.len() >= backlog);
                if !self.path_open(client, server) || flags.hang || full {
                    self.net_syn_again(index);
                    return;
                }
                let answer = if listener.is_some() && !flags.refuse { Step::SynAck } else { Step::Refused };
                let at = self.now + self.transit(server, client, 0).delay;
                self.net_schedule_step(index, at, answer);
            }
            Step::SynAck | Step::Refused if !self.path_open(server, client) => self.net_syn_again(index),
            Step::SynAck => {
                self.net.stats.connections += 1;
                self.net_connected(index, Phase::Open);
                self.net_send_open(index);
            }
            Step::Refused => {
                self.net.stats.refused += 1;
                self.net_connected(index, Phase::Failed(io::ErrorKind::ConnectionRefused));
            }
            Step::GiveUp => self.net_connected(index, Phase::Failed(io::ErrorKind::TimedOut)),
        }
    }

    fn net_connected(&mut self, index: u32, phase: Phase) {
        let conn = self.conn(index);
        conn.phase = phase;
        let mut wake = conn.sides[0].read_wake.take();
        self.wake_option(&mut wake);
    }

    /// The last packet of the handshake arrived: the server's program may accept the connection.
    pub(super) fn net_accept(&mut self, index: u32) {
        let conn = self.conn(index);
        conn.opening = false;
        let key = (conn.sides[1].node, conn.sides[1].addr.port());
        if let Some(listening) = self.net.listeners.get_mut(&key) {
            listening.queue.push_back(index);
            let mut wake = listening.wake.take();
            self.conn(index).sides[1].open();
            self.wake_option(&mut wake);
        }
    }

    pub(super) fn net_poll_connect(&mut self, id: ConnId, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let wake = self.waker(cx);
        let Some(conn) = self.conn_by_id(id) else {
            self.forget(wake);
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let result = match conn.phase {
            Phase::Connecting => {
                if let Some(old) = conn.sides[0].read_wake.replace(wake) {
                    self.forget(old);
                }
                return Poll::Pending;
            }
            Phase::Open => Ok(()),
            Phase::Failed(kind) => Err(kind.into()),
        };
        self.forget(wake);
        Poll::Ready(result)
    }

    /// A client lost interest before the connection was open.
    pub(super) fn net_abandon(&mut self, id: ConnId) {
        let Some(conn) = self.conn_by_id(id) else { return };
        if conn.phase != Phase::Open {
            conn.sides[0].alive = false;
        }
        self.net_close(id.index, 0, false);
    }
}
