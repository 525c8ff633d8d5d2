//! Control groups (version 2) of the commands: the kernel knows who belongs to one, whatever he did to his session, his
//! parent and his environment.
//!
//! They are made below this process's own, so that no limit that holds for it is left, and this process is never moved.
//! Where that cannot be done, there are none.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{Access, AtFlags, CWD, Dir, FileType, Mode, OFlags, accessat, fstat, mkdirat, openat, unlinkat};
use rustix::io::{Errno, pread, read, write};

use crate::fork::ThreadsFd;
use crate::open_files_limit;

/// How often to see whether somebody has moved this process.
const PLACE_CHECK: Duration = Duration::from_secs(1);

/// How many groups without commands are kept: each has two descriptors.
const MAX_KEPT: usize = 16;
/// How many commands have a group at a time, for the same reason; the others are found as where there is none.
const MAX_TAKEN: usize = 64;
/// How many of the others are removed when a group is taken.
const REMOVED_AT_ONCE: usize = 2;

/// The groups that this process's commands run in, one each.
#[derive(Default)]
pub struct CommandGroups(Arc<Mutex<Place>>);

/// Where they are.
#[derive(Default)]
enum Place {
    #[default]
    Unknown,
    None,
    Below(Parent),
}

/// The folder that holds the commands' groups.
struct Parent {
    path: PathBuf,
    folder: Arc<ThreadsFd>,
    /// What /proc/self/cgroup said when it was made.
    host: Vec<u8>,
    checked: Instant,
    count: u64,
    /// Those whose commands are over. Some may still hold a daemon.
    used: VecDeque<Arc<Folder>>,
    /// How many are a command's.
    taken: usize,
    /// The names of more of them, to be removed.
    surplus: VecDeque<String>,
}

struct Folder {
    name: String,
    fd: ThreadsFd,
    /// Tells whether anybody is in it or below.
    events: ThreadsFd,
    /// It was killed once. Linux (seen in 6.18) kills whoever is made in a group that was killed more often than his maker's.
    is_spent: AtomicBool,
}

/// The group of one command.
pub struct CommandGroup {
    folder: Arc<Folder>,
    place: Arc<Mutex<Place>>,
}

impl CommandGroups {
    /// An empty group; None where none can be made.
    pub fn take(&self) -> Option<CommandGroup> {
        let mut place = lock(&self.0);
        place.settle();
        let Place::Below(parent) = &mut *place else { return None };
        if parent.taken >= MAX_TAKEN {
            return None;
        }
        let empty = parent.take_used();
        let surplus: Vec<String> = parent.surplus.drain(..parent.surplus.len().min(REMOVED_AT_ONCE)).collect();
        let top = Arc::clone(&parent.folder);
        let name = if empty.is_some() { String::new() } else { parent.next_name() };
        // Making and removing may take long, and whoever gives a group back must not wait for that.
        drop(place);
        let kept: Vec<String> = surplus.into_iter().filter(|name| !is_removed(&top, name)).collect();
        let folder = empty.inspect(|folder| folder.empty()).or_else(|| Folder::make(&top, name));
        if let Place::Below(parent) = &mut *lock(&self.0) {
            parent.surplus.extend(kept);
            parent.taken += usize::from(folder.is_some());
        }
        Some(CommandGroup { folder: folder?, place: Arc::clone(&self.0) })
    }

    /// Close what is kept for the next commands and remove what is empty. True if there is more to come.
    pub fn tidy(&self) -> bool {
        let mut place = lock(&self.0);
        let Place::Below(parent) = &mut *place else { return false };
        let used = std::mem::take(&mut parent.used);
        parent.surplus.extend(used.into_iter().map(|folder| folder.name.clone()));
        let surplus = std::mem::take(&mut parent.surplus);
        let top = Arc::clone(&parent.folder);
        drop(place);
        let kept: Vec<String> = surplus.into_iter().filter(|name| !is_removed(&top, name)).collect();
        let Place::Below(parent) = &mut *lock(&self.0) else { return false };
        parent.surplus.extend(kept);
        parent.taken > 0
    }

