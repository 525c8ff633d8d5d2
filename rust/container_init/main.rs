//! The first process of a container: it runs one command, and sees to it that nothing outlives the command or its host.
//!
//! It connects to the host by a socket in a folder that both share, and is sent the pipes that the host reads, so that no
//! engine has to copy what the command writes; a file for what became of the command, since engines tell 128+N for one
//! that signal N ended and for one that exits so by itself, and 127 for what is not there as for any other exit; a file of
//! variables; and a link to its stand-in on the host. At the end of that link, or at a signal, all processes are asked to
//! terminate, and killed after the grace. That needs no engine, which may be gone by then. The command gets none of
//! these but the pipes, so that it can neither keep up the link nor write the file.
//!
//! Arguments: the grace in milliseconds, the command, its arguments. The stand-in is this program too: see there.

#![no_std]
#![no_main]

mod arena;
#[path = "../zygote/descriptor_message.rs"]
mod descriptor_message;
mod kernel;
mod link;
mod memory;
mod outcome;
#[allow(dead_code)]
#[path = "../program.rs"]
mod program;
mod stand_in;
#[path = "../zygote/system_call.rs"]
mod system_call;

use core::ffi::{CStr, c_char, c_int};
use core::ptr;

use arena::Arena;
use kernel::{CHILDREN_CHANGED, EVERYBODY, KILL, Sender, TERMINATE, exit};
use outcome::{EndedBy, Kind, Outcome};
use program::{Program, Step, become_program};
use stand_in::stand_in;
use system_call::{clone_with, number};

const SOCKET: &CStr = c"/.tailrace/socket";
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const STACK: usize = 64 << 10;
const SHARING_MEMORY_UNTIL_LOADED: usize = 0x100 | 0x4000;

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(".globl _start", "_start:", "xor ebp, ebp", "mov rdi, rsp", "and rsp, -16", "call {start}", "ud2", start = sym start);
#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(".globl _start", "_start:", "mov x29, xzr", "mov x0, sp", "bl {start}", "brk #1", start = sym start);

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    exit(125)
}

/// The core library's code names it, to find out of frames that are never unwound here.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// What the new process shares with this one until its program is loaded.
struct Child {
    program: Program,
    failure: u32,
}

/// `stack` is what the kernel has put there: the number of arguments, the arguments, NULL, the variables, NULL.
unsafe extern "C" fn start(stack: *const usize) -> ! {
    // SAFETY: that is how every program begins, and nothing of it is ever freed.
    unsafe {
        let argument_count = *stack;
        let arguments = stack.add(1).cast::<*const c_char>();
        if argument_count == 2 {
            stand_in(CStr::from_ptr(*arguments.add(1)));
        }
        if argument_count < 3 || kernel::own_number() != 1 {
            // `kill(-1)` would reach everybody else's processes.
            exit(125);
        }
        let grace = to_number(*arguments.add(1));
        let argv = arguments.add(2);
        let inherited = arguments.add(argument_count + 1);
        kernel::shut_off();
        let Ok(signals) = kernel::signals_as_descriptor() else { exit(125) };
        let Ok(host) = link::connect(SOCKET) else { exit(125) };
        // It is never closed: at its end the host sees that this process is gone.
        let Some([link, stdout, stderr, outcome, variables]) = link::receive_descriptors(host) else {
            // The host is gone, or wants the command no more.
            exit(0)
        };
        let mut outcome = Outcome::begun(outcome);
        let mut arena = Arena::new();
        let environment = merged(&mut arena, kernel::map_file(variables), inherited);
        let descriptors = [0, stdout, stderr];
        let files = candidates(&mut arena, *argv, value_of(environment, b"PATH").unwrap_or(DEFAULT_PATH));
        let mut child = Child {
            program: Program {
                files,
                image: -1,
                argv,
                envp: environment,
                cwd: ptr::null(),
                descriptors: descriptors.as_ptr(),
                descriptor_count: descriptors.len() as c_int,
                open_files: ptr::null(),
                made_by_host: false,
            },
            failure: 0,
        };
        let top = arena.take(STACK) as usize + STACK;
        let arguments = [SHARING_MEMORY_UNTIL_LOADED | CHILDREN_CHANGED as usize, top, 0, 0, 0];
        let made = clone_with(number::CLONE, arguments, run, &raw mut child);
        let failure = (&raw const child.failure).read_volatile();
        let command = match made {
            Ok(pid) if failure == 0 => pid as c_int,
            Ok(_) => {
                outcome.finish(
                    if failure >> 16 == Step::Program as u32 { Kind::NoProgram } else { Kind::NotStarted },
                    failure as i64 & 0xffff,
                );
                exit(127)
            }
            Err(errno) => {
                outcome.finish(Kind::NotStarted, errno as i64);
                exit(126)
            }
        };
        watch(command, link, signals, grace, &mut outcome)
    }
}

/// What the new process does.
unsafe extern "C" fn run(child: *mut Child) {
    // SAFETY: the other process waits until this one has its program, or has gone.
    unsafe {
        let failure = become_program(&(*child).program);
        (&raw mut (*child).failure).write_volatile(failure.to_bits());
    }
    exit(127)
}

