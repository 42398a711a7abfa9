//! Servers that end: what they have taken is answered, what still comes is refused, and peers have
//! time to read it.

use std::time::Duration;

use model::refusal::Refusal;
use proto::control::{ControlRequest, ControlResponse};
use proto::frame::kind;
use tokio::time::Instant;

use crate::client::{get, increment, put};
use crate::harness::{Bystander, Server, control_frame, frame};
use crate::late::{Waiter, all_is_quiet};

impl Waiter {
    /// A batch under this id is refused, as the server is ending.
    async fn is_refused(&mut self, id: u64) {
        let reply = self.peer.answer_to(id).await.batch_reply();
        assert_eq!(reply.refusal(), Some((Refusal::Stopping, "the server is ending")));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_is_answered_and_what_comes_is_refused() {
    let mut waiter = Waiter::start().await;
    waiter.send(1, &[increment(b"n")]).await;
    waiter.send(2, &[increment(b"n")]).await;
    all_is_quiet().await;
    waiter.stop.cancel();
    all_is_quiet().await;
    // These come while the first ones still wait.
    waiter.send(3, &[put(b"late", b"v")]).await;
    waiter.send(4, &[get(b"n")]).await;
    waiter.peer.send(&control_frame(5, ControlRequest::Ping)).await;
    all_is_quiet().await;
    assert_eq!(waiter.held(), 2, "nothing more is handed to the order");
    waiter.release(1);
    all_is_quiet().await;
    waiter.release(0);
    waiter.are_answered([1, 2]).await;
    waiter.is_refused(3).await;
    waiter.is_refused(4).await;
    let response = waiter.peer.answer_to(5).await.control_response();
    assert_eq!(response, ControlResponse::Refused("the server is ending".to_owned()));
    // And this, when they have been answered.
    let refused = waiter.lane.body(&[put(b"late", b"v")]);
    let number = waiter.lane.header.number;
    waiter.peer.send(&frame(kind::BATCH_REQUEST, 6, &refused)).await;
    let reply = waiter.peer.answer_to(6).await.batch_reply();
    assert_eq!(reply.header().number, number, "it names what it refuses");
    assert_eq!(reply.header().data_id, waiter.service.engine().data_id());
    waiter.peer.send(&frame(kind::BATCH_REQUEST, 7, &refused[..5])).await;
    waiter.is_refused(7).await;
    assert!(waiter.peer.receive().await.is_none(), "after a pause the server closes its side");
    assert!(!waiter.serving.is_finished(), "and lets the peer read what is on its way");
    assert_eq!(waiter.service.keys(), 1, "nothing that was refused was applied");
    waiter.finish().await;
}

/// The twin: nobody has stopped the server.
#[tokio::test(start_paused = true)]
async fn silence_ends_no_connection_of_a_server_that_goes_on() {
    let mut waiter = Waiter::start().await;
    tokio::time::advance(Duration::from_secs(3600)).await;
    waiter.send(1, &[increment(b"n")]).await;
    all_is_quiet().await;
    waiter.release_all();
    waiter.are_answered([1]).await;
    waiter.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stays_silent_is_given_up() {
    let mut waiter = Waiter::start().await;
    let start = Instant::now();
    waiter.stop.cancel();
    assert!(waiter.peer.receive().await.is_none(), "the server closes its side");
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    (&mut waiter.serving).await.unwrap();
    let waited = start.elapsed();
    assert!((Duration::from_secs(1)..Duration::from_secs(2)).contains(&waited), "{waited:?}");
    assert_eq!(waiter.service.counters().connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_closes_is_waited_for_no_longer() {
    let mut waiter = Waiter::start().await;
    let start = Instant::now();
    waiter.stop.cancel();
    assert!(waiter.peer.receive().await.is_none(), "the server closes its side");
    waiter.finish().await;
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
}

/// What comes after the server has closed its side is read, so that nothing is reset, and not
/// answered; each byte begins the silence anew.
#[tokio::test(start_paused = true)]
async fn a_peer_that_goes_on_sending_is_read_to_its_end() {
    let mut waiter = Waiter::start().await;
    waiter.stop.cancel();
    assert!(waiter.peer.receive().await.is_none(), "the server closes its side");
    for id in 1..10 {
        tokio::time::advance(Duration::from_millis(900)).await;
        waiter.send(id, &[put(b"late", b"v")]).await;
        all_is_quiet().await;
        assert!(!waiter.serving.is_finished());
    }
    assert_eq!((waiter.held(), waiter.service.keys()), (0, 0), "nothing of it was applied");
    waiter.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_pauses_is_refused_for_a_while_only() {
    let mut waiter = Waiter::start().await;
    let start = Instant::now();
    waiter.stop.cancel();
    all_is_quiet().await;
    let mut refused = 0;
    loop {
        let body = waiter.lane.body(&[put(b"late", b"v")]);
        waiter.peer.send(&frame(kind::BATCH_REQUEST, refused, &body)).await;
        let Some(answer) = waiter.peer.receive().await else { break };
        let refusal = answer.batch_reply().refusal().map(|(refusal, _)| refusal);
        assert_eq!(refusal, Some(Refusal::Stopping));
        refused += 1;
        tokio::time::advance(Duration::from_millis(20)).await;
    }
    assert!(refused >= 10, "{refused} batches were refused");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(waiter.service.keys(), 0);
    waiter.finish().await;
}

#[tokio::test(start_paused = true)]
async fn garbage_ends_the_connection_of_a_stopping_server_at_once() {
    let mut waiter = Waiter::start().await;
    waiter.send(1, &[increment(b"n")]).await;
    all_is_quiet().await;
    waiter.stop.cancel();
    all_is_quiet().await;
    waiter.peer.send(&[0xee; 16]).await;
    waiter.release_all();
    waiter.are_answered([1]).await;
    (&mut waiter.serving).await.unwrap();
    assert_eq!(waiter.service.counters().connections(), 0);
}

/// Over sockets: whoever is at work learns in time that the server ends, and no reply is lost to a
/// reset.
#[tokio::test]
async fn a_server_that_ends_refuses_those_at_work_and_ends_when_they_leave() {
    let server = Server::start().await;
    let others = Bystander::start(&server).await;
    let mut client = server.client().await;
    client.put(b"k", b"v").await;
    others.finish().await;
    let others_puts = server.service.counters().tally().puts - 1;
    server.stop();
    let body = client.lane.body(&[put(b"k", b"w")]);
    let mut frames = Vec::new();
    for id in 1..=3 {
        frames.extend(frame(kind::BATCH_REQUEST, id, &body));
    }
    client.peer.send(&frames).await;
    // The server may notice its end after it has taken a batch; from then on it takes none.
    let mut refusals = Vec::new();
    for id in 1..=3 {
        let reply = client.peer.answer_to(id).await.batch_reply();
        refusals.push(reply.refusal().map(|(refusal, _)| refusal));
    }
    let taken = refusals.iter().take_while(|refusal| refusal.is_none()).count();
    assert!(refusals[taken..].iter().all(|it| *it == Some(Refusal::Stopping)), "{refusals:?}");
    let puts = server.service.counters().tally().puts - others_puts;
    assert_eq!(puts, 1 + taken.min(1) as u64, "what was refused was not applied");
    assert!(client.peer.receive().await.is_none(), "then it closes its side");
    drop(client);
    server.ends().await;
}