    /// Remove those that are empty, and take no more: this process ends.
    pub fn remove(&self) {
        let mut place = lock(&self.0);
        if let Place::Below(parent) = std::mem::replace(&mut *place, Place::None) {
            remove_below(&parent.folder);
            // What somebody is still in is left to the watchdog.
            let _ = fs::remove_dir(&parent.path);
        }
    }

    /// The folder that holds them, made if there can be one.
    pub fn path(&self) -> Option<PathBuf> {
        let mut place = lock(&self.0);
        place.settle();
        match &*place {
            Place::Below(parent) => Some(parent.path.clone()),
            _ => None,
        }
    }
}

impl Place {
    fn settle(&mut self) {
        match self {
            Self::Unknown => *self = Parent::make().map_or(Self::None, Self::Below),
            Self::Below(parent) => {
                // Where it was, the limits of where it is now do not hold.
                if parent.host_was_moved() {
                    *self = Self::None;
                }
            }
            Self::None => {}
        }
    }
}

impl Parent {
    fn make() -> Option<Self> {
        let host = fs::read("/proc/self/cgroup").ok()?;
        let own = own_folder(&host, &fs::read("/proc/self/mountinfo").ok()?)?;
        // What /proc tells may be about another namespace's view.
        let pid = std::process::id();
        let here = fs::read_to_string(own.join("cgroup.procs")).ok()?;
        if !here.lines().any(|line| line.parse() == Ok(pid)) {
            return None;
        }
        // Who may not write here may not put a process below either.
        accessat(CWD, own.join("cgroup.procs"), Access::WRITE_OK, AtFlags::EACCESS).ok()?;
        let mut random = [0; 4];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).ok()?;
        let path = own.join(format!("tailrace-{pid}-{:08x}", u32::from_ne_bytes(random)));
        mkdirat(CWD, &path, Mode::from(0o755)).ok()?;
        let folder = open_folder(CWD, &path).ok().filter(|folder| can_be_killed(folder));
        let Some(folder) = folder else {
            let _ = fs::remove_dir(&path);
            return None;
        };
        let folder = Arc::new(ThreadsFd::new(folder));
        Some(Self {
            path,
            folder,
            host,
            checked: Instant::now(),
            count: 0,
            used: VecDeque::new(),
            taken: 0,
            surplus: VecDeque::new(),
        })
    }

    fn host_was_moved(&mut self) -> bool {
        if self.checked.elapsed() < PLACE_CHECK {
            return false;
        }
        self.checked = Instant::now();
        fs::read("/proc/self/cgroup").is_ok_and(|host| host != self.host)
    }

    /// One of those that were used which is empty.
    fn take_used(&mut self) -> Option<Arc<Folder>> {
        // One that holds a daemon goes to the end; the next is probably empty.
        for _ in 0..self.used.len().min(2) {
            let folder = self.used.pop_front()?;
            if !folder.is_populated() {
                return Some(folder);
            }
            self.give_back(folder);
        }
        None
    }

    /// No more than that: where it is called, nothing may be waited for.
    fn give_back(&mut self, folder: Arc<Folder>) {
        if folder.is_spent() || self.used.len() >= MAX_KEPT {
            self.surplus.push_back(folder.name.clone());
        } else {
            self.used.push_back(folder);
        }
    }

    fn next_name(&mut self) -> String {
        self.count += 1;
        self.count.to_string()
    }
}

impl Folder {
    fn make(top: &ThreadsFd, name: String) -> Option<Arc<Self>> {
        mkdirat(top, &name, Mode::from(0o755)).ok()?;
        let open = || {
            let fd = ThreadsFd::new(open_folder(top, &name)?);
            let events = ThreadsFd::new(open_file(&fd, "cgroup.events", OFlags::RDONLY)?);
            Ok((fd, events))
        };
        let opened = match open() {
            Err(Errno::MFILE) if open_files_limit::raise() => open(),
            opened => opened,
        };
        match opened {
            Ok((fd, events)) => Some(Arc::new(Self { name, fd, events, is_spent: AtomicBool::new(false) })),
            Err(_) => {
                let _ = unlinkat(top, &name, AtFlags::REMOVEDIR);
                None
            }
        }
    }

