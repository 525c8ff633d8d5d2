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
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{Access, AtFlags, CWD, Dir, FileType, Mode, OFlags, accessat, mkdirat, openat, unlinkat};
use rustix::io::{Errno, read, write};

use crate::fork::ThreadsFd;

/// How often to see whether somebody has moved this process.
const PLACE_CHECK: Duration = Duration::from_secs(1);

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
    folder: ThreadsFd,
    /// What /proc/self/cgroup said when it was made.
    host: Vec<u8>,
    checked: Instant,
    count: u64,
    /// Those whose commands are over. Some may still hold a daemon.
    used: VecDeque<Arc<ThreadsFd>>,
}

/// The group of one command.
pub struct CommandGroup {
    folder: Arc<ThreadsFd>,
    place: Arc<Mutex<Place>>,
}

impl CommandGroups {
    /// An empty group; None where none can be made.
    pub fn take(&self) -> Option<CommandGroup> {
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        place.settle();
        let Place::Below(parent) = &mut *place else { return None };
        let folder = parent.take()?;
        Some(CommandGroup { folder, place: Arc::clone(&self.0) })
    }

    /// The folder that holds them, made if there can be one.
    pub fn path(&self) -> Option<PathBuf> {
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
        let folder = ThreadsFd::new(folder);
        Some(Self { path, folder, host, checked: Instant::now(), count: 0, used: VecDeque::new() })
    }

    fn host_was_moved(&mut self) -> bool {
        if self.checked.elapsed() < PLACE_CHECK {
            return false;
        }
        self.checked = Instant::now();
        fs::read("/proc/self/cgroup").is_ok_and(|host| host != self.host)
    }

    fn take(&mut self) -> Option<Arc<ThreadsFd>> {
        // One that holds a daemon goes to the end; the next is probably empty.
        for _ in 0..self.used.len().min(2) {
            let folder = self.used.pop_front()?;
            if !is_populated(&*folder).unwrap_or(true) {
                remove_below(&*folder);
                return Some(folder);
            }
            self.used.push_back(folder);
        }
        self.count += 1;
        let name = self.count.to_string();
        mkdirat(&self.folder, &name, Mode::from(0o755)).ok()?;
        Some(Arc::new(ThreadsFd::new(open_folder(&self.folder, &name).ok()?)))
    }
}

impl CommandGroup {
    /// Kill all who are in it or below, and who are just being forked.
    pub fn kill(&self) -> io::Result<()> {
        let file = openat(&self.folder, "cgroup.kill", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        write(&file, b"1")?;
        Ok(())
    }

    /// Who is in it or below, without zombies; a process that is just coming or going may be missing.
    pub fn members(&self) -> io::Result<Vec<i32>> {
        let mut members = Vec::new();
        add_members(self.folder.as_fd(), &mut members)?;
        // 0: of a process namespace that this one does not see.
        members.retain(|pid| *pid > 0);
        members.sort_unstable();
        Ok(members)
    }
}

/// For CLONE_INTO_CGROUP (clone(2)).
impl AsFd for CommandGroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}

impl Drop for CommandGroup {
    fn drop(&mut self) {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Place::Below(parent) = &mut *place {
            parent.used.push_back(Arc::clone(&self.folder));
        }
    }
}

/// The folder of this process's group, by what /proc/self/cgroup and /proc/self/mountinfo say.
fn own_folder(cgroup: &[u8], mountinfo: &[u8]) -> Option<PathBuf> {
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

fn read_file(folder: impl AsFd, name: &str) -> io::Result<Vec<u8>> {
    let file = openat(folder, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut content = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match read(&file, &mut buffer)? {
            0 => return Ok(content),
            count => content.extend_from_slice(&buffer[..count]),
        }
    }
}

fn is_populated(folder: impl AsFd) -> io::Result<bool> {
    Ok(read_file(folder, "cgroup.events")?.starts_with(b"populated 1"))
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

/// Remove the groups that a command made in its own and left empty.
fn remove_below(folder: impl AsFd) {
    for name in groups_below(&folder).unwrap_or_default() {
        if let Ok(below) = open_folder(&folder, &name) {
            remove_below(below);
        }
        let _ = unlinkat(&folder, &name, AtFlags::REMOVEDIR);
    }
}
