//! What a process inherits from its maker, and the maker may change at any time.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Gid, getgroups};

/// How often to look at what is only seen in files.
const PAUSE: Duration = Duration::from_secs(1);
const RESOURCES: usize = 16;

/// Not in here: the working folder, the root and the umask, which the zygote shares with us.
#[derive(PartialEq)]
pub struct Inherited {
    limits: [[u64; 2]; RESOURCES],
    users: [u32; 3],
    groups: [u32; 3],
    supplementary: Option<Vec<Gid>>,
    no_new_privileges: bool,
    niceness: i32,
    processors: [u64; 16],
}

impl Inherited {
    pub fn now() -> Self {
        let (mut users, mut groups, mut processors) = ([0; 3], [0; 3], [0_u64; 16]);
        // SAFETY: the calls write these numbers and read nothing. The last two are about this thread.
        let (no_new_privileges, niceness) = unsafe {
            libc::getresuid(&mut users[0], &mut users[1], &mut users[2]);
            libc::getresgid(&mut groups[0], &mut groups[1], &mut groups[2]);
            libc::sched_getaffinity(0, size_of_val(&processors), processors.as_mut_ptr().cast());
            (libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1, libc::getpriority(libc::PRIO_PROCESS, 0))
        };
        let limits = std::array::from_fn(|resource| {
            let mut limit = [0_u64; 2];
            // SAFETY: this is what the structure of the call looks like on every machine.
            unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, std::ptr::null::<u64>(), limit.as_mut_ptr()) };
            limit
        });
        Self { limits, users, groups, supplementary: getgroups().ok(), no_new_privileges, niceness, processors }
    }
}

/// The same, as far as it is only seen in files.
pub struct InheritedInFiles {
    contents: [Option<Vec<u8>>; 2],
    looked: Instant,
}

impl InheritedInFiles {
    pub fn now() -> Self {
        Self { contents: Self::read(), looked: Instant::now() }
    }

    /// Whether nothing has changed, by a look that is not older than a second.
    pub fn is_current(&mut self) -> bool {
        if self.looked.elapsed() < PAUSE {
            return true;
        }
        self.looked = Instant::now();
        self.contents == Self::read()
    }

    fn read() -> [Option<Vec<u8>>; 2] {
        ["/proc/self/cgroup", "/proc/self/oom_score_adj"].map(|file| fs::read(file).ok())
    }
}