    fn is_populated(&self) -> bool {
        let mut events = [0; 64];
        let count = pread(&self.events, &mut events, 0).unwrap_or(0);
        !events[..count].starts_with(b"populated 0")
    }

    fn is_spent(&self) -> bool {
        self.is_spent.load(Ordering::Relaxed)
    }

    /// Remove the groups that a command made in its own and left empty.
    fn empty(&self) {
        // Its entries in those below, of which there are hardly ever any, its name and itself.
        if fstat(&self.fd).map_or(true, |stat| stat.st_nlink > 2) {
            remove_below(&self.fd);
        }
    }
}

impl CommandGroup {
    /// Whether it was killed.
    pub fn is_spent(&self) -> bool {
        self.folder.is_spent()
    }

    /// Kill all who are in it or below, and who are just being forked.
    pub fn kill(&self) -> io::Result<()> {
        let file = open_file(self, "cgroup.kill", OFlags::WRONLY)?;
        write(&file, b"1")?;
        self.folder.is_spent.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Who is in it or below, without zombies; a process that is just coming or going may be missing.
    pub fn members(&self) -> io::Result<Vec<i32>> {
        let mut members = Vec::new();
        add_members(self.as_fd(), &mut members)?;
        // 0: of a process namespace that this one does not see.
        members.retain(|pid| *pid > 0);
        members.sort_unstable();
        Ok(members)
    }
}

/// For CLONE_INTO_CGROUP (clone(2)).
impl AsFd for CommandGroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.folder.fd.as_fd()
    }
}

impl Drop for CommandGroup {
    fn drop(&mut self) {
        if let Place::Below(parent) = &mut *lock(&self.place) {
            parent.taken = parent.taken.saturating_sub(1);
            parent.give_back(Arc::clone(&self.folder));
        }
    }
}

/// False while somebody is in it.
fn is_removed(top: &ThreadsFd, name: &str) -> bool {
    if unlinkat(top, name, AtFlags::REMOVEDIR).is_ok() {
        return true;
    }
    if let Ok(folder) = open_folder(top, name) {
        remove_below(folder);
    }
    unlinkat(top, name, AtFlags::REMOVEDIR).is_ok()
}

fn lock(place: &Mutex<Place>) -> MutexGuard<'_, Place> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The folder of this process's group, by what /proc/self/cgroup and /proc/self/mountinfo say.
pub fn own_folder(cgroup: &[u8], mountinfo: &[u8]) -> Option<PathBuf> {
    let own = std::str::from_utf8(cgroup).ok()?.lines().find_map(|line| line.strip_prefix("0::"))?;
    // A process may be outside of what its namespace shows, or in a group that was removed.
    if own.starts_with("/..") || own.ends_with(" (deleted)") {
        return None;
    }
    // The last mount on a folder is the one that is seen.
    std::str::from_utf8(mountinfo).ok()?.lines().rev().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        if !filesystem.starts_with("cgroup2 ") || point.contains('\\') {
            return None;
        }
        let below = Path::new(own).strip_prefix(root).ok()?;
        Some(Path::new(point).join(below))
    })
}

fn open_folder(at: impl AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    openat(at, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Not before Linux 5.14.
fn can_be_killed(folder: impl AsFd) -> bool {
    accessat(folder, "cgroup.kill", Access::WRITE_OK, AtFlags::EACCESS).is_ok()
}

fn open_file(folder: impl AsFd, name: &str, access: OFlags) -> Result<OwnedFd, Errno> {
    openat(folder, name, access | OFlags::CLOEXEC, Mode::empty())
}

fn read_file(folder: impl AsFd, name: &str) -> io::Result<Vec<u8>> {
    let file = open_file(folder, name, OFlags::RDONLY)?;
    let mut content = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match read(&file, &mut buffer)? {
            0 => return Ok(content),
            count => content.extend_from_slice(&buffer[..count]),
        }
    }
}

fn groups_below(folder: impl AsFd) -> io::Result<Vec<std::ffi::CString>> {
    let mut below = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if entry.file_type() == FileType::Directory && !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            below.push(entry.file_name().to_owned());
        }
    }
    Ok(below)
}

