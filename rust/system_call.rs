//! System calls that do not go through a wrapper of their own.

use std::ffi::c_int;

/// # Safety
///
/// As the system call demands.
pub unsafe fn system_call<const N: usize>(number: usize, arguments: [usize; N]) -> Result<usize, c_int> {
    let argument = |index: usize| arguments.get(index).copied().unwrap_or(0);
    // SAFETY: the caller's promise. `errno` is this thread's: who shares its memory and calls too makes it wait.
    unsafe {
        let returned = libc::syscall(
            number as libc::c_long,
            argument(0),
            argument(1),
            argument(2),
            argument(3),
            argument(4),
            argument(5),
        );
        if returned < 0 { Err(*libc::__errno_location()) } else { Ok(returned as usize) }
    }
}

pub mod number {
    pub const CHDIR: usize = libc::SYS_chdir as usize;
    pub const CLOSE: usize = libc::SYS_close as usize;
    pub const CLOSE_RANGE: usize = libc::SYS_close_range as usize;
    pub const DUP3: usize = libc::SYS_dup3 as usize;
    pub const EXECVE: usize = libc::SYS_execve as usize;
    pub const EXECVEAT: usize = libc::SYS_execveat as usize;
    pub const PRLIMIT64: usize = libc::SYS_prlimit64 as usize;
    pub const RT_SIGACTION: usize = libc::SYS_rt_sigaction as usize;
    pub const RT_SIGPROCMASK: usize = libc::SYS_rt_sigprocmask as usize;
    pub const SETSID: usize = libc::SYS_setsid as usize;
    pub const STATX: usize = libc::SYS_statx as usize;
}
