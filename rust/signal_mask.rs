//! Which signals a thread lets through.

use std::io;
use std::mem::MaybeUninit;

/// Call `body` while this thread gets no signals. What it makes, a thread or a process, starts out getting none.
pub fn with_signals_blocked<T>(body: impl FnOnce() -> T) -> T {
    let mut all = MaybeUninit::uninit();
    let mut previous = MaybeUninit::uninit();
    // SAFETY: `sigfillset` writes the set that is then read, and the old mask is written where there is room for it.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), previous.as_mut_ptr());
    }
    let returned = body();
    // SAFETY: `previous` was written above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, previous.as_ptr(), std::ptr::null_mut()) };
    returned
}

/// A thread that gets no signals: they are for the threads of the host, which may wait to be interrupted.
pub fn thread(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    with_signals_blocked(|| std::thread::Builder::new().name(name.into()).spawn(body)).map(drop)
}
