//! Ending whole process trees: terminate, wait a while, kill, until nothing is left.
//!
//! This runs on a thread of its own, because looking at all processes takes long; one look serves all commands that
//! are being ended.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, pidfd_open, pidfd_send_signal,
    waitid,
};

use crate::fork::ThreadsFd;
use crate::handle::{ProcessNote, Usage};
use crate::mailbox::Mailbox;
use crate::process_tree::{Command, Snapshot};

/// How long killed processes may take to disappear. Longer means they hang in the kernel, where nothing helps.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often to look at processes that could not be opened, for want of descriptors.
const RECHECK: Duration = Duration::from_millis(20);

/// A command whose processes have to end.
pub struct Request {
    pub id: u64,
    pub leader: i32,
    /// Refers to the leader whatever becomes of its number.
    pub pidfd: Arc<ThreadsFd>,
    /// Whether the leader's status has been collected, so that its number is free for others.
    pub collected: bool,
    pub mark: Arc<str>,
    pub scope: Scope,
    pub kill_at: Instant,
}

/// What is known once a command's processes are gone, or nothing more can be done about them.
#[derive(Default)]
pub struct Gone {
    pub id: u64,
    pub left: Vec<ProcessNote>,
    pub unseen: Vec<ProcessNote>,
    /// What all members had used before they were signalled.
    pub usage: Usage,
}

/// What of a command has to end.
#[derive(PartialEq, Eq)]
pub enum Scope {
    /// Everything that it has started.
    Tree,
    /// Who is in its process group.
    Group,
}

/// The processes of a command that are being ended.
struct Tree {
    request: Request,
    /// When the leader started, once it was seen.
    leader_started: Option<u64>,
    /// Those that have been signalled and are still there.
    signalled: HashMap<i32, Option<OwnedFd>>,
    /// Those that are not, without the leader.
    ended: Vec<OwnedFd>,
    killing: bool,
    look_at: Instant,
}

/// Serve requests for ever; `gone` is told of each command that is dealt with.
pub fn run(requests: &Mailbox<Request>, gone: impl Fn(Gone)) {
    let mut trees: Vec<Tree> = Vec::new();
    let mut reserve = None;
    loop {
        // Given up to look at processes when this process has no other descriptor left.
        reserve = reserve.or_else(|| File::open("/dev/null").ok());
        wait(requests, &mut trees);
        let now = Instant::now();
        trees.extend(requests.take().into_iter().map(|request| Tree::new(request, now)));
        if !trees.iter().any(|tree| tree.needs_look(now)) {
            continue;
        }
        let snapshot = Snapshot::take().or_else(|_| {
            reserve = None;
            Snapshot::take()
        });
        trees.retain_mut(|tree| {
            let alive = !tree.needs_look(now)
                || match &snapshot {
                    Ok(snapshot) => tree.signal(snapshot, now),
                    Err(error) => tree.signal_blindly(now, error.kind() == io::ErrorKind::NotFound),
                };
            if !alive {
                tree.collect_adopted();
                let id = tree.request.id;
                gone(Gone { id, left: Vec::new(), unseen: Vec::new(), usage: Usage::default() });
            }
            alive
        });
    }
}

/// Wait until there is a request, a signalled process has ended, or one is due to be killed.
fn wait(requests: &Mailbox<Request>, trees: &mut [Tree]) {
    let now = Instant::now();
    let deadline = trees.iter().map(|tree| tree.look_at).min();
    let timeout = deadline.map(|deadline| to_timespec(deadline.saturating_duration_since(now)));
    let processes: Vec<(usize, i32, &OwnedFd)> = (trees.iter().enumerate())
        .flat_map(|(index, tree)| tree.signalled.iter().filter_map(move |(pid, fd)| Some((index, *pid, fd.as_ref()?))))
        .collect();
    let mut polled: Vec<_> = processes.iter().map(|(_, _, fd)| PollFd::new(*fd, PollFlags::IN)).collect();
    polled.push(PollFd::new(requests, PollFlags::IN));
    if poll(&mut polled, timeout.as_ref()).is_err() {
        // More descriptors than this process may have open now, or no memory: look again without their help.
        std::thread::sleep(RECHECK);
        trees.iter_mut().for_each(|tree| tree.look_at = now);
        return;
    }
    let ended: Vec<(usize, i32)> = (processes.iter().zip(&polled))
        .filter(|(_, polled)| !polled.revents().is_empty())
        .map(|((index, pid, _), _)| (*index, *pid))
        .collect();
    for (index, pid) in ended {
        let tree = &mut trees[index];
        if let Some(Some(fd)) = tree.signalled.remove(&pid)
            && pid != tree.request.leader
        {
            tree.ended.push(fd);
        }
    }
}

