//! What one command and all it started use: put together from what its processes use.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::cgroup::CommandGroup;
use crate::handle::{Handle, MemoryReport, Usage, UsageSample, UsedBy};
use crate::memory_watch::{LARGEST, MemoryWatch};
use crate::process_files::{Stat, Weight};
use crate::start::Order;
use crate::watched_reader::{Lost, WatchedReader};

/// Reading proportional set sizes takes at most one part in so many of a core: it may take 20 ms a gigabyte.
const WEIGHING_SHARE: u32 = 200;
/// What takes less is no more than the rest of a look.
const LIGHT: Duration = Duration::from_millis(1);
/// kcmp(2): whether two processes have the same memory.
const KCMP_VM: i32 = 1;
/// The longest between two looks that counts as watched: this process may have been stopped, and read no output.
const LONGEST_INTERVAL: Duration = Duration::from_secs(10);

/// A command that is looked at while it runs.
pub struct WatchedTree {
    leader: i32,
    /// Who is in it is a member, also without a parent.
    cgroup: Option<Arc<CommandGroup>>,
    handle: Arc<Handle>,
    /// Whether the consumer is told of each change.
    announces: bool,
    /// Whether its activity is kept in the handle.
    tells_activity: bool,
    memory: Arc<MemoryWatch>,
    looks: AtomicU32,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    members: HashMap<i32, Member>,
    /// Something changed since proportional set sizes were read.
    is_estimate: bool,
    /// When they may be read again.
    weigh_from: Option<Instant>,
    leader_peak: Option<u64>,
    /// Of all members.
    peaks: Usage,
    /// Its processes are gone, and their numbers may be others' by now.
    is_over: bool,
    /// What the last look but one found.
    earlier: Option<UsageSample>,
    /// When it was last looked at and there, and how often reading its output had been interrupted.
    active_at: Option<(Instant, u32)>,
}

#[derive(Clone)]
struct Member {
    stat: Stat,
    anonymous: u64,
    /// Its proportional set size; if that was not read since, with the anonymous memory that has come.
    memory: Option<u64>,
}

/// What a look took.
pub struct Effort {
    /// The processor time for reading proportional set sizes, where that is done less often for it.
    pub weighing: Duration,
    /// Nothing had changed.
    pub was_quiet: bool,
}

impl WatchedTree {
    pub fn new(
        leader: i32,
        cgroup: Option<Arc<CommandGroup>>,
        handle: Arc<Handle>,
        order: &Order,
        memory: Arc<MemoryWatch>,
    ) -> Self {
        Self {
            leader,
            cgroup,
            handle,
            announces: order.wants_usage,
            tells_activity: order.wants_activity,
            memory,
            looks: AtomicU32::new(0),
            seen: Mutex::default(),
        }
    }

    /// Whether the command, which somebody else killed, was killed because there was no memory left. `certain`: only
    /// if the kernel says that it has killed somebody.
    pub fn memory_report(&self, certain: bool) -> Option<Box<MemoryReport>> {
        let tree = || {
            let (earlier, last) = (self.seen().earlier.take(), self.handle.usage());
            // Some who were killed are gone at the next look, before the command itself is.
            let larger = earlier.into_iter().chain(last).max_by_key(|sample| sample.memory);
            larger.map(|sample| sample.largest).unwrap_or_default()
        };
        self.memory.report(Instant::now(), certain, tree).map(Box::new)
    }

    /// How many looks have begun, before this one.
    pub fn count_look(&self) -> u32 {
        self.looks.fetch_add(1, Ordering::Relaxed)
    }

    /// To be called before the leader is collected: nothing is looked at any more. What was seen to be used at most, of
    /// all members or without the processor time and `max_rss` of any but the leader.
    pub fn end(&self, all_members: bool) -> Usage {
        let mut seen = self.seen();
        seen.is_over = true;
        let peaks = std::mem::take(&mut seen.peaks);
        if all_members {
            peaks
        } else {
            Usage { max_rss: seen.leader_peak, tree_max_rss: peaks.tree_max_rss, ..Usage::default() }
        }
    }

    /// See what is used now. Processes in `hung` are not touched; `commands` is how many share the sampler's time.
    pub fn look(&self, reader: &WatchedReader, hung: &[i32], commands: u32) -> Result<Effort, Lost> {
        let mut effort = Effort { weighing: Duration::ZERO, was_quiet: true };
        let seen = self.seen();
        if seen.is_over {
            return Ok(effort);
        }
        let (before, mut is_estimate, mut weigh_from) = (seen.members.clone(), seen.is_estimate, seen.weigh_from);
        // Not while something is read that may hang.
        drop(seen);

        let mut members = find(self.leader, self.cgroup.as_deref(), &before, reader, hung)?;
        let mut peak = None;
        let mut leader_peak = None;
        let mut has_changed = members.len() != before.len();
        for (&pid, member) in &mut members {
            let earlier = before.get(&pid).filter(|earlier| earlier.stat.started == member.stat.started);
            if let Some(earlier) = earlier {
                (member.anonymous, member.memory) = (earlier.anonymous, earlier.memory);
            }
            if hung.contains(&pid) || earlier.is_some_and(|earlier| member.stat.has_memory_of(&earlier.stat)) {
                continue;
            }
            has_changed = true;
            let status = reader.status(pid)?;
            member.memory = member.memory.map(|memory| (memory + status.anonymous).saturating_sub(member.anonymous));
            member.anonymous = status.anonymous;
            peak = peak.max(status.peak);
            if pid == self.leader {
                leader_peak = status.peak;
            }
        }
        is_estimate |= has_changed;
        effort.was_quiet = !is_estimate;
        if is_estimate && weigh_from.is_none_or(|from| Instant::now() >= from) {
            let weighing = weigh(&mut members, reader, hung)?;
            is_estimate = false;
            if weighing > LIGHT {
                effort.weighing = weighing;
                weigh_from = Some(Instant::now() + weighing * WEIGHING_SHARE * commands);
            }
        }

        let now = Usage { max_rss: peak, ..sum(&members) };
        let sample = now.tree_max_rss.map(|memory| UsageSample {
            memory,
            cpu: now.cpu_user + now.cpu_system,
            largest: largest(&members),
        });
        let mut seen = self.seen();
        if seen.is_over {
            return Ok(effort);
        }
        if self.tells_activity {
            seen.active_at = self.count_activity(seen.active_at, &before, &members);
        }
        (seen.members, seen.is_estimate, seen.weigh_from) = (members, is_estimate, weigh_from);
        seen.leader_peak = seen.leader_peak.max(leader_peak);
        seen.peaks = std::mem::take(&mut seen.peaks).joined(now);
        seen.earlier = self.handle.usage();
        drop(seen);
        if let Some(sample) = sample {
            self.handle.tell_usage(sample, self.announces);
        }
        Ok(effort)
    }

