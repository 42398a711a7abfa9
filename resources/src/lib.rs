//! What a process and its host use, and what the host is.
//!
//! Servers and clients measure themselves by [`Sampler`], once a second, and write each [`Usage`]
//! into their log lines; reports read it back by the same type. [`Machine`] and [`Interface`] are
//! the facts of a host that a reader of a figure needs, and that a launcher asks for.
//!
//! - [`usage`]: CPU, memory, threads and traffic between two looks;
//! - [`memory`]: what is free on the host, and all that it has;
//! - [`machine`]: name, processor, cores, kernel, system;
//! - [`interface`]: network interfaces with their addresses and speeds.
//!
//! A figure that the system does not tell is `None`, an empty list, or left out of the line: never 0,
//! which would read as a measurement.

pub mod interface;
pub mod machine;
pub mod memory;
pub mod usage;

pub use interface::{Interface, interfaces};
pub use machine::{Machine, host_name};
pub use memory::Memory;
pub use usage::{Sampler, Traffic, Usage};
