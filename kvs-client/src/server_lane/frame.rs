//! A frame from its sending to its end, as the lane and those above it know it.

use bytes::Bytes;
use futures::future::BoxFuture;
use proto::codec::Response;
use proto::reply::Reply;
use tarpc::client::RpcError;
use tokio::task::coop::Unconstrained;

use crate::error::Failure;

/// How a frame ended, and what it held.
#[derive(Debug)]
pub(crate) struct FrameEnd {
    pub(crate) result: Result<Reply, Failure>,
    pub(crate) body: Bytes,
}

/// The batch that a frame belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameTag {
    pub(crate) ticket: u64,
    /// Whether it carries operations that are sent anew.
    pub(crate) is_again: bool,
}

type Call = Unconstrained<BoxFuture<'static, Result<Response, RpcError>>>;

/// A frame without its answer.
pub(super) struct OpenFrame {
    pub(super) tag: FrameTag,
    pub(super) index: usize,
    /// Its own, or that of the frame which its reads follow.
    pub(super) number: u64,
    pub(super) mutates: bool,
    pub(super) body: Bytes,
    pub(super) operations: u32,
    pub(super) groups: u32,
    pub(super) call: Option<Call>,
    /// An answer that came while later frames were being sent.
    pub(super) answer: Option<Result<Response, RpcError>>,
    /// It was sent under its number.
    pub(super) was_sent: bool,
    /// Some transmission had no answer, so the frame may have been applied.
    pub(super) is_lost: bool,
}
