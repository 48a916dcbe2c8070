//! The network of a world: listening, connecting, and stopping nodes. Streams are in `stream.rs`, the
//! connections behind them in `conn.rs`, links in `link.rs`, the faults in `control.rs`.
//!
//! Connecting takes TCP's steps (SYN, SYN-ACK, ACK), each a link's latency. A machine with power answers a
//! SYN to a port where nobody listens with a reset (`ConnectionRefused`); a machine without power, a cut
//! link, or a full backlog answer nothing, and the SYN is sent again after 1 s, 3 s, 7 s and so on.

mod conn;
mod control;
mod link;
mod stream;

pub use control::{NetControl, NetStats};
pub use link::{LinkModel, TcpModel};
pub use stream::{SimRead, SimStream, SimWrite};

use crate::executor::Wake;
use crate::latency::nanos;
use crate::node::{SimNode, Stop};
use crate::sim::SimConfig;
use crate::trace::TraceKind;
use crate::world::{State, World};
use conn::{Conn, Phase, Pipe, Side};
use link::Link;
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

/// Names a connection; stale once it was freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnId {
    index: u32,
    generation: u32,
}

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

struct Slot {
    generation: u32,
    conn: Option<Box<Conn>>,
}

struct Listening {
    queue: VecDeque<u32>,
    wake: Option<Wake>,
    loopback_only: bool,
}

#[derive(Clone, Copy, Default)]
struct Flags {
    refuse: bool,
    hang: bool,
}

/// The network's state.
pub(crate) struct Net {
    conns: Vec<Slot>,
    free: Vec<u32>,
    listeners: BTreeMap<(SimNode, u16), Listening>,
    links: Vec<Vec<Link>>,
    flags: Vec<Flags>,
    default: LinkModel,
    loopback: LinkModel,
    tcp: TcpModel,
    opened: u64,
    stats: NetStats,
}

impl Net {
    pub(crate) fn new(config: &SimConfig) -> Self {
        Net {
            conns: Vec::new(),
            free: Vec::new(),
            listeners: BTreeMap::new(),
            links: Vec::new(),
            flags: Vec::new(),
            default: config.link,
            loopback: config.loopback,
            tcp: config.tcp,
            opened: 0,
            stats: NetStats::default(),
        }
    }

    pub(crate) fn add_node(&mut self) {
        self.links.push(Vec::new());
        self.flags.push(Flags::default());
    }
}