fn add_members(folder: BorrowedFd<'_>, members: &mut Vec<i32>) -> io::Result<()> {
    match read_file(folder, "cgroup.procs") {
        Ok(procs) => members.extend(
            procs.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok()?.parse::<i32>().ok()),
        ),
        // A threaded group: the processes are told by the one above.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::OPNOTSUPP) => {}
        Err(error) => return Err(error),
    }
    for name in groups_below(folder)? {
        match open_folder(folder, &name) {
            Ok(below) => add_members(below.as_fd(), members)?,
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn remove_below(folder: impl AsFd) {
    for name in groups_below(&folder).unwrap_or_default() {
        if let Ok(below) = open_folder(&folder, &name) {
            remove_below(below);
        }
        let _ = unlinkat(&folder, &name, AtFlags::REMOVEDIR);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Run a shell in the group, once it is in there.
    fn start(group: &CommandGroup, script: &str) -> std::process::Child {
        let script = format!("read -r _; {script}");
        let child = Command::new("/bin/sh").args(["-c", &script]).stdin(std::process::Stdio::piped()).spawn().unwrap();
        let file = openat(group, "cgroup.procs", OFlags::WRONLY, Mode::empty()).unwrap();
        write(&file, child.id().to_string().as_bytes()).unwrap();
        child
    }

    fn is_free(group: &CommandGroup) -> bool {
        !group.folder.is_populated()
    }

    #[test]
    fn whoever_descends_from_a_command_is_in_its_group_and_killed_with_it() {
        let groups = CommandGroups::default();
        let Some(group) = groups.take() else { return eprintln!("no control groups can be made here") };
        assert!(group.members().unwrap().is_empty());
        let nested = "mkdir $0/nested; echo 0 > $0/nested/cgroup.procs";
        let folder = groups.path().unwrap().join("1");
        let mut child =
            start(&group, &format!("env -i setsid sh -c '{nested}; sleep 60' {} & exit 0", folder.display()));
        drop(child.stdin.take());
        child.wait().unwrap();
        let began = Instant::now();
        while !folder.join("nested").exists() || group.members().unwrap().len() != 2 {
            assert!(began.elapsed() < Duration::from_secs(20));
        }
        assert!(!is_free(&group));
        group.kill().unwrap();
        while !is_free(&group) {
            assert!(began.elapsed() < Duration::from_secs(20));
        }
        drop(group);
        let again = groups.take().unwrap();
        assert!(!folder.exists());
        assert!(folder.with_file_name("2").exists());
        drop(again);
        drop(groups.take().unwrap());
        assert!(!folder.with_file_name("3").exists());
        groups.remove();
        assert!(!folder.parent().unwrap().exists());
    }

    #[test]
    fn a_group_that_a_daemon_lives_in_is_not_used_again() {
        let groups = CommandGroups::default();
        let Some(group) = groups.take() else { return eprintln!("no control groups can be made here") };
        let mut daemon = start(&group, "exit 0");
        drop(group);
        let other = groups.take().unwrap();
        assert!(other.members().unwrap().is_empty());
        drop(daemon.stdin.take());
        daemon.wait().unwrap();
        drop(other);
        let used: Vec<CommandGroup> = (0..2).filter_map(|_| groups.take()).collect();
        assert_eq!(used.len(), 2);
        assert!(!groups.path().unwrap().join("3").exists());
        drop(used);
        groups.remove();
    }

    #[test]
    fn the_own_group_is_found_in_each_layout() {
        let find = |cgroup: &str, mountinfo: &str| own_folder(cgroup.as_bytes(), mountinfo.as_bytes());
        let unified = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let hybrid = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
        let job = Path::new("/sys/fs/cgroup/slurm/job").to_path_buf();
        assert_eq!(find("0::/slurm/job\n", unified), Some(job.clone()));
        assert_eq!(find("1:cpu:/\n0::/\n", hybrid), Some("/sys/fs/cgroup/unified".into()));
        // A container that shows only its own part, with and without a namespace for it.
        let part = "31 23 0:28 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        assert_eq!(find("0::/docker/1/slurm/job\n", part), Some(job));
        assert_eq!(find("0::/\n", part), None);
        assert_eq!(find("0::/../outside\n", unified), None);
        assert_eq!(find("1:cpu:/\n", hybrid), None);
    }
}
