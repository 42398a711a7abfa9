//! The program when something happens that it cannot go on after.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use model::operation::{Action, Operation};
use model::session::{SessionId, SessionOptions};
use proto::batch::{BatchHeader, GroupEncoder, assemble};
use proto::codec::{ClientCodec, Request, Response};
use proto::control::{ControlRequest, ControlResponse};
use proto::frame::VERSIONS;
use proto::reply::Reply;
use tarpc::ClientMessage;
use tokio_util::codec::{Decoder, Encoder};

/// Address space of the program, in KiB. What fails first in it is the next larger table.
const MEMORY_KIB: u32 = 560_000;
/// Far more batches than fit.
const BATCHES_MAX: u64 = 2_000;
const SIGABRT: i32 = 6;

/// Ends the program with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended already where all is well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A peer that waits for each answer.
struct Peer {
    stream: TcpStream,
    codec: ClientCodec,
    unread: BytesMut,
}

impl Peer {
    /// The answer; `None` when the server has closed the connection.
    fn ask(&mut self, id: u64, message: Request) -> Option<Response> {
        let request = tarpc::Request { context: tarpc::context::current(), id, message };
        let mut bytes = BytesMut::new();
        self.codec.encode(ClientMessage::Request(request), &mut bytes).unwrap();
        self.stream.write_all(&bytes).ok()?;
        let mut piece = vec![0; 1 << 16];
        loop {
            if let Some(response) = self.codec.decode(&mut self.unread).unwrap() {
                return Some(response.message.unwrap());
            }
            match self.stream.read(&mut piece) {
                Ok(0) | Err(_) => return None,
                Ok(length) => self.unread.extend_from_slice(&piece[..length]),
            }
        }
    }
}

/// 10,000 keys of their own.
fn batch(session: SessionId, number: u64) -> Request {
    let header = BatchHeader {
        session,
        shard: 1,
        lane: 1,
        epoch: 1,
        number,
        lowest_open: number,
        first_stamp: 1,
    };
    let mut encoder = GroupEncoder::default();
    for index in 0..10_000 {
        let key = format!("{number}:{index}");
        let action = Action::Put { value: b"v" };
        encoder.push(index, &Operation { key: key.as_bytes(), action });
    }
    Request::Batch(assemble(&header, &[(0, &encoder)]))
}

/// scc panics when the system gives it no memory for a larger table: in the middle of a command.
#[test]
fn a_panic_while_a_command_is_applied_aborts_the_program_with_one_line() {
    let server = format!("ulimit -v {MEMORY_KIB}; exec \"$0\" \"$@\"");
    let mut program = Command::new("sh");
    program.args(["-c", &server, env!("CARGO_BIN_EXE_kvs-server")]);
    program.args("-listen 127.0.0.1 -port 0 -threads 1 -partitions 1 -store scc".split(' '));
    program.env_remove("RUST_LOG").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut program = Program(program.spawn().unwrap());
    let mut lines = BufReader::new(program.0.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let address = first.split(' ').nth(2).unwrap();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut peer =
        Peer { stream, codec: ClientCodec::new(Arc::default()), unread: BytesMut::new() };
    let open_session = Some(SessionOptions { send_repeats_once: false });
    let hello = ControlRequest::Hello { versions: VERSIONS, open_session };
    let Some(Response::Control(ControlResponse::Hello(hello))) =
        peer.ask(1, Request::Control(hello))
    else {
        panic!("a hello is answered by one")
    };
    let mut applied = 0;
    for number in 1..=BATCHES_MAX {
        match peer.ask(1 + number, batch(hello.session.unwrap(), number)) {
            Some(Response::Batch(frame)) => {
                let reply = Reply::decode(frame.freeze()).unwrap();
                assert_eq!(reply.refusal(), None);
                applied = number;
            }
            Some(other) => panic!("a batch is answered by its reply, not {other:?}"),
            None => break,
        }
    }
    assert!((1..BATCHES_MAX).contains(&applied), "it served until its memory ended: {applied}");
    let mut said = String::new();
    program.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let status = program.0.wait().unwrap();
    assert_eq!(status.signal(), Some(SIGABRT), "{said}");
    let ours: Vec<&str> = said.lines().filter(|line| line.starts_with("kvs-server: ")).collect();
    assert_eq!(ours.len(), 1, "{said}");
    assert!(ours[0].contains("a command panicked while it was applied"), "{said}");
    assert!(TcpStream::connect(address).is_err(), "nobody accepts and never answers");
}
