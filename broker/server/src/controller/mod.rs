//! The controller of this node: while it leads the quorum it decides what is written to the metadata log.
//!
//! | file | responsible for |
//! |---|---|
//! | `task.rs` | one task: takes requests, decides, proposes, and answers what is committed |
//! | `apis.rs`, `admin.rs`, `features.rs`, `describe_quorum.rs`, `refusals.rs` | the requests and responses of the controller's APIs |
//! | `voters.rs` | changes of the voters, which the quorum decides |
//! | `registration.rs` | tells the cluster that this controller is there |
//! | `channel.rs` | how everybody on this node reaches the active controller, wherever it is |

mod admin;
mod apis;
mod channel;
mod describe_quorum;
mod features;
mod refusals;
mod registration;
mod task;
mod voters;

pub(crate) use channel::ControllerChannel;
pub(crate) use refusals::refuse;
pub(crate) use registration::register;
pub(crate) use task::run;

use burnin_core::metadata::ApiError;
use burnin_core::quorum::VoterSet;
use burnin_wire::{ErrorCode, Request, Response};
use tokio::sync::{mpsc, oneshot};

/// A request with its version, and who waits for the answer.
struct Asked {
    request: Request,
    version: i16,
    answer: oneshot::Sender<Result<Response, ApiError>>,
}

/// What the task is told, in order.
enum Command {
    Asked(Box<Asked>),
    /// This node leads the quorum in `epoch`; its next record will be at `next_offset`.
    Leads {
        epoch: i32,
        next_offset: i64,
    },
    /// The quorum wants a record with these voters, in its turn.
    Voters {
        epoch: i32,
        voters: VoterSet,
    },
    /// It does not any more.
    Lost {
        epoch: i32,
    },
}

/// Hands requests and news to the controller of this node.
#[derive(Clone)]
pub(crate) struct ControllerQueue(mpsc::UnboundedSender<Command>);

/// The other end.
pub(crate) struct Commands(mpsc::UnboundedReceiver<Command>);

impl ControllerQueue {
    pub(crate) fn new() -> (ControllerQueue, Commands) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (ControllerQueue(sender), Commands(receiver))
    }

    /// Has a request carried out by this node. The answer comes when what it rests on is committed and applied
    /// here. Errors: NOT_CONTROLLER when this node does not lead the quorum, or not any more: then the request may
    /// have been carried out or not.
    pub(crate) async fn ask(&self, request: Request, version: i16) -> Result<Response, ApiError> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::Asked(Box::new(Asked { request, version, answer })));
        answered.await.unwrap_or_else(|_| Err(not_controller()))
    }

    pub(crate) fn leads(&self, epoch: i32, next_offset: i64) {
        self.send(Command::Leads { epoch, next_offset });
    }

    pub(crate) fn append_voters(&self, epoch: i32, voters: VoterSet) {
        self.send(Command::Voters { epoch, voters });
    }

    pub(crate) fn lost(&self, epoch: i32) {
        self.send(Command::Lost { epoch });
    }

    fn send(&self, command: Command) {
        // A node that stops needs no controller.
        let _ = self.0.send(command);
    }
}

fn not_controller() -> ApiError {
    ApiError::new(ErrorCode::NOT_CONTROLLER, "This is not the correct controller for this cluster.")
}
