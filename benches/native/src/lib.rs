//! What the programs share.

use std::ffi::CString;
use std::os::fd::RawFd;
use std::str::FromStr;
use std::time::Instant;

/// The argument in this place, as a number.
pub fn argument<T: FromStr>(place: usize) -> T {
    let text = std::env::args().nth(place);
    text.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("argument {place} has to be a number"))
}

/// Print what was done per second since `started`, and the seconds of processor time that this process itself used.
pub fn report(done: f64, started: Instant) {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to memory of the right type, and all zeros is a valid value of it.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    println!("{} {}", done / started.elapsed().as_secs_f64(), seconds(usage.ru_utime) + seconds(usage.ru_stime));
}

/// Both ends of a new pipe, closed on exec.
pub fn pipe() -> [RawFd; 2] {
    let mut ends = [0; 2];
    // SAFETY: there is room for the two descriptors.
    assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0, "pipe2");
    ends
}

/// Start a program by the fast path, with its standard output, and its standard error if given, going to pipes.
pub fn spawn(arguments: &[CString], stdout: RawFd, stderr: Option<RawFd>) -> libc::pid_t {
    let mut argv: Vec<_> = arguments.iter().map(|argument| argument.as_ptr().cast_mut()).collect();
    argv.push(std::ptr::null_mut());
    let mut pid = 0;
    // SAFETY: the actions are initialised before use and destroyed once; all strings outlive the call, and the list
    // ends with NULL.
    unsafe {
        let mut actions = std::mem::zeroed();
        libc::posix_spawn_file_actions_init(&mut actions);
        libc::posix_spawn_file_actions_adddup2(&mut actions, stdout, 1);
        if let Some(stderr) = stderr {
            libc::posix_spawn_file_actions_adddup2(&mut actions, stderr, 2);
        }
        let environment = environ.cast_const().cast();
        let code = libc::posix_spawn(&mut pid, argv[0], &actions, std::ptr::null(), argv.as_ptr(), environment);
        assert_eq!(code, 0, "posix_spawn");
        libc::posix_spawn_file_actions_destroy(&mut actions);
        libc::close(stdout);
        if let Some(stderr) = stderr {
            libc::close(stderr);
        }
    }
    pid
}

unsafe extern "C" {
    static environ: *mut *mut libc::c_char;
}
