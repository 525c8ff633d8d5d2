//! What the container's first process asks of the kernel.

use core::ffi::{CStr, c_int};
use core::slice;

use crate::system_call::{number, system_call};

pub const KILL: c_int = 9;
pub const TERMINATE: c_int = 15;
pub const CHILDREN_CHANGED: c_int = 17;
/// For `kill`: all processes that this one sees, but for itself.
pub const EVERYBODY: c_int = -1;

/// SIGHUP, SIGINT, SIGQUIT and SIGTERM.
const REQUESTS: u64 = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14;
const SET_DUMPABLE: usize = 4;
const SET_MASK: usize = 2;
const SIGNAL_SET: usize = 8;
const HERE: usize = -100_isize as usize;
const NOT_BLOCKING: usize = 0o4000;
const CLOSE_ON_EXEC: usize = 0o2_000_000;
const READ_AND_WRITE: usize = 3;
const PRIVATE: usize = 2;
const ANONYMOUS: usize = 0x20;
const NO_FILE: usize = -1_isize as usize;
const SEEK_END: usize = 2;
const MONOTONIC: usize = 1;
const CHILDREN: usize = -1_isize as usize;
const ONLY_LOOK: usize = 1;
const READABLE: i16 = 1;
/// Where a `struct signalfd_siginfo` has these, in words of four bytes.
const SIGNAL_NUMBER: usize = 0;
const SIGNAL_SENDER: usize = 3;
const NONE_LEFT: c_int = 10;
const INTERRUPTED: c_int = 4;

#[repr(C)]
struct Watched {
    descriptor: c_int,
    wanted: i16,
    seen: i16,
}

pub fn exit(status: usize) -> ! {
    loop {
        // SAFETY: it does not come back.
        let _ = unsafe { system_call(number::EXIT_GROUP, [status]) };
    }
}

pub fn own_number() -> usize {
    // SAFETY: it has no arguments.
    unsafe { system_call(number::GETPID, []).unwrap_or(0) }
}

/// Have nobody of the container reach what this process has open, by /proc: proc(5), "dumpable" in prctl(2).
pub fn shut_off() {
    // SAFETY: it touches no memory.
    let _ = unsafe { system_call(number::PRCTL, [SET_DUMPABLE, 0]) };
}

fn open(path: &CStr) -> Result<c_int, c_int> {
    // SAFETY: the path is a string.
    unsafe { system_call(number::OPENAT, [HERE, path.as_ptr() as usize, CLOSE_ON_EXEC, 0]) }.map(|file| file as c_int)
}

/// Keep all signals from this process; return a descriptor that has the requests to end, and the news of children.
pub fn signals_as_descriptor() -> Result<c_int, c_int> {
    let all = u64::MAX;
    let heard = REQUESTS | 1 << (CHILDREN_CHANGED - 1);
    // SAFETY: both sets are read alone.
    unsafe {
        system_call(number::RT_SIGPROCMASK, [SET_MASK, &raw const all as usize, 0, SIGNAL_SET])?;
        let flags = NOT_BLOCKING | CLOSE_ON_EXEC;
        system_call(number::SIGNALFD4, [NO_FILE, &raw const heard as usize, SIGNAL_SET, flags])
            .map(|file| file as c_int)
    }
}

/// What `wait` was woken by.
pub struct Heard {
    /// A request to end, by a process of this container or by somebody outside.
    pub request: Option<Sender>,
    pub end_of_link: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    Outside,
    Inside,
}

/// Wait for signals and the end of the link, at most so many milliseconds. A negative descriptor is nobody.
pub fn wait(signals: c_int, link: c_int, timeout: Option<u64>) -> Heard {
    let mut watched = [
        Watched { descriptor: signals, wanted: READABLE, seen: 0 },
        Watched { descriptor: link, wanted: READABLE, seen: 0 },
    ];
    let limit = timeout.map(|milliseconds| [milliseconds / 1000, milliseconds % 1000 * 1_000_000]);
    let limit_at = limit.as_ref().map_or(0, |limit| limit.as_ptr() as usize);
    let mut request = None;
    // SAFETY: the kernel writes what it has seen, and reads the limit. A `struct signalfd_siginfo` has 128 bytes.
    unsafe {
        let _ = system_call(number::PPOLL, [watched.as_mut_ptr() as usize, watched.len(), limit_at, 0, SIGNAL_SET]);
        let mut signal = [0_u32; 32];
        while system_call(number::READ, [signals as usize, signal.as_mut_ptr() as usize, size_of_val(&signal)]).is_ok()
        {
            let field = |index: usize| (&raw const signal[index]).read_volatile();
            if field(SIGNAL_NUMBER) != CHILDREN_CHANGED as u32 && request != Some(Sender::Outside) {
                // Who is outside has no number in here: pid_namespaces(7).
                request = Some(if field(SIGNAL_SENDER) == 0 { Sender::Outside } else { Sender::Inside });
            }
        }
        Heard { request, end_of_link: (&raw const watched[1].seen).read_volatile() != 0 }
    }
}

