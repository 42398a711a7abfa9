//! A control call that changes a shard: the native front end's other request to an order.

use engine::{Change, Refused, Tally};
use proto::reply::ReplyBuilder;

use crate::order::Request;

/// A change without operations, and what came of it.
#[derive(Debug)]
pub struct Errand {
    change: Change<'static>,
    /// Takes nothing. Of the kind that batches have, so that the engine is compiled once.
    replies: ReplyBuilder,
    /// Whether it was done.
    pub result: Result<(), Refused>,
}

impl Errand {
    /// To be handed to an order.
    pub fn new(change: Change<'static>) -> Self {
        Self { change, replies: ReplyBuilder::default(), result: Ok(()) }
    }
}

impl Request for Errand {
    type Replies = ReplyBuilder;

    fn parts(&mut self) -> (Change<'_>, &mut ReplyBuilder) {
        (self.change.clone(), &mut self.replies)
    }

    fn end(&mut self, result: Result<Tally, Refused>) {
        self.result = result.map(drop);
    }
}
