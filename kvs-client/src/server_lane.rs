//! A lane at one server: numbers its frames, sends them in order, and sends them again until each
//! has its answer.
//!
//! Open frames stand in a queue in the order of their numbers. While the connection works, each has
//! a call on its way, and replies are taken from the front. When it breaks, all that was on its way
//! is *lost* (it may have been applied), a connection is made anew, at first at once and then with
//! backoff, and the queue is sent again as it is: the server answers what it has applied already
//! from its records. When the time for that is over, lost frames are unknown, the others not
//! applied.
//!
//! A number that was sent is never given to other bytes: a copy of the first may still be on its
//! way on a connection that the server has not done with. Where numbers would be used again, the
//! lane is closed at the server before its successor opens, so that nothing of it can take effect
//! later.

mod backoff;
pub(crate) mod frame;

use std::collections::VecDeque;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use model::refusal::Refusal;
use proto::batch::{self, BatchHeader};
use proto::codec::{Request, Response};
use proto::control::{ControlRequest, ControlResponse};
use proto::reply::Reply;
use tarpc::client::RpcError;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep};

use crate::batcher::Frame;
use crate::connection::{Connected, Connecting, LaneNumber, Life, Link, explain};
use crate::error::{Error, Failure};
use backoff::backoff;
use frame::{FrameEnd, FrameTag, OpenFrame};

enum State {
    /// Frames go out at once.
    Up(Connected),
    /// A connection is being made.
    Connecting(Connecting),
    /// The next attempt waits its turn.
    Waiting(Pin<Box<Sleep>>),
    /// The server is asked to close the lane.
    Closing(Connected, BoxFuture<'static, Result<ControlResponse, Error>>),
}

/// A lane at one server.
pub(crate) struct ServerLane {
    link: Arc<Link>,
    retry: Duration,
    place: usize,
    life: Arc<Life>,
    number: LaneNumber,
    open: VecDeque<OpenFrame>,
    /// Frames that ended otherwise than by the front's reply.
    ended: VecDeque<(FrameTag, usize, FrameEnd)>,
    state: State,
    generation: u64,
    /// The next connection must be newer than this.
    stale: u64,
    /// Since when nothing has come through.
    failing: Option<Instant>,
    attempts: u32,
    /// Frames of this lane may still arrive: it must be closed before a successor opens.
    must_close: bool,
}

impl std::fmt::Debug for ServerLane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerLane")
            .field("endpoint", &self.link.endpoint)
            .field("number", &self.number)
            .field("open", &self.open.len())
            .finish_non_exhaustive()
    }
}

impl ServerLane {
    pub(crate) fn new(link: Arc<Link>, retry: Duration) -> Self {
        let place = link.pin_place();
        let connecting = link.connect(place, 0);
        Self {
            retry,
            place,
            life: link.life(),
            number: link.take_lane(),
            link,
            open: VecDeque::new(),
            ended: VecDeque::new(),
            state: State::Connecting(connecting),
            generation: 0,
            stale: 0,
            failing: None,
            attempts: 0,
            must_close: false,
        }
    }

    /// The header of the next frame, but for its epoch and first stamp.
    pub(crate) fn next_header(&self, mutates: bool) -> BatchHeader {
        let next = self.number.next;
        BatchHeader {
            session: self.number.session,
            shard: self.life.hello.shard.index(),
            lane: self.number.lane,
            epoch: 0,
            number: if mutates { next } else { next - 1 },
            lowest_open: self.first_number(),
            first_stamp: 0,
        }
    }

    /// Takes a frame whose body carries [`next_header`](Self::next_header).
    pub(crate) fn push(&mut self, tag: FrameTag, index: usize, body: Bytes, frame: &Frame) {
        if self.open.is_empty() {
            // What failed before was ended then; this frame has its own time.
            self.failing = None;
        }
        self.number.next += u64::from(frame.mutates);
        self.open.push_back(OpenFrame {
            tag,
            index,
            number: self.number.next - 1,
            mutates: frame.mutates,
            body,
            operations: frame.operations,
            groups: frame.groups,
            call: None,
            answer: None,
            was_sent: false,
            is_lost: false,
        });
    }

