//! Reading what /proc tells of one process on a thread that may hang in it, and is watched for that.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::call_watch::CallWatch;
use crate::process_files::{Stat, Status, Weight, read_whole};

/// The thread that reads was left behind in a call, and another has taken over.
pub struct Lost;

/// One thread's way of reading files of /proc, any of which may hang for as long as its process does.
pub struct WatchedReader {
    pub watch: Arc<CallWatch>,
    /// The process whose file is being read, or was last.
    pub process: AtomicI32,
    /// The process in whose file it was left behind; 0 if it was not.
    pub left_in: AtomicI32,
}

impl WatchedReader {
    pub fn of_this_thread() -> Arc<Self> {
        Arc::new(Self { watch: CallWatch::of_this_thread(), process: AtomicI32::new(0), left_in: AtomicI32::new(0) })
    }

    fn during<T>(&self, pid: i32, call: impl FnOnce() -> T) -> Result<T, Lost> {
        self.process.store(pid, Ordering::Relaxed);
        let returned = self.watch.during(call);
        if self.left_in.load(Ordering::Acquire) == 0 { Ok(returned) } else { Err(Lost) }
    }

    /// Empty if the file may not be read or there is none.
    fn read(&self, pid: i32, name: &str) -> Result<Vec<u8>, Lost> {
        let path = format!("/proc/{pid}/{name}");
        self.during(pid, || read_whole(&path).unwrap_or_default())
    }

    /// None if it is gone.
    pub fn stat(&self, pid: i32) -> Result<Option<Stat>, Lost> {
        Ok(Stat::parse(pid, &self.read(pid, "stat")?))
    }

    pub fn status(&self, pid: i32) -> Result<Status, Lost> {
        Ok(Status::parse(&self.read(pid, "status")?))
    }

    /// None where it may not be read.
    pub fn weight(&self, pid: i32) -> Result<Option<Weight>, Lost> {
        Ok(Weight::parse(&self.read(pid, "smaps_rollup")?))
    }

    pub fn children(&self, pid: i32, threads: usize) -> Result<Vec<i32>, Lost> {
        if threads == 1 {
            return self.children_of_thread(pid, pid);
        }
        let threads: Vec<i32> = self.during(pid, || {
            let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
        })?;
        let mut children = Vec::new();
        for thread in threads {
            children.append(&mut self.children_of_thread(pid, thread)?);
        }
        Ok(children)
    }

    fn children_of_thread(&self, pid: i32, thread: i32) -> Result<Vec<i32>, Lost> {
        let list = self.read(pid, &format!("task/{thread}/children"))?;
        Ok(String::from_utf8_lossy(&list).split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_its_own_memory() {
        let reader = WatchedReader::of_this_thread();
        let own = std::process::id() as i32;
        let stat = reader.stat(own).ok().flatten().unwrap();
        let weight = reader.weight(own).ok().flatten().unwrap();
        assert!(weight.anonymous > 0 && weight.anonymous <= weight.memory && weight.memory <= 2 * stat.resident);
    }
}
