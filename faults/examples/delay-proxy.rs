//! A TCP proxy that delays all that passes through it, each way by the same time, and keeps its order
//! and its rate: a longer wire, not a slower one.
//!
//!     cargo run --release --package faults --example delay-proxy -- 127.0.0.1:8080 1000 PORT_FILE
//!
//! The arguments are the server, the delay each way in microseconds, and a file that the proxy's own
//! port is written to, which the system chooses. It runs until it is ended. Threads wait, because
//! they sleep exactly to some 60 us, and an asynchronous runtime's timer counts in milliseconds.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of a read.
const READ_BYTES: usize = 256 << 10;

/// Pieces on their way in one direction; its reader waits beyond that.
const PIECES_MAX: usize = 1024;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, delay_us, port_file] = &arguments[..] else {
        return Err("usage: delay-proxy host:port MICROSECONDS PORT_FILE".into());
    };
    let delay = Duration::from_micros(delay_us.parse()?);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    std::fs::write(port_file, format!("{}\n", listener.local_addr()?.port()))?;
    loop {
        let (client, _) = listener.accept()?;
        let server = TcpStream::connect(server)?;
        for stream in [&client, &server] {
            stream.set_nodelay(true)?;
        }
        direction(client.try_clone()?, server.try_clone()?, delay);
        direction(server, client, delay);
    }
}

/// Passes on what comes, each piece when its time has come, until a side leaves.
fn direction(from: TcpStream, to: TcpStream, delay: Duration) {
    let (pieces, queue) = sync_channel(PIECES_MAX);
    thread::spawn(move || take(from, &pieces, delay));
    thread::spawn(move || {
        // A side that has left ends the direction, and the other one sees it.
        let _ = give(&to, &queue);
        let _ = to.shutdown(std::net::Shutdown::Both);
    });
}

fn take(mut from: TcpStream, pieces: &SyncSender<(Instant, Vec<u8>)>, delay: Duration) {
    let mut received = vec![0; READ_BYTES];
    while let Ok(length @ 1..) = from.read(&mut received) {
        if pieces.send((Instant::now() + delay, received[..length].to_vec())).is_err() {
            return;
        }
    }
}

fn give(mut to: &TcpStream, queue: &Receiver<(Instant, Vec<u8>)>) -> io::Result<()> {
    for (due, piece) in queue {
        let early = due.saturating_duration_since(Instant::now());
        if !early.is_zero() {
            thread::sleep(early);
        }
        to.write_all(&piece)?;
    }
    Ok(())
}