pub fn kill(whom: c_int, signal: c_int) {
    // SAFETY: it touches no memory.
    let _ = unsafe { system_call(number::KILL, [whom as usize, signal as usize]) };
}

/// Collect a child that has ended: its number and status. None if none has, an error if there are no children.
pub fn collect(waits: bool) -> Result<Option<(c_int, c_int)>, c_int> {
    let mut status: c_int = 0;
    loop {
        let how = if waits { 0 } else { ONLY_LOOK };
        // SAFETY: the status is written alone.
        match unsafe { system_call(number::WAIT4, [CHILDREN, &raw mut status as usize, how, 0]) } {
            Ok(0) => return Ok(None),
            // SAFETY: it lives here.
            Ok(pid) => return Ok(Some((pid as c_int, unsafe { (&raw const status).read_volatile() }))),
            Err(INTERRUPTED) => {}
            Err(_) => return Err(NONE_LEFT),
        }
    }
}

pub fn milliseconds() -> u64 {
    let mut time = [0_u64; 2];
    // SAFETY: that is a `struct timespec`.
    unsafe {
        let _ = system_call(number::CLOCK_GETTIME, [MONOTONIC, time.as_mut_ptr() as usize]);
        let [seconds, nanoseconds] = (&raw const time).read_volatile();
        seconds * 1000 + nanoseconds / 1_000_000
    }
}

/// User and system time of all that was collected, in microseconds, and the peak of the largest, in KiB.
pub fn usage_of_children() -> [i64; 3] {
    // A `struct rusage`.
    let mut usage = [0_i64; 18];
    // SAFETY: it is as large.
    unsafe {
        let _ = system_call(number::GETRUSAGE, [CHILDREN, usage.as_mut_ptr() as usize]);
        let at = |index: usize| (&raw const usage[index]).read_volatile();
        [at(0) * 1_000_000 + at(1), at(2) * 1_000_000 + at(3), at(4)]
    }
}

pub fn write_at_start(file: c_int, bytes: *const u8, length: usize) {
    // SAFETY: the caller's bytes are read alone.
    let _ = unsafe { system_call(number::PWRITE64, [file as usize, bytes as usize, length, 0]) };
}

/// Read the beginning of a file, as far as there is room; nothing if it cannot be read.
pub fn read_file<'a>(path: &CStr, buffer: &'a mut [u8]) -> &'a [u8] {
    let Ok(file) = open(path) else { return &[] };
    // SAFETY: the kernel writes no more than there is room for.
    unsafe {
        let read = system_call(number::READ, [file as usize, buffer.as_mut_ptr() as usize, buffer.len()]);
        let _ = system_call(number::CLOSE, [file as usize]);
        slice::from_raw_parts(buffer.as_ptr(), read.unwrap_or(0))
    }
}

/// Return all of a file, for as long as this process lives; nothing if it cannot be read or is empty.
pub fn map_file(file: c_int) -> &'static [u8] {
    // SAFETY: the mapping is as long as the file, which nobody changes.
    unsafe {
        let size = system_call(number::LSEEK, [file as usize, 0, SEEK_END]).unwrap_or(0);
        match system_call(number::MMAP, [0, size, 1, PRIVATE, file as usize, 0]) {
            Ok(address) => slice::from_raw_parts(address as *const u8, size),
            Err(_) => &[],
        }
    }
}

pub fn map_memory(size: usize) -> usize {
    // SAFETY: it is nobody's yet.
    match unsafe { system_call(number::MMAP, [0, size, READ_AND_WRITE, PRIVATE | ANONYMOUS, NO_FILE, 0]) } {
        Ok(address) => address,
        Err(_) => exit(125),
    }
}
