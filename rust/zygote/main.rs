//! The zygote: a process of a few pages that makes the core's commands in its place.
//!
//! It never waits for a program to be loaded, so that one that cannot be does not hold up others: the new process shares
//! the zygote's memory until then, and touches nothing of it but its slot. It is the core's child, not the zygote's.

#![no_std]
#![no_main]

mod descriptor_message;
mod order;
#[path = "../program.rs"]
mod program;
mod system_call;

use core::ffi::c_int;
use core::sync::atomic::Ordering;

use descriptor_message::{receive, send};
use order::{Answer, BASE, IMAGE, MEMORY, Order, SOCKET, STACK, Slot};
use program::become_program;
use system_call::{clone_with, number, system_call};

const READ_AND_WRITE: usize = 3;
const SHARED: usize = 1;
const FIXED_WITHOUT_REPLACING: usize = 0x10_0000;
const SEEK_END: usize = 2;
const SET_DESCRIPTOR_FLAGS: usize = 2;
const CLOSE_ON_EXEC: usize = 1;
const SET_NAME: usize = 15;
const SET_MASK: usize = 2;
const CLONE_VM: usize = 0x100;
const CLONE_PIDFD: usize = 0x1000;
const CLONE_PARENT: usize = 0x8000;
const CLONE_CHILD_CLEARTID: usize = 0x20_0000;
const CLONE_INTO_CGROUP: usize = 0x2_0000_0000;
const MFILE: c_int = 24;

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(".globl _start", "_start:", "xor ebp, ebp", "and rsp, -16", "call {serve}", "ud2", serve = sym serve);
#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(".globl _start", "_start:", "mov x29, xzr", "bl {serve}", "brk #1", serve = sym serve);

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    exit(1)
}

#[repr(C)]
struct CloneArguments {
    flags: usize,
    pidfd: usize,
    child_tid: usize,
    parent_tid: usize,
    exit_signal: usize,
    stack: usize,
    stack_size: usize,
    tls: usize,
    set_tid: usize,
    set_tid_size: usize,
    cgroup: usize,
}

extern "C" fn serve() -> ! {
    // SAFETY: nothing is mapped there, and the calls write nothing else but what `receive` is given.
    unsafe {
        // They are for the core; what it makes starts with a mask of its own.
        let all = u64::MAX;
        let _ = system_call(number::RT_SIGPROCMASK, [SET_MASK, &raw const all as usize, 0, 8]);
        let _ = system_call(number::PRCTL, [SET_NAME, c"tailrace-spawn".as_ptr() as usize]);
        let _ = system_call(number::FCNTL, [SOCKET as usize, SET_DESCRIPTOR_FLAGS, CLOSE_ON_EXEC]);
        let Ok(size) = system_call(number::LSEEK, [MEMORY as usize, 0, SEEK_END]) else { exit(1) };
        let flags = SHARED | FIXED_WITHOUT_REPLACING;
        if system_call(number::MMAP, [BASE, size, READ_AND_WRITE, flags, MEMORY as usize, 0]) != Ok(BASE) {
            exit(1);
        }
        close(MEMORY);
        close(IMAGE);
        loop {
            let mut order = Order { offset: 0, size: 0 };
            let received = receive(SOCKET, (&raw mut order).cast(), size_of::<Order>());
            if received.length != Ok(size_of::<Order>()) {
                // The core has closed its end, or has gone.
                exit(0);
            }
            let [stdout, stderr, cgroup, ..] = received.descriptors;
            let made = if received.count < 2 { Err(MFILE) } else { make(&order, [stdout, stderr], cgroup) };
            answer(made);
            for descriptor in received.descriptors {
                if descriptor >= 0 {
                    close(descriptor);
                }
            }
            if let Ok((_, pidfd)) = made {
                close(pidfd);
            }
        }
    }
}

/// Returns the new process's number and pidfd.
///
/// # Safety
///
/// The order is one that the core gave.
unsafe fn make(order: &Order, pipes: [c_int; 2], cgroup: c_int) -> Result<(c_int, c_int), c_int> {
    let address = BASE + order.offset;
    let slot = address as *mut Slot;
    let mut pidfd: c_int = -1;
    let pidfd_at = &raw mut pidfd as usize;
    let mut flags = CLONE_VM | CLONE_PARENT | CLONE_PIDFD | CLONE_CHILD_CLEARTID;
    // SAFETY: until its program is loaded, the slot is the new process's.
    unsafe {
        (*slot).descriptors = [0, pipes[0], pipes[1]];
        let loading = &raw const (*slot).state.loading as usize;
        let top = address + order.size;
        let pid = if cgroup < 0 {
            #[cfg(target_arch = "x86_64")]
            let arguments = [flags, top, pidfd_at, loading, 0];
            #[cfg(target_arch = "aarch64")]
            let arguments = [flags, top, pidfd_at, 0, loading];
            clone_with(number::CLONE, arguments, run, slot)?
        } else {
            flags |= CLONE_INTO_CGROUP;
            let arguments = CloneArguments {
                flags,
                pidfd: pidfd_at,
                child_tid: loading,
                parent_tid: 0,
                exit_signal: 0,
                stack: top - STACK,
                stack_size: STACK,
                tls: 0,
                set_tid: 0,
                set_tid_size: 0,
                cgroup: cgroup as usize,
            };
            let arguments = [&raw const arguments as usize, size_of::<CloneArguments>(), 0, 0, 0];
            clone_with(number::CLONE3, arguments, run, slot)?
        };
        Ok((pid as c_int, (&raw const pidfd).read_volatile()))
    }
}

/// What the new process does.
unsafe extern "C" fn run(slot: *mut Slot) {
    // SAFETY: the slot is this process's, and the socket is the zygote's: once that has gone, nobody else may keep it.
    unsafe {
        let pid = system_call(number::GETPID, []).unwrap_or(0);
        (*slot).state.pid.store(pid as c_int, Ordering::Release);
        close(SOCKET);
        let failure = become_program(&(*slot).program);
        (*slot).state.failure.store(failure.to_bits(), Ordering::Release);
    }
    exit(127)
}

fn answer(made: Result<(c_int, c_int), c_int>) {
    let (answer, pidfd) = match made {
        Ok((pid, pidfd)) => (Answer { pid, errno: 0 }, pidfd),
        Err(errno) => (Answer { pid: 0, errno }, -1),
    };
    let descriptors = [pidfd];
    let sent = if made.is_ok() { &descriptors[..] } else { &[] };
    // SAFETY: it is the answer's length.
    unsafe { send(SOCKET, (&raw const answer).cast(), size_of::<Answer>(), sent) };
}

fn close(descriptor: c_int) {
    // SAFETY: whoever calls this knows that nobody needs it.
    let _ = unsafe { system_call(number::CLOSE, [descriptor as usize]) };
}

fn exit(status: usize) -> ! {
    loop {
        // SAFETY: it does not come back.
        let _ = unsafe { system_call(number::EXIT_GROUP, [status]) };
    }
}
