//! What the core and the zygote tell each other. Compiled into both.
//!
//! The strings of an order lie in memory that both have mapped, in a slot which is the new process's until its program is
//! loaded: its stack is there too.

use core::ffi::c_int;
use core::sync::atomic::{AtomicI32, AtomicU32};

use crate::program::Program;

/// The zygote's descriptors: /dev/null as 0, 1 and 2, and these. What an order brings comes behind.
pub const SOCKET: c_int = 3;
/// Both are closed once they are of no more use.
pub const MEMORY: c_int = 4;
pub const IMAGE: c_int = 5;

/// Where the zygote has the slots.
pub const BASE: usize = 1 << 36;
/// What the new process needs until its program is loaded, and more; at the end of its slot.
pub const STACK: usize = 8 << 10;

/// What both use at any time.
#[repr(C)]
pub struct State {
    /// Not 0 until the new process has memory of its own or is gone: the kernel resets it.
    pub loading: AtomicU32,
    /// The new process's number, as soon as there is one.
    pub pid: AtomicI32,
    /// Why it did not become the program: a `Failure`'s bits, or 0.
    pub failure: AtomicU32,
}

#[repr(C, align(16))]
pub struct Slot {
    pub state: State,
    pub open_files: [u64; 2],
    /// The zygote sets those of the two pipes.
    pub descriptors: [c_int; 3],
    pub program: Program,
}

/// Comes with the writing ends of two pipes and, to put the process there, the descriptor of a cgroup.
#[repr(C)]
pub struct Order {
    /// Where the slot begins, and how large it is.
    pub offset: usize,
    pub size: usize,
}

/// Comes with the process's pidfd, if there is a process.
#[repr(C)]
pub struct Answer {
    pub pid: c_int,
    pub errno: c_int,
}