    /// The bodies of frames without an answer that belong to batches after this one.
    pub(crate) fn bodies_after(&self, ticket: u64) -> impl Iterator<Item = &Bytes> {
        let later = self.open.iter().filter(move |frame| frame.tag.ticket > ticket);
        later.map(|frame| &frame.body)
    }

    /// Sends what has not been sent, as far as the connection is up, in the order of the numbers.
    fn start(&mut self, cx: &mut Context<'_>) {
        let State::Up(connected) = &self.state else { return };
        for frame in &mut self.open {
            if frame.call.is_some() || frame.answer.is_some() {
                continue;
            }
            let request = Request::Batch(frame.body.clone());
            // The first poll hands the request to the connection, so calls must be polled in order,
            // and a task's budget must not make one of them yield its turn.
            let mut call = unconstrained(self.link.call(&connected.channel, request));
            frame.was_sent = true;
            match Pin::new(&mut call).poll(cx) {
                Poll::Pending => frame.call = Some(call),
                Poll::Ready(answer) => frame.answer = Some(answer),
            }
        }
    }

    /// The next frame that has ended.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<(FrameTag, usize, FrameEnd)> {
        loop {
            if let Some(ended) = self.ended.pop_front() {
                return Poll::Ready(ended);
            }
            if self.open.is_empty() && !self.must_close {
                return Poll::Pending;
            }
            match &mut self.state {
                State::Up(_) => {
                    self.start(cx);
                    let Some(front) = self.open.front_mut() else { return Poll::Pending };
                    let answer = match front.answer.take() {
                        Some(answer) => answer,
                        None => {
                            let call = front.call.as_mut().expect("every open frame was started");
                            ready!(Pin::new(call).poll(cx))
                        }
                    };
                    self.take_answer(answer);
                }
                State::Connecting(connecting) => match ready!(connecting.poll_unpin(cx)) {
                    Ok(connected) => self.connected(connected),
                    Err(error) => self.wait(&error.to_string()),
                },
                State::Waiting(sleep) => {
                    ready!(sleep.as_mut().poll(cx));
                    self.state = State::Connecting(self.link.connect(self.place, self.stale));
                }
                State::Closing(connected, closing) => {
                    let connected = connected.clone();
                    match ready!(closing.poll_unpin(cx)) {
                        // A server refuses to close only what can't execute anything: a lane of a
                        // session that has ended, or one that it has no room to open.
                        Ok(_) | Err(Error::Control { .. }) => self.reopen(connected),
                        Err(error) => self.break_off(&error.to_string()),
                    }
                }
            }
        }
    }

    /// A frame that has ended already.
    pub(crate) fn take_ended(&mut self) -> Option<(FrameTag, usize, FrameEnd)> {
        self.ended.pop_front()
    }

    /// Ends all that is open at once: nobody waits for it any more.
    pub(crate) fn abandon(&mut self) {
        self.give_up("nobody waited for it any longer");
        if self.must_close
            && let State::Up(connected) = &self.state
        {
            self.close(connected.clone());
        }
    }

    /// Takes the answer to the front's call.
    fn take_answer(&mut self, answer: Result<Response, RpcError>) {
        self.open.front_mut().expect("the answer is the front's").call = None;
        let frame = match answer {
            Ok(Response::Batch(frame)) => frame,
            Ok(Response::Control(_)) => return self.wrong_reply("a control reply to a batch"),
            Err(RpcError::Server(error)) => return self.wrong_reply(&error.to_string()),
            Err(error) => {
                self.open.front_mut().expect("as above").is_lost = true;
                return self.break_off(&explain(&error));
            }
        };
        let bytes = frame.len();
        let reply = match Reply::decode(self.link.replies.share(frame)) {
            Ok(reply) => reply,
            Err(error) => return self.wrong_reply(&error.to_string()),
        };
        if let Some((refusal, detail)) = reply.refusal() {
            let detail = detail.to_owned();
            return self.refused(refusal, detail);
        }
        let front = self.open.front().expect("as above");
        let header = reply.header();
        let is_anothers = header.data_id != self.number.session.data_id
            || header.number != front.number
            || (reply.len(), reply.groups()) != (front.operations as usize, front.groups as usize);
        if is_anothers {
            return self.wrong_reply("it answers another batch");
        }
        self.link.learn_outcome_bytes(bytes, reply.len());
        self.failing = None;
        self.attempts = 0;
        self.end_front(Ok(reply));
    }

    fn end_front(&mut self, result: Result<Reply, Failure>) {
        let frame = self.open.pop_front().expect("there is a front");
        self.ended.push_back((frame.tag, frame.index, FrameEnd { result, body: frame.body }));
    }

    /// The server refused the front as a whole: it consumed no number.
    fn refused(&mut self, refusal: Refusal, detail: String) {
        let endpoint = self.link.endpoint.to_string();
        let front = self.open.front().expect("it was refused");
        if !front.mutates {
            // Others do not wait for the turn of reads.
            match refusal {
                Refusal::Passed => return self.end_front(Err(Failure::NotRead { endpoint })),
                Refusal::StaleEpoch | Refusal::NotOwned => {
                    return self.end_front(Err(Failure::WrongShard { endpoint }));
                }
                Refusal::Malformed | Refusal::NoSuchShard => {
                    return self.end_front(Err(Failure::Refused { endpoint, refusal, detail }));
                }
                _ => {}
            }
        }
        for frame in &mut self.open {
            // Sent behind the refused one on the same connection, so refused or about to be.
            frame.call = None;
            frame.answer = None;
        }
        match refusal {
            Refusal::Throttled | Refusal::OutOfTurn => self.wait(&detail),
            Refusal::OtherData => self.break_off(&detail),
            Refusal::Stopping => {
                // Nothing more comes of this connection.
                self.stale = self.generation;
                self.wait(&detail);
            }
            Refusal::SessionExpired => {
                if let State::Up(connected) = &self.state {
                    let connected = connected.clone();
                    let renewal = self.link.renew(connected, self.number.session);
                    self.state = State::Connecting(renewal);
                }
            }
            Refusal::StaleEpoch | Refusal::NotOwned => {
                // No copy of it will be applied either: epochs do not go back. The frames behind it
                // were routed by the same map, and follow it in their order.
                self.number.next = self.first_number();
                while !self.open.is_empty() {
                    self.end_front(Err(Failure::WrongShard { endpoint: endpoint.clone() }));
                }
                // Of those, copies may still be applied where the epoch is the server's own.
                if refusal == Refusal::NotOwned {
                    self.must_close = true;
                    if let State::Up(connected) = &self.state {
                        self.close(connected.clone());
                    }
                }
            }
            Refusal::Malformed | Refusal::NoSuchShard => {
                let is_lost = self.open.front().expect("it was refused").is_lost;
                self.end_front(Err(if is_lost {
                    Failure::ReplyLost { endpoint, reason: detail }
                } else {
                    Failure::Refused { endpoint, refusal, detail }
                }));
                // It consumed no number, so those behind it need others.
                self.must_close = true;
                if let State::Up(connected) = &self.state {
                    self.close(connected.clone());
                }
            }
            Refusal::DifferentBytes
            | Refusal::RecordGone
            | Refusal::LaneClosed
            | Refusal::Passed => {
                // The server knows the number otherwise than we do, so all that is open is unknown.
                for frame in &mut self.open {
                    frame.is_lost = true;
                }
                self.give_up(&detail);
                self.break_off(&detail);
            }
        }
    }

    /// The number of the first frame that is open, or of the one that would be.
    fn first_number(&self) -> u64 {
        let numbered = self.open.iter().find(|frame| frame.mutates);
        numbered.map_or(self.number.next, |frame| frame.number)
    }

    /// The server broke the protocol: nothing that is open can be believed.
    fn wrong_reply(&mut self, detail: &str) {
        let endpoint = self.link.endpoint.to_string();
        let detail = detail.to_owned();
        self.end_front(Err(Failure::WrongReply { endpoint, detail: detail.clone() }));
        self.must_close = true;
        self.give_up(&detail);
        self.break_off(&detail);
    }

    /// The connection is not good any more: what was on its way is lost.
    fn break_off(&mut self, reason: &str) {
        for frame in &mut self.open {
            frame.is_lost |= frame.call.take().is_some() || frame.answer.take().is_some();
        }
        tracing::debug!(endpoint = %self.link.endpoint, %reason, "lane connects again");
        self.stale = self.generation;
        self.wait(reason);
    }

    /// Tries again, the first time at once and then after a pause; or gives up.
    fn wait(&mut self, reason: &str) {
        let now = Instant::now();
        let failing = *self.failing.get_or_insert(now);
        if now.duration_since(failing) >= self.retry {
            self.give_up(reason);
            self.failing = Some(now);
        }
        self.state = match self.attempts.checked_sub(1) {
            None => State::Connecting(self.link.connect(self.place, self.stale)),
            Some(pauses) => {
                let pause = backoff(pauses, self.number.lane);
                State::Waiting(Box::pin(tokio::time::sleep(pause)))
            }
        };
        self.attempts = self.attempts.saturating_add(1);
    }

    /// Ends all that is open: unknown where it may have been applied.
    fn give_up(&mut self, reason: &str) {
        let waited = self.failing.map_or(Duration::ZERO, |since| since.elapsed());
        // Numbers that were never sent are used again; a closed lane is numbered anew.
        self.number.next = self.first_number();
        while let Some(frame) = self.open.front() {
            let endpoint = self.link.endpoint.to_string();
            let reason = reason.to_owned();
            let is_lost = frame.is_lost || frame.call.is_some() || frame.answer.is_some();
            self.must_close |= frame.mutates && (is_lost || frame.was_sent);
            self.end_front(Err(if is_lost {
                Failure::ReplyLost { endpoint, reason }
            } else {
                Failure::Unavailable { endpoint, waited, reason }
            }));
        }
    }

    fn connected(&mut self, connected: Connected) {
        self.generation = connected.generation;
        // A pause without a broken connection ends with the same one.
        self.stale = self.generation - 1;
        let before = self.number.session;
        let now = connected.life.session;
        self.life = Arc::clone(&connected.life);
        if before != now {
            // What was lost in an old session stays unknown; a refused frame was not applied.
            let endpoint = self.link.endpoint.to_string();
            while self.open.front().is_some_and(|frame| frame.is_lost) {
                let failure = if before.data_id == now.data_id {
                    let reason = "its session expired".to_owned();
                    Failure::ReplyLost { endpoint: endpoint.clone(), reason }
                } else {
                    Failure::Restarted { endpoint: endpoint.clone() }
                };
                self.end_front(Err(failure));
            }
            tracing::debug!(%endpoint, "lane begins in a new session");
            // No batch of the old session is executed any more, so there is nothing to close.
            self.must_close = false;
            self.reopen(connected);
        } else if self.must_close {
            self.close(connected);
        } else {
            self.state = State::Up(connected);
        }
    }

    /// Asks the server to execute nothing more of this lane.
    fn close(&mut self, connected: Connected) {
        let session = self.number.session;
        let request = ControlRequest::CloseLane { session, lane: self.number.lane };
        let link = Arc::clone(&self.link);
        let channel = connected.channel.clone();
        let closing = async move { link.control(&channel, request).await };
        self.state = State::Closing(connected, closing.boxed());
    }

    /// Goes on as a new lane.
    fn reopen(&mut self, connected: Connected) {
        self.must_close = false;
        let session = connected.life.session;
        self.number = LaneNumber { session, lane: self.link.new_lane(), next: 1 };
        self.renumber();
        self.state = State::Up(connected);
    }

    /// Numbers the open frames from the next number on; none of them was applied, or can be under
    /// its old number.
    fn renumber(&mut self) {
        let mut header = self.next_header(true);
        header.lowest_open = header.number;
        for frame in &mut self.open {
            let old = batch::read_header(&frame.body).expect("a batch of our own");
            self.number.next += u64::from(frame.mutates);
            frame.number = self.number.next - 1;
            header.number = frame.number;
            (header.epoch, header.first_stamp) = (old.epoch, old.first_stamp);
            frame.body = batch::with_header(&frame.body, &header);
        }
    }
}

impl Drop for ServerLane {
    fn drop(&mut self) {
        if self.open.is_empty() && !self.must_close {
            self.link.give_lane(self.number);
        }
    }
}