/// Wait for the command, then end what it left; end everything if anybody asks for it.
fn watch(command: c_int, link: c_int, signals: c_int, grace: u64, outcome: &mut Outcome) -> ! {
    let mut status = None;
    let mut deadline = None;
    let is_all_gone = loop {
        let is_all_gone = loop {
            match kernel::collect(false) {
                Ok(Some((pid, ended))) if pid == command => status = Some(ended),
                Ok(Some(_)) => {}
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        let now = kernel::milliseconds();
        if is_all_gone || (status.is_some() && deadline.is_none()) || deadline.is_some_and(|deadline| now >= deadline) {
            break is_all_gone;
        }
        let timeout = deadline.map(|deadline| deadline - now);
        let heard = kernel::wait(signals, if deadline.is_none() { link } else { -1 }, timeout);
        let sender = if heard.end_of_link { Some(Sender::Outside) } else { heard.request };
        if let Some(sender) = sender
            && deadline.is_none()
        {
            outcome.ended_by = if sender == Sender::Inside { EndedBy::Inside } else { EndedBy::Outside };
            deadline = Some(kernel::milliseconds() + grace);
            kernel::kill(EVERYBODY, TERMINATE);
        }
    };
    if !is_all_gone {
        kernel::kill(EVERYBODY, KILL);
        while let Ok(Some((pid, ended))) = kernel::collect(true) {
            if pid == command {
                status = Some(ended);
            }
        }
    }
    // As wait(2) has it: the signal, or the exit code above it.
    let status = status.unwrap_or(KILL);
    let signal = status & 0x7f;
    let code = status >> 8 & 0xff;
    let (kind, number, code) =
        if signal == 0 { (Kind::Exited, code, code) } else { (Kind::Signalled, signal, 128 + signal) };
    outcome.finish(kind, number as i64);
    // The host reads it when the link ends.
    link::hang_up(link);
    exit(code as usize)
}

/// Return the variables of the job, which the host has written one after another, and those of the image that the job has
/// not.
unsafe fn merged(arena: &mut Arena, own: &'static [u8], inherited: *const *const c_char) -> *const *const c_char {
    // SAFETY: each of the strings ends with a zero byte, and the list with NULL; there is room for all of both.
    unsafe {
        let most = own.iter().filter(|byte| **byte == 0).count() + count(inherited) + 1;
        let list = arena.take(most * size_of::<usize>()).cast::<*const c_char>();
        let mut next = list;
        for variable in own.split_inclusive(|byte| *byte == 0) {
            *next = variable.as_ptr().cast();
            next = next.add(1);
        }
        for index in 0..count(inherited) {
            let variable = CStr::from_ptr(*inherited.add(index)).to_bytes();
            let name = variable.split_inclusive(|byte| *byte == b'=').next().unwrap_or(variable);
            if !own.split(|byte| *byte == 0).any(|other| other.starts_with(name)) {
                *next = *inherited.add(index);
                next = next.add(1);
            }
        }
        *next = ptr::null();
        list
    }
}

unsafe fn count(list: *const *const c_char) -> usize {
    let mut length = 0;
    // SAFETY: it ends with NULL.
    while unsafe { !(*list.add(length)).is_null() } {
        length += 1;
    }
    length
}

unsafe fn value_of<'a>(variables: *const *const c_char, name: &[u8]) -> Option<&'a [u8]> {
    // SAFETY: the list ends with NULL; its strings stay.
    unsafe {
        (0..count(variables)).find_map(|index| {
            let variable = CStr::from_ptr(*variables.add(index)).to_bytes();
            variable.strip_prefix(name)?.strip_prefix(b"=")
        })
    }
}

/// Return where the command may be: in the folders of the path, unless it says so itself.
unsafe fn candidates(arena: &mut Arena, command: *const c_char, path: &[u8]) -> *const *const c_char {
    // SAFETY: there is room for all, with a slash and a zero byte each, and for NULL.
    unsafe {
        let name = CStr::from_ptr(command).to_bytes();
        let folders = if name.contains(&b'/') { &path[..0] } else { path };
        let most = folders.iter().filter(|byte| **byte == b':').count() + 2;
        let list = arena.take(most * size_of::<usize>()).cast::<*const c_char>();
        if name.contains(&b'/') {
            *list = command;
            *list.add(1) = ptr::null();
            return list;
        }
        let mut next = list;
        for folder in folders.split(|byte| *byte == b':') {
            // An empty one is the current one.
            let folder = if folder.is_empty() { b"." } else { folder };
            let file = arena.take(folder.len() + name.len() + 2);
            let mut end = file;
            for byte in folder.iter().chain(b"/").chain(name).chain(b"\0") {
                end.write_volatile(*byte);
                end = end.add(1);
            }
            *next = file.cast();
            next = next.add(1);
        }
        *next = ptr::null();
        list
    }
}

unsafe fn to_number(text: *const c_char) -> u64 {
    // SAFETY: arguments end with a zero byte.
    let digits = unsafe { CStr::from_ptr(text).to_bytes() };
    digits.iter().fold(0_u64, |sum, digit| sum.wrapping_mul(10).wrapping_add(u64::from(digit.wrapping_sub(b'0'))))
}
