//! What peers get wrong, by accident or on purpose, over real sockets.
//!
//! Each test sends a server something that no correct client sends, and holds it to four promises:
//!
//! - the guilty connection or batch gets an error that names what was wrong;
//! - every other connection goes on: a [`harness::Bystander`] reads and writes throughout, and
//!   fails the test if an answer is missing or wrong;
//! - nothing is applied by halves: the keys and their values are what correct batches made them;
//! - memory does not grow by what a peer merely announces.
//!
//! The server runs inside the test's process, on a free port, under a clock that the test moves.
//! When it is finished, the test fails if any connection's task panicked. Each group of tests has
//! a twin in which the same thing is done right and works.
//!
//! Two more groups hold what peers may rely on where nobody did wrong: answers that come late leave
//! in turn, and a server that ends answers what it has taken.
//!
//! Frames and batches are made by hand or from correct ones, and patched at the offsets that
//! [`proto::frame`] and [`proto::batch`] document.

#[path = "bad_input/batches.rs"]
mod batches;
#[path = "bad_input/client.rs"]
mod client;
#[path = "bad_input/control.rs"]
mod control;
#[path = "bad_input/damage.rs"]
mod damage;
#[path = "bad_input/frames.rs"]
mod frames;
#[path = "bad_input/harness.rs"]
mod harness;
#[path = "bad_input/late.rs"]
mod late;
#[path = "bad_input/resources.rs"]
mod resources;
#[path = "bad_input/sessions.rs"]
mod sessions;
#[path = "bad_input/stopping.rs"]
mod stopping;
