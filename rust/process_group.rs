//! The process group that a command leads, and its session of the same number.
//!
//! The number may be a stranger's once the command has been collected, which the kernel does by itself for a host that
//! ignores SIGCHLD. So a signal goes by the descriptor of the leader, which refers to its group for ever, or only while
//! it is certain whose the number is.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process_group, test_kill_process, test_kill_process_group, waitid,
};

use crate::fork::ThreadsFd;

/// PIDFD_SIGNAL_PROCESS_GROUP, from Linux 6.9 on (pidfd_send_signal(2)).
const TO_GROUP: libc::c_uint = 4;

#[derive(Clone)]
pub struct ProcessGroup {
    pub leader: Pid,
    pub pidfd: Arc<ThreadsFd>,
}

impl ProcessGroup {
    /// Signal all who are in it.
    pub fn signal(&self, signal: Signal) {
        if self.send(signal.as_raw()) == Err(Errno::INVAL) && self.owns_number() {
            let _ = kill_process_group(self.leader, signal);
        }
    }

    /// Whether anybody is in it, be it a zombie.
    pub fn remains(&self) -> bool {
        match self.send(0) {
            Err(Errno::INVAL) => self.owns_number() && test_kill_process_group(self.leader) != Err(Errno::SRCH),
            sent => sent != Err(Errno::SRCH),
        }
    }

    /// Whether the leader's number still stands for its group and session.
    pub fn owns_number(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if waitid(WaitId::PidFd(self.pidfd.as_fd()), options).err() != Some(Errno::CHILD) {
            return true;
        }
        match self.send(0) {
            // A number is not given away while a group has it, but to nobody else is it known by now whether one has.
            Err(Errno::INVAL) => test_kill_process(self.leader) == Err(Errno::SRCH),
            sent => sent != Err(Errno::SRCH),
        }
    }

    pub fn leader_has_ended(&self) -> bool {
        has_ended(&*self.pidfd)
    }

    fn send(&self, signal: i32) -> Result<(), Errno> {
        let pidfd = self.pidfd.as_fd().as_raw_fd();
        // SAFETY: a system call without memory of ours.
        let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd, signal, 0, TO_GROUP) };
        if sent == 0 { Ok(()) } else { Err(last_errno()) }
    }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}

/// The number of the process group of this process; 0 if that is of another process namespace, or the kernel's.
pub fn group_of(pid: i32) -> Option<i32> {
    // SAFETY: a system call without memory of ours. That of rustix has no way to return 0.
    Some(unsafe { libc::getpgid(pid) }).filter(|group| *group >= 0)
}

/// The number of its session, in the same way.
pub fn session_of(pid: i32) -> Option<i32> {
    // SAFETY: as above.
    Some(unsafe { libc::getsid(pid) }).filter(|session| *session >= 0)
}

/// Whether the process of this descriptor is a zombie or gone.
pub fn has_ended(pidfd: impl AsFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&now)) == Ok(1)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Child, Command, Stdio};

    use rustix::process::{PidfdFlags, pidfd_open};

    use super::*;

    fn start(script: &str) -> (Child, ProcessGroup) {
        let mut command = Command::new("/bin/sh");
        let child = command.args(["-c", script]).process_group(0).stdout(Stdio::piped()).spawn().unwrap();
        let leader = Pid::from_child(&child);
        let pidfd = Arc::new(ThreadsFd::new(pidfd_open(leader, PidfdFlags::empty()).unwrap()));
        (child, ProcessGroup { leader, pidfd })
    }

    #[test]
    fn a_signal_reaches_the_group_whether_its_leader_was_collected_or_not() {
        let (mut child, group) = start("sleep 60 & sleep 60");
        group.signal(Signal::TERM);
        assert_eq!(child.wait().unwrap().signal(), Some(15));

        let (mut child, group) = start("sleep 60 & exit 0");
        child.wait().unwrap();
        assert!(group.remains() && group.owns_number());
        group.signal(Signal::TERM);
        // The sleeping process has the pipe.
        assert_eq!(child.stdout.take().unwrap().read_to_end(&mut Vec::new()).unwrap(), 0);
    }

    #[test]
    fn a_number_that_the_kernel_has_back_is_not_ours() {
        let (mut child, group) = start("exit 0");
        child.wait().unwrap();
        assert!(!group.remains());
        if group.send(0) == Err(Errno::SRCH) {
            assert!(!group.owns_number());
        }
    }
}