impl State {
    fn net_listen(&mut self, node: SimNode, boot: u32, address: SocketAddr) -> io::Result<SocketAddr> {
        if !self.is_alive(node, boot) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let ip = self.nodes[node.at()].ip;
        let bound = if address.ip().is_unspecified() { ip } else { address.ip() };
        if bound != ip && !bound.is_loopback() {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let port = match address.port() {
            0 => self.net_free_port(node),
            port => port,
        };
        if self.net.listeners.contains_key(&(node, port)) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let listening = Listening { queue: VecDeque::new(), wake: None, loopback_only: bound.is_loopback() };
        self.net.listeners.insert((node, port), listening);
        Ok(SocketAddr::new(bound, port))
    }

    fn net_free_port(&mut self, node: SimNode) -> u16 {
        loop {
            let next = &mut self.nodes[node.at()].next_port;
            let port = *next;
            *next = if port == u16::MAX { 32_768 } else { port + 1 };
            if !self.net.listeners.contains_key(&(node, port)) {
                return port;
            }
        }
    }

    /// Stops listening; connections that were not accepted are reset.
    fn net_unlisten(&mut self, node: SimNode, port: u16) {
        let Some(listening) = self.net.listeners.remove(&(node, port)) else { return };
        for conn in listening.queue {
            self.net_close(conn, 1, true);
        }
        if let Some(wake) = listening.wake {
            self.forget(wake);
        }
    }

    fn net_poll_accept(&mut self, node: SimNode, port: u16, cx: &Context<'_>) -> Poll<io::Result<ConnId>> {
        let wake = self.waker(cx);
        let Some(listening) = self.net.listeners.get_mut(&(node, port)) else {
            self.forget(wake);
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        if let Some(index) = listening.queue.pop_front() {
            self.forget(wake);
            let generation = self.net.conns[index as usize].generation;
            return Poll::Ready(Ok(ConnId { index, generation }));
        }
        if let Some(old) = listening.wake.replace(wake) {
            self.forget(old);
        }
        Poll::Pending
    }

    fn net_connect(&mut self, node: SimNode, boot: u32, address: SocketAddr) -> io::Result<ConnId> {
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
    fn net_accept(&mut self, index: u32) {
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

    fn net_poll_connect(&mut self, id: ConnId, cx: &Context<'_>) -> Poll<io::Result<()>> {
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
    fn net_abandon(&mut self, id: ConnId) {
        let Some(conn) = self.conn_by_id(id) else { return };
        if conn.phase != Phase::Open {
            conn.sides[0].alive = false;
        }
        self.net_close(id.index, 0, false);
    }

    /// The process of a node stops: its kernel ends its connections, or the whole machine falls silent.
    pub(crate) fn net_stop(&mut self, node: SimNode, how: Stop) {
        let ports: Vec<u16> =
            self.net.listeners.range((node, 0)..=(node, u16::MAX)).map(|(&(_, port), _)| port).collect();
        if how == Stop::PowerLoss {
            self.net_each_side(node, State::net_forget_side);
        }
        for port in ports {
            self.net_unlisten(node, port);
        }
        self.net_each_side(node, |s, index, side| {
            let conn = s.conn(index);
            if conn.phase != Phase::Open {
                conn.sides[side].alive = false;
            }
            // Whoever still has a handle of the dead process's socket sees it broken.
            let end = &mut conn.sides[side];
            end.error.get_or_insert(io::ErrorKind::ConnectionReset);
            let (held, mut read, mut write) = (end.held, end.read_wake.take(), end.write_wake.take());
            s.wake_option(&mut read);
            s.wake_option(&mut write);
            if held {
                s.net_close(index, side, false);
            } else {
                s.net_free_if_unused(index);
            }
        });
    }

    /// A machine has power again: what its peers still send reaches it.
    pub(crate) fn net_machine_back(&mut self, node: SimNode) {
        self.net_each_side(node, |s, index, side| s.net_path_back(index, 1 - side));
    }

    fn net_each_side(&mut self, node: SimNode, mut apply: impl FnMut(&mut State, u32, usize)) {
        for index in 0..self.net.conns.len() as u32 {
            for side in 0..2 {
                let conn = self.net.conns[index as usize].conn.as_deref();
                if conn.is_some_and(|conn| conn.sides[side].node == node) {
                    apply(self, index, side);
                }
            }
        }
    }
}

/// The network as one process sees it.
#[derive(Clone)]
pub struct SimNet {
    world: Arc<World>,
    node: SimNode,
    boot: u32,
}

impl SimNet {
    pub(crate) fn new(world: Arc<World>, node: SimNode, boot: u32) -> Self {
        SimNet { world, node, boot }
    }
}

/// Abandons the connection when the future of `connect` is dropped.
struct Connecting {
    world: Arc<World>,
    id: Option<ConnId>,
}

impl Drop for Connecting {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.world.with(|s| s.net_abandon(id));
        }
    }
}

impl burnin_runtime::Net for SimNet {
    type Stream = SimStream;
    type Listener = SimListener;

    async fn listen(&self, address: SocketAddr) -> io::Result<SimListener> {
        let local = self.world.with(|s| s.net_listen(self.node, self.boot, address))?;
        Ok(SimListener { world: self.world.clone(), node: self.node, boot: self.boot, local })
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<SimStream> {
        let id = self.world.with(|s| s.net_connect(self.node, self.boot, address))?;
        let mut connecting = Connecting { world: self.world.clone(), id: Some(id) };
        poll_fn(|cx| self.world.with(|s| s.net_poll_connect(id, cx))).await?;
        connecting.id = None;
        Ok(SimStream::new(self.world.clone(), id, 0))
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let ip = self.world.with(|s| {
            let own = &s.nodes[self.node.at()];
            if host == "localhost" {
                return Some(IpAddr::from([127, 0, 0, 1]));
            }
            if *own.name == *host {
                Some(own.ip)
            } else {
                s.nodes.iter().find(|n| *n.name == *host).map(|n| n.ip)
            }
        });
        match ip {
            Some(ip) => Ok(vec![SocketAddr::new(ip, port)]),
            None => Err(io::Error::new(io::ErrorKind::NotFound, format!("no node is called `{host}`"))),
        }
    }
}

/// A listening socket.
pub struct SimListener {
    world: Arc<World>,
    node: SimNode,
    boot: u32,
    local: SocketAddr,
}

impl burnin_runtime::Listener for SimListener {
    type Stream = SimStream;

    async fn accept(&mut self) -> io::Result<(SimStream, SocketAddr)> {
        let (node, boot, port) = (self.node, self.boot, self.local.port());
        let id = poll_fn(|cx| {
            self.world.with(|s| {
                if !s.is_alive(node, boot) {
                    return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
                }
                s.net_poll_accept(node, port, cx)
            })
        })
        .await?;
        let stream = SimStream::new(self.world.clone(), id, 1);
        let peer = burnin_runtime::Stream::peer_addr(&stream);
        Ok((stream, peer))
    }

    fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.world.with(|s| {
            if s.is_alive(self.node, self.boot) {
                s.net_unlisten(self.node, self.local.port());
            }
        });
    }
}
