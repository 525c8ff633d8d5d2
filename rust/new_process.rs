//! Making a process, as posix_spawn(3) does, which cannot give it limits other than this process's.
//!
//! The new process borrows this one's memory, and its maker waits, until its program is loaded: that takes the same
//! short time however much memory there is to copy. Until then it may do nothing but system calls.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, waitpid};

use crate::signal_mask::with_signals_blocked;

/// More than the few frames need that there are until the program is loaded.
const STACK: usize = 64 << 10;
/// Signals are numbered from 1 to this (signal(7)).
const LAST_SIGNAL: c_int = 64;

/// What a process is to become. It leads a session of its own, with an empty signal mask and default dispositions.
pub struct NewProcess<'a> {
    pub file: &'a CStr,
    pub argv: &'a Strings<'a>,
    pub envp: &'a Strings<'a>,
    pub cwd: Option<&'a CStr>,
    /// Its descriptors 0, 1 and so on, and it has no others. The number of each is greater than the last of these.
    pub descriptors: &'a [BorrowedFd<'a>],
    /// How many open files it is limited to at first, if not to as many as this process.
    pub open_files: Option<libc::rlimit>,
}

/// Strings the way the kernel takes them: pointers, and NULL behind the last.
pub struct Strings<'a> {
    pointers: Vec<*const c_char>,
    strings: std::marker::PhantomData<&'a CStr>,
}

impl<'a> Strings<'a> {
    pub fn new(strings: impl IntoIterator<Item = &'a CStr>) -> Self {
        let pointers = strings.into_iter().map(|string| string.as_ptr());
        Self {
            pointers: pointers.chain(std::iter::once(std::ptr::null())).collect(),
            strings: std::marker::PhantomData,
        }
    }
}

/// The process to make, and why it could not become what it was to be: 0 unless it says so.
struct Order<'a> {
    process: &'a NewProcess<'a>,
    error: AtomicI32,
}

impl NewProcess<'_> {
    /// Make the process. Returns its number and a descriptor for it once its program is loaded.
    pub fn start(&self) -> Result<(Pid, OwnedFd), Errno> {
        let order = Order { process: self, error: AtomicI32::new(0) };
        let mut stack = Vec::<MaybeUninit<u128>>::with_capacity(STACK / size_of::<u128>());
        let mut pidfd: RawFd = -1;
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
        // A handler of this process must not run in the other, which it could not tell from this one.
        let pid = with_signals_blocked(|| {
            let top = stack.spare_capacity_mut().as_mut_ptr_range().end;
            // SAFETY: the stack is aligned, large enough and nobody else's; with CLONE_VFORK it, the order and what that
            // refers to outlive their use, since this thread waits until the other process has memory of its own or is
            // gone. What `become_program` calls is safe in memory that is shared with threads at any point of theirs.
            unsafe {
                libc::clone(become_program, top.cast(), flags, (&raw const order).cast_mut().cast(), &raw mut pidfd)
            }
        });
        if pid < 0 {
            return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::AGAIN));
        }
        let pid = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
        // SAFETY: the kernel has just made this descriptor for us, with the process.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        match order.error.load(Ordering::Relaxed) {
            0 => Ok((pid, pidfd)),
            error => {
                // It has ended already, unless somebody else has collected it too.
                let _ = waitpid(Some(pid), WaitOptions::empty());
                Err(Errno::from_raw_os_error(error))
            }
        }
    }
}

/// What the new process does.
extern "C" fn become_program(order: *mut c_void) -> c_int {
    // SAFETY: `start` passes the order and waits.
    let order = unsafe { &*order.cast::<Order<'_>>() };
    let error = order.process.become_program();
    order.error.store(error, Ordering::Relaxed);
    // Ends this process, without anything of its maker's being run (clone(2)).
    127
}

impl NewProcess<'_> {
    /// Returns only if that was not possible: the errno.
    fn become_program(&self) -> c_int {
        // SAFETY: system calls and their thin wrappers, with pointers to live, NUL-terminated values. None takes a lock
        // or allocates. `errno` is that of the maker's thread, which waits.
        unsafe {
            libc::setsid();
            let mut default: libc::sigaction = std::mem::zeroed();
            default.sa_sigaction = libc::SIG_DFL;
            for signal in 1..=LAST_SIGNAL {
                // Refused for those that cannot be changed, and so need not be.
                libc::sigaction(signal, &default, std::ptr::null_mut());
            }
            if let Some(cwd) = self.cwd
                && libc::chdir(cwd.as_ptr()) < 0
            {
                return *libc::__errno_location();
            }
            let mut count = 0;
            for descriptor in self.descriptors {
                if libc::dup2(descriptor.as_raw_fd(), count) < 0 {
                    return *libc::__errno_location();
                }
                count += 1;
            }
            if libc::syscall(libc::SYS_close_range, count, c_int::MAX, 0) < 0 {
                // Older than Linux 5.9.
                self.close_each_from(count);
            }
            if let Some(limit) = &self.open_files
                && libc::setrlimit(libc::RLIMIT_NOFILE, limit) < 0
            {
                return *libc::__errno_location();
            }
            let mut none = MaybeUninit::uninit();
            libc::sigemptyset(none.as_mut_ptr());
            libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
            libc::execve(self.file.as_ptr(), self.argv.pointers.as_ptr(), self.envp.pointers.as_ptr());
            *libc::__errno_location()
        }
    }

    fn close_each_from(&self, first: c_int) {
        // SAFETY: the limit is written before it is read; the descriptors are those of this process alone.
        unsafe {
            let mut limit: libc::rlimit = std::mem::zeroed();
            libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
            (first..c_int::try_from(limit.rlim_cur).unwrap_or(c_int::MAX)).for_each(|fd| {
                libc::close(fd);
            });
        }
    }
}
