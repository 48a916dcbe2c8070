//! The network of a world: TCP as a program sees it.
//!
//! | file | what |
//! |---|---|
//! | here | a node's sockets: listening, and what happens to them when the node stops |
//! | `connect.rs` | opening connections |
//! | `conn.rs` | connections: writing, closing, breaking |
//! | `flight.rs` | segments under way, retransmission, windows |
//! | `link.rs` | what lies between two nodes |
//! | `stream.rs` | handles |
//! | `control.rs` | the faults |

mod conn;
mod connect;
mod control;
mod flight;
mod link;
mod stream;

pub(crate) use connect::Step;
pub use control::{NetControl, NetStats};
pub use link::{LinkModel, TcpModel};
pub use stream::{SimRead, SimStream, SimWrite};

use crate::executor::Wake;
use crate::node::{SimNode, Stop};
use crate::sim::SimConfig;
use crate::world::{State, World};
use conn::{Conn, Phase};
use link::Link;
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};

/// Names a connection; stale once it was freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnId {
    index: u32,
    generation: u32,
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
    world: World,
    node: SimNode,
    boot: u32,
}

impl SimNet {
    pub(crate) fn new(world: World, node: SimNode, boot: u32) -> Self {
        SimNet { world, node, boot }
    }
}

/// Abandons the connection when the future of `connect` is dropped.
struct Connecting {
    world: World,
    id: Option<ConnId>,
}

impl Drop for Connecting {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.world.with_if_there(|s| s.net_abandon(id));
        }
    }
}

impl burnin_runtime::Net for SimNet {
    type Stream = SimStream;
    type Listener = SimListener;

    async fn listen(&self, address: SocketAddr) -> io::Result<SimListener> {
        let local = self.world.with(|s| s.net_listen(self.node, self.boot, address))?;
        Ok(SimListener { world: self.world, node: self.node, boot: self.boot, local })
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<SimStream> {
        let id = self.world.with(|s| s.net_connect(self.node, self.boot, address))?;
        let mut connecting = Connecting { world: self.world, id: Some(id) };
        poll_fn(|cx| self.world.with(|s| s.net_poll_connect(id, cx))).await?;
        connecting.id = None;
        Ok(SimStream::new(self.world, id, 0))
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
    world: World,
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
        let stream = SimStream::new(self.world, id, 1);
        let peer = burnin_runtime::Stream::peer_addr(&stream);
        Ok((stream, peer))
    }

    fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.world.with_if_there(|s| {
            if s.is_alive(self.node, self.boot) {
                s.net_unlisten(self.node, self.local.port());
            }
        });
    }
}