    /// Add what was done since the last look; returns when this one was, None if the command was not seen.
    ///
    /// What a process did before it ended counts again when its parent has waited for it: that is a sign of life too.
    fn count_activity(
        &self,
        last: Option<(Instant, u32)>,
        before: &HashMap<i32, Member>,
        members: &HashMap<i32, Member>,
    ) -> Option<(Instant, u32)> {
        members.get(&self.leader).filter(|leader| !leader.stat.ended)?;
        let (now, holds) = (Instant::now(), self.handle.holds());
        let mut activity = self.handle.activity();
        for (pid, member) in members {
            let earlier = before.get(pid).filter(|earlier| earlier.stat.started == member.stat.started);
            let done = earlier.map_or(Duration::ZERO, |earlier| earlier.stat.cpu());
            activity.work += member.stat.cpu().saturating_sub(done);
        }
        if let Some((at, held)) = last
            && held == holds
            && holds % 2 == 0
        {
            activity.seen += (now - at).min(LONGEST_INTERVAL);
        }
        activity.processes = members.keys().copied().collect();
        Some((now, holds))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The members that are there: who is in the control group; without one the leader, its descendants, and those of who was
/// a member before, though it may have lost its parent since.
fn find(
    leader: i32,
    cgroup: Option<&CommandGroup>,
    before: &HashMap<i32, Member>,
    reader: &WatchedReader,
    hung: &[i32],
) -> Result<HashMap<i32, Member>, Lost> {
    let mut found = HashMap::new();
    let in_cgroup = cgroup.and_then(|cgroup| cgroup.members().ok());
    let knows_all = in_cgroup.is_some();
    let known = in_cgroup.unwrap_or_else(|| before.keys().copied().collect());
    for root in std::iter::once(leader).chain(known) {
        let mut unseen = vec![root];
        while let Some(pid) = unseen.pop() {
            if found.contains_key(&pid) {
                continue;
            }
            let earlier = before.get(&pid);
            if hung.contains(&pid) {
                found.extend(earlier.map(|member| (pid, member.clone())));
                continue;
            }
            let Some(stat) = reader.stat(pid)? else { continue };
            if !knows_all
                && pid == root
                && pid != leader
                && earlier.is_some_and(|earlier| earlier.stat.started != stat.started)
            {
                // A stranger got its number.
                continue;
            }
            if !knows_all {
                unseen.append(&mut reader.children(pid, stat.threads)?);
            }
            found.insert(pid, Member { stat, anonymous: 0, memory: None });
        }
    }
    Ok(found)
}

/// Read the proportional set sizes; returns the processor time that it took.
fn weigh(members: &mut HashMap<i32, Member>, reader: &WatchedReader, hung: &[i32]) -> Result<Duration, Lost> {
    let began = cpu_time();
    for (&pid, member) in members.iter_mut() {
        let Stat { resident, parent, has_executed, .. } = member.stat;
        if !hung.contains(&pid) {
            let anonymous = member.anonymous;
            let weight = match () {
                () if !has_executed && share_memory(pid, parent) => Weight { memory: 0, anonymous },
                () => reader.weight(pid)?.unwrap_or(Weight { memory: resident, anonymous }),
            };
            // Both as of one moment: it may be growing.
            (member.memory, member.anonymous) = (Some(weight.memory), weight.anonymous);
        }
    }
    Ok(cpu_time() - began)
}

/// Whether two processes have one memory, as after vfork(2) until the child executes a program.
fn share_memory(one: i32, other: i32) -> bool {
    // SAFETY: the call takes numbers alone.
    unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_VM, 0, 0) == 0 }
}

/// All members together. One that is new and was not weighed yet is left out: it may share all it has.
fn sum(members: &HashMap<i32, Member>) -> Usage {
    let mut total = Usage::default();
    for Member { stat, memory, .. } in members.values() {
        total.cpu_user += stat.cpu_user;
        total.cpu_system += stat.cpu_system;
        total.tree_max_rss = memory.map(|memory| memory + total.tree_max_rss.unwrap_or(0)).or(total.tree_max_rss);
    }
    total
}

fn largest(members: &HashMap<i32, Member>) -> Vec<UsedBy> {
    UsedBy::largest(
        members
            .iter()
            .filter_map(|(&pid, member)| Some(UsedBy { pid, name: member.stat.name.clone(), memory: member.memory? })),
        LARGEST,
    )
}

/// The processor time of the calling thread.
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_shares_its_memory_with_nobody_else() {
        let own = std::process::id() as i32;
        assert!(share_memory(own, own));
        assert!(!share_memory(own, 1));
    }
}
