//! Loops of a server that answer with what belongs to another batch.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use engine::{Change, Refused, Tally};
use futures::FutureExt;
use kvs_server::exchange::Exchange;
use kvs_server::order::{self, Order};
use kvs_server::service::Service;
use model::operation::OperationKind;
use model::outcome::{Replies, Shape};
use proto::batch::read_header;
use proto::codec::{Request, Response};
use proto::reply::{Reply, ReplyBuilder, ReplyHeader};
use tokio::net::TcpStream;

use crate::server::{Peer, Server};

/// The reply to a batch, in bytes and decoded.
fn execute(service: &Arc<Service>, body: Bytes) -> (BytesMut, Reply) {
    match service.batch(body, None).0.now() {
        Response::Batch(frame) => {
            let reply = Reply::decode(frame.clone().freeze()).expect("a reply of our own");
            (frame, reply)
        }
        Response::Control(_) => unreachable!("a batch is answered by a batch's reply"),
    }
}

/// Outcomes of one batch under the header of another's reply.
fn retell(outcomes: &Reply, header: &ReplyHeader) -> BytesMut {
    let shape = Shape {
        operations: outcomes.len(),
        groups: outcomes.groups(),
        has_sequences: outcomes.apply_sequence(0).is_some(),
        is_recorded: outcomes.is_recorded(),
        send_repeats_once: false,
    };
    let mut builder = ReplyBuilder::default();
    builder.prepare(BytesMut::new(), *header);
    builder.begin(&shape);
    for group in 0..outcomes.groups() {
        if let Some(sequence) = outcomes.apply_sequence(group) {
            builder.apply_sequence(group, sequence);
        }
    }
    for index in 0..outcomes.len() {
        match outcomes.outcome(index) {
            Some(outcome) => assert!(builder.outcome(0, outcome), "values here are short"),
            None => builder.not_kept(),
        }
    }
    builder.finish()
}

/// A server at which batches of one shape that are at hand together get each other's outcomes.
pub(super) async fn reply_of_another_batch(service: Arc<Service>) -> Server {
    Server::with(move |stream| {
        let service = Arc::clone(&service);
        async move { mix_up(stream, &service).await.unwrap_or_default() }
    })
    .await
}

async fn mix_up(stream: TcpStream, service: &Arc<Service>) -> Option<()> {
    let mut peer = Peer::new(stream);
    loop {
        let mut at_hand = vec![peer.next().await?];
        while let Some(Some(next)) = peer.next().now_or_never() {
            at_hand.push(next);
        }
        let mut replies = Vec::new();
        for (request_id, request) in at_hand {
            match request {
                Request::Batch(body) => replies.push((request_id, execute(service, body))),
                Request::Control(control) => {
                    peer.answer(request_id, service.control(control).now()).await?;
                }
            }
        }
        for pair in replies.chunks_exact_mut(2) {
            let [(_, (one_frame, one)), (_, (other_frame, other))] = pair else { unreachable!() };
            if are_alike(one, other) {
                *one_frame = retell(other, one.header());
                *other_frame = retell(one, other.header());
            }
        }
        for (request_id, (frame, _)) in replies {
            peer.answer(request_id, Response::Batch(frame)).await?;
        }
    }
}

fn are_alike(one: &Reply, other: &Reply) -> bool {
    let shape = |reply: &Reply| (reply.len(), reply.groups());
    let is_applied = one.refusal().is_none() && other.refusal().is_none();
    is_applied && shape(one) == shape(other)
}

/// Replies by session and request id.
type Kept = Arc<Mutex<HashMap<(u64, u64), Reply>>>;

/// A server at which a session knows its batches by the ids of their requests, which begin anew with
/// each connection. Numbers are checked as ever.
pub(super) async fn request_ids_for_duplicates(service: Arc<Service>) -> Server {
    let kept = Kept::default();
    Server::with(move |stream| {
        let (service, kept) = (Arc::clone(&service), Arc::clone(&kept));
        async move { know_by_id(stream, &service, &kept).await.unwrap_or_default() }
    })
    .await
}

async fn know_by_id(stream: TcpStream, service: &Arc<Service>, kept: &Kept) -> Option<()> {
    let mut peer = Peer::new(stream);
    loop {
        let (request_id, request) = peer.next().await?;
        let response = match request {
            Request::Batch(body) => Response::Batch(answer_by_id(service, request_id, body, kept)),
            Request::Control(control) => service.control(control).now(),
        };
        peer.answer(request_id, response).await?;
    }
}

fn answer_by_id(service: &Arc<Service>, request_id: u64, body: Bytes, kept: &Kept) -> BytesMut {
    let asked = read_header(&body).expect("a client's batch has a header");
    let id = (asked.session.number, request_id);
    let mut kept = kept.lock().expect("no holder of the replies panicked");
    if let Some(earlier) = kept.get(&id) {
        let (data_id, number) = (asked.session.data_id, asked.number);
        pass_over(service, body);
        return retell(earlier, &ReplyHeader { data_id, number, epoch: asked.epoch });
    }
    let (frame, reply) = execute(service, body);
    if reply.refusal().is_none() {
        kept.insert(id, reply);
    }
    frame
}

/// Has a batch of INCRs take its turn without effect.
fn pass_over(service: &Arc<Service>, body: Bytes) {
    let mut exchange = Box::<Exchange>::default();
    let begun = exchange.begin(service.engine(), 1, body, BytesMut::new(), None);
    begun.expect("it is a batch for this shard");
    let Change::Batch(batch) = order::Request::parts(&mut exchange).0 else {
        unreachable!("an exchange is a batch")
    };
    let mut frame = batch.frame.to_vec();
    for entry in batch.entries {
        assert_eq!(entry.kind, OperationKind::Increment, "the load has INCRs alone");
        frame[entry.argument_offset as usize..][..entry.argument_bytes as usize].fill(0);
    }
    // A refusal, too, leaves the lane as it is.
    drop(service.order().submit(PassedOver { frame, exchange }));
}

/// A batch whose INCRs add 0.
struct PassedOver {
    frame: Vec<u8>,
    exchange: Box<Exchange>,
}

impl order::Request for PassedOver {
    type Replies = ReplyBuilder;

    fn parts(&mut self) -> (Change<'_>, &mut ReplyBuilder) {
        let (mut change, replies) = order::Request::parts(&mut self.exchange);
        if let Change::Batch(batch) = &mut change {
            batch.frame = &self.frame;
        }
        (change, replies)
    }

    fn end(&mut self, result: Result<Tally, Refused>) {
        order::Request::end(&mut self.exchange, result);
    }
}
