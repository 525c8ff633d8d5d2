//! System calls without a library. Compiled into the zygote and into the first process of containers: each uses a part.

#![allow(dead_code)]

use core::arch::asm;
use core::ffi::c_int;

/// # Safety
///
/// As the system call demands.
#[inline(always)]
pub unsafe fn system_call<const N: usize>(number: usize, arguments: [usize; N]) -> Result<usize, c_int> {
    let argument = |index: usize| if index < N { arguments[index] } else { 0 };
    let returned: isize;
    // SAFETY: the caller's promise; the kernel keeps all registers but those named.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => returned,
            in("rdi") argument(0),
            in("rsi") argument(1),
            in("rdx") argument(2),
            in("r10") argument(3),
            in("r8") argument(4),
            in("r9") argument(5),
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") argument(0) => returned,
            in("x1") argument(1),
            in("x2") argument(2),
            in("x3") argument(3),
            in("x4") argument(4),
            in("x5") argument(5),
            options(nostack),
        );
    }
    to_result(returned)
}

/// Make a process that calls `start` with `slot` on a stack of its own, which the arguments name.
///
/// # Safety
///
/// As clone(2) or clone3(2) demands, whichever the number is of. `start` does not return.
#[inline(never)]
pub unsafe fn clone_with<T>(
    number: usize,
    arguments: [usize; 5],
    start: unsafe extern "C" fn(*mut T),
    slot: *mut T,
) -> Result<usize, c_int> {
    let returned: isize;
    // SAFETY: the caller's promise. The new process uses the other stack alone, and never comes out of here.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") number => returned,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            in("r8") arguments[4],
            in("r12") slot,
            in("r13") start,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x20",
            "blr x21",
            "brk #1",
            "2:",
            in("x8") number,
            inlateout("x0") arguments[0] => returned,
            in("x1") arguments[1],
            in("x2") arguments[2],
            in("x3") arguments[3],
            in("x4") arguments[4],
            in("x20") slot,
            in("x21") start,
            lateout("lr") _,
        );
    }
    to_result(returned)
}

fn to_result(returned: isize) -> Result<usize, c_int> {
    if returned < 0 { Err(-returned as c_int) } else { Ok(returned as usize) }
}

#[cfg(target_arch = "x86_64")]
pub mod number {
    pub const CHDIR: usize = 80;
    pub const CLOCK_GETTIME: usize = 228;
    pub const CLONE3: usize = 435;
    pub const CLONE: usize = 56;
    pub const CLOSE: usize = 3;
    pub const CLOSE_RANGE: usize = 436;
    pub const CONNECT: usize = 42;
    pub const DUP3: usize = 292;
    pub const EXECVE: usize = 59;
    pub const EXECVEAT: usize = 322;
    pub const EXIT_GROUP: usize = 231;
    pub const FCNTL: usize = 72;
    pub const GETPID: usize = 39;
    pub const GETRUSAGE: usize = 98;
    pub const KILL: usize = 62;
    pub const LSEEK: usize = 8;
    pub const MMAP: usize = 9;
    pub const OPENAT: usize = 257;
    pub const PPOLL: usize = 271;
    pub const PRCTL: usize = 157;
    pub const PRLIMIT64: usize = 302;
    pub const PWRITE64: usize = 18;
    pub const READ: usize = 0;
    pub const RECVMSG: usize = 47;
    pub const RT_SIGACTION: usize = 13;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const SENDMSG: usize = 46;
    pub const SETSID: usize = 112;
    pub const SHUTDOWN: usize = 48;
    pub const SIGNALFD4: usize = 289;
    pub const SOCKET: usize = 41;
    pub const STATX: usize = 332;
    pub const WAIT4: usize = 61;
}

#[cfg(target_arch = "aarch64")]
pub mod number {
    pub const CHDIR: usize = 49;
    pub const CLOCK_GETTIME: usize = 113;
    pub const CLONE3: usize = 435;
    pub const CLONE: usize = 220;
    pub const CLOSE: usize = 57;
    pub const CLOSE_RANGE: usize = 436;
    pub const CONNECT: usize = 203;
    pub const DUP3: usize = 24;
    pub const EXECVE: usize = 221;
    pub const EXECVEAT: usize = 281;
    pub const EXIT_GROUP: usize = 94;
    pub const FCNTL: usize = 25;
    pub const GETPID: usize = 172;
    pub const GETRUSAGE: usize = 165;
    pub const KILL: usize = 129;
    pub const LSEEK: usize = 62;
    pub const MMAP: usize = 222;
    pub const OPENAT: usize = 56;
    pub const PPOLL: usize = 73;
    pub const PRCTL: usize = 167;
    pub const PRLIMIT64: usize = 261;
    pub const PWRITE64: usize = 68;
    pub const READ: usize = 63;
    pub const RECVMSG: usize = 212;
    pub const RT_SIGACTION: usize = 134;
    pub const RT_SIGPROCMASK: usize = 135;
    pub const SENDMSG: usize = 211;
    pub const SETSID: usize = 157;
    pub const SHUTDOWN: usize = 210;
    pub const SIGNALFD4: usize = 74;
    pub const SOCKET: usize = 198;
    pub const STATX: usize = 291;
    pub const WAIT4: usize = 260;
}
