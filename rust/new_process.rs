//! Making a process, as posix_spawn(3) does, which cannot give it limits other than this process's.
//!
//! The new process borrows this one's memory, and its maker waits, until its program is loaded: that takes the same
//! short time however much memory there is to copy. Until then it may do nothing but system calls.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, waitpid};

use crate::program::{Failure, Program, Step, become_program};
use crate::signal_mask::with_signals_blocked;

/// More than the few frames need that there are until the program is loaded.
const STACK: usize = 64 << 10;

/// What a process is to become. It leads a session of its own, with an empty signal mask and default dispositions.
pub struct NewProcess<'a> {
    pub program: Executable<'a>,
    pub argv: &'a [&'a CStr],
    pub envp: &'a [&'a CStr],
    pub cwd: Option<&'a CStr>,
    /// Its descriptors 0, 1 and so on, and it has no others. The number of each is greater than the last of these.
    pub descriptors: &'a [BorrowedFd<'a>],
    /// How many open files it is limited to at first, if not to as many as this process.
    pub open_files: Option<[u64; 2]>,
}

#[derive(Clone, Copy)]
pub enum Executable<'a> {
    /// The first of these that can be executed.
    Files(&'a [&'a CStr]),
    /// The file that is open there as this descriptor.
    Descriptor(RawFd),
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self { step: Step::Prepare, errno: errno.raw_os_error() }
    }
}

/// The process to make, and why it could not become what it was to be: 0 unless it says so.
struct Making {
    program: Program,
    failure: AtomicU32,
}

impl NewProcess<'_> {
    /// Make the process. Returns its number and a descriptor for it once its program is loaded.
    pub fn start(&self) -> Result<(Pid, OwnedFd), Failure> {
        self.start_with(0)
    }

    /// The same with more of clone(2)'s flags.
    pub fn start_with(&self, flags: c_int) -> Result<(Pid, OwnedFd), Failure> {
        let (files, image) = match self.program {
            Executable::Files(files) => (pointers(files), -1),
            Executable::Descriptor(image) => (pointers(&[]), image),
        };
        let (argv, envp) = (pointers(self.argv), pointers(self.envp));
        let descriptors: Vec<RawFd> = self.descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let program = Program {
            files: files.as_ptr(),
            image,
            argv: argv.as_ptr(),
            envp: envp.as_ptr(),
            cwd: self.cwd.map_or(std::ptr::null(), CStr::as_ptr),
            descriptors: descriptors.as_ptr(),
            descriptor_count: descriptors.len() as c_int,
            open_files: self.open_files.as_ref().map_or(std::ptr::null(), std::ptr::from_ref),
            made_by_host: true,
        };
        let making = Making { program, failure: AtomicU32::new(0) };
        let mut stack = Vec::<MaybeUninit<u128>>::with_capacity(STACK / size_of::<u128>());
        let mut pidfd: RawFd = -1;
        let flags = flags | libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
        // A handler of this process must not run in the other, which it could not tell from this one.
        let pid = with_signals_blocked(|| {
            let top = stack.spare_capacity_mut().as_mut_ptr_range().end;
            // SAFETY: the stack is aligned, large enough and nobody else's; with CLONE_VFORK it, `making` and what that
            // refers to outlive their use, since this thread waits until the other process has memory of its own or is
            // gone. What `become_program` calls is safe in memory that is shared with threads at any point of theirs.
            unsafe { libc::clone(run, top.cast(), flags, (&raw const making).cast_mut().cast(), &raw mut pidfd) }
        });
        if pid < 0 {
            return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::AGAIN).into());
        }
        let pid = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
        // SAFETY: the kernel has just made this descriptor for us, with the process.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        match Failure::from_bits(making.failure.load(Ordering::Relaxed)) {
            None => Ok((pid, pidfd)),
            Some(failure) => {
                // It has ended already, unless somebody else has collected it too.
                let _ = waitpid(Some(pid), WaitOptions::empty());
                Err(failure)
            }
        }
    }
}

/// Strings the way the kernel takes them: pointers, and NULL behind the last.
fn pointers(strings: &[&CStr]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain(std::iter::once(std::ptr::null())).collect()
}

/// What the new process does.
extern "C" fn run(making: *mut c_void) -> c_int {
    // SAFETY: `start_with` passes it, and waits.
    let making = unsafe { &*making.cast::<Making>() };
    // SAFETY: this process is here for nothing else, and the pointers are to what `start_with` keeps.
    let failure = unsafe { become_program(&making.program) };
    making.failure.store(failure.to_bits(), Ordering::Relaxed);
    // Ends this process, without anything of its maker's being run (clone(2)).
    127
}