fn to_timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: i64::from(duration.subsec_nanos()) }
}

impl Tree {
    fn new(request: Request, now: Instant) -> Self {
        Self {
            request,
            leader_started: None,
            signalled: HashMap::new(),
            ended: Vec::new(),
            killing: false,
            look_at: now,
        }
    }

    fn needs_look(&self, now: Instant) -> bool {
        self.signalled.is_empty() || now >= self.look_at
    }

    /// Signal what is left and has not been; false if nothing is, or nothing can be done about it.
    fn signal(&mut self, snapshot: &Snapshot, now: Instant) -> bool {
        let Request { leader, collected, .. } = self.request;
        if !collected && self.leader_started.is_none() {
            self.leader_started = snapshot.started(leader);
        }
        let command = Command { leader, started: self.leader_started, mark: &self.request.mark };
        let alive = match self.request.scope {
            Scope::Tree => snapshot.descendants(&command),
            Scope::Group => snapshot.group(&command),
        };
        if alive.is_empty() || now >= self.request.kill_at + PATIENCE {
            return false;
        }
        if now >= self.request.kill_at && !self.killing {
            self.killing = true;
            self.signalled.clear();
        }
        self.signalled.retain(|pid, _| alive.contains(pid));
        for pid in alive {
            if !self.signalled.contains_key(&pid) {
                self.signalled.insert(pid, send(pid, snapshot, self.killing));
            }
        }
        self.look_at = match () {
            () if self.signalled.values().any(Option::is_none) => now + RECHECK,
            () if self.killing => self.request.kill_at + PATIENCE,
            () => self.request.kill_at,
        };
        true
    }

    /// With no way to see the processes there are: signal the group, and look again soon. False when nothing helped, or
    /// nothing more can be done since there will never be a way to see them.
    fn signal_blindly(&mut self, now: Instant, for_ever: bool) -> bool {
        let killing = now >= self.request.kill_at;
        // A number that its group still has is not given away, but without looking there is no knowing that it has it.
        let is_ours = !self.request.collected || (for_ever && self.request.scope == Scope::Group);
        let group = Pid::from_raw(self.request.leader).filter(|_| is_ours);
        // A request to terminate is made once, a kill until it is known to have worked.
        if let Some(group) = group
            && (killing || self.signalled.is_empty())
        {
            let _ = kill_process_group(group, if killing { Signal::KILL } else { Signal::TERM });
            let _ = kill_process_group(group, Signal::CONT);
            self.signalled.insert(self.request.leader, None);
        }
        self.look_at = now + RECHECK;
        now < if for_ever { self.request.kill_at } else { self.request.kill_at + PATIENCE }
    }

    /// The first process of a container adopts whoever has lost his parent, and would keep them as zombies.
    fn collect_adopted(&self) {
        for fd in &self.ended {
            // Refused unless it is a child of ours.
            let _ = waitid(WaitId::PidFd(fd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        }
    }
}

/// Returns a descriptor that tells when the process has ended, if one could be had.
fn send(raw_pid: i32, snapshot: &Snapshot, kill: bool) -> Option<OwnedFd> {
    let pid = Pid::from_raw(raw_pid)?;
    // A stopped process gets its signal only once it is continued.
    let signals: &[Signal] = if kill { &[Signal::KILL] } else { &[Signal::TERM, Signal::CONT] };
    let fd = pidfd_open(pid, PidfdFlags::empty()).ok();
    if !snapshot.is_current(raw_pid) {
        return fd;
    }
    for signal in signals {
        let _ = match &fd {
            Some(fd) => pidfd_send_signal(fd, *signal),
            None => kill_process(pid, *signal),
        };
    }
    fd
}
