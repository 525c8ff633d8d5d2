//! The zygote: a tiny process of ours that makes the commands in our place.
//!
//! Two things are gained. The kernel counts to a command's peak memory that of the process it was copied from, which is
//! next to nothing here. And the zygote waits for no program to be loaded, so that one on a disk that has gone away is
//! its command's affair alone.
//!
//! The commands are our children all the same (CLONE_PARENT). The zygote is too, so a host that waits for its children
//! waits for it: it ends a moment after the last start. It ends with us, whose end of its socket closes then.

use std::ffi::{CStr, c_char};
use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, Shutdown, SocketFlags, SocketType, recvmsg, sendmsg, shutdown, socketpair,
};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process, pidfd_open, pidfd_send_signal, waitid,
    waitpid,
};
use rustix::thread::futex;

use crate::descriptors::{at_least, open_null};
use crate::fork::{ThreadsFd, between_forks};
use crate::inherited::{Inherited, InheritedInFiles};
use crate::new_process::{Executable, NewProcess};
use crate::open_files_limit;
use crate::program::{Failure, Program};

#[path = "zygote/order.rs"]
mod order;
use order::{Answer, BASE, IMAGE, MEMORY, Order, SOCKET, STACK, Slot, State};

/// Empty for machines that it is not written for.
static EXECUTABLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/zygote"));

/// As many programs can be loading at once before another zygote is made.
const SLOTS: usize = 16;
const SLOT: usize = 256 << 10;
/// For one order that needs more: what execve(2) takes, 6 MiB, and as much again for what else is in a slot.
const LARGE_SLOT: usize = 12 << 20;
/// How long a zygote may take to make a process. It does nothing that could hang: somebody has stopped it.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a killed zygote may take to be gone.
const LAST_MOMENTS: Duration = Duration::from_secs(1);

pub struct Zygote {
    socket: ThreadsFd,
    pidfd: ThreadsFd,
    memory: Arc<Memory>,
    slot_size: usize,
    /// Who has each slot, or has had it.
    users: Vec<Option<Arc<Loading>>>,
    inherited: Inherited,
    inherited_in_files: InheritedInFiles,
}

/// Why a zygote made no process.
pub enum Refusal {
    /// Nor would another.
    Failed(Errno),
    /// It cannot serve this order, but a new one may.
    Exhausted,
}

/// A process that was made.
pub struct Made {
    pub pid: Pid,
    pub pidfd: ThreadsFd,
    pub loading: Arc<Loading>,
    pub in_cgroup: bool,
}

/// A program on its way to be loaded.
pub struct Loading(Mutex<Progress>);

enum Progress {
    /// Its slot tells, and is its own.
    InSlot(Arc<Memory>, usize),
    Over(Option<Failure>),
}

impl Loading {
    /// Why the process did not become its program. To be asked when it has ended.
    pub fn failure(&self) -> Option<Failure> {
        match &*self.lock() {
            Progress::InSlot(memory, offset) => memory.slot(*offset).failure(),
            Progress::Over(failure) => *failure,
        }
    }

    /// Wait until the program is loaded, or will not be; not longer than `patience`.
    pub fn wait(&self, patience: Duration) {
        let (memory, offset) = match &*self.lock() {
            Progress::InSlot(memory, offset) => (Arc::clone(memory), *offset),
            Progress::Over(_) => return,
        };
        let patience = Timespec { tv_sec: 0, tv_nsec: patience.subsec_nanos().into() };
        // The kernel wakes whoever waits here when it clears this (CLONE_CHILD_CLEARTID).
        let _ = futex::wait(&memory.slot(offset).loading, futex::Flags::empty(), 1, Some(&patience));
    }

    /// Let go of the slot if it is not needed any more.
    fn give_up_slot(&self) -> bool {
        let mut progress = self.lock();
        if let Progress::InSlot(memory, offset) = &*progress {
            let slot = memory.slot(*offset);
            if slot.loading.load(Ordering::Acquire) != 0 {
                return false;
            }
            let failure = slot.failure();
            *progress = Progress::Over(failure);
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Zygote {
    /// Make a zygote that can take `process`.
    pub fn new(process: &NewProcess) -> Result<Self, Failure> {
        let (count, slot_size) = if room_for(process) <= SLOT { (SLOTS, SLOT) } else { (1, LARGE_SLOT) };
        if EXECUTABLE.is_empty() {
            return Err(Errno::NOSYS.into());
        }
        let [socket, theirs, memory_fd, image, null] = between_forks(|| -> Result<_, Errno> {
            let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
            let memory = memfd_create(c"tailrace-orders", MemfdFlags::CLOEXEC)?;
            let fds =
                [ours, at_least(theirs, IMAGE + 1)?, at_least(memory, IMAGE + 1)?, open_executable()?, open_null()?];
            let [ours, theirs, memory, image, null] = fds;
            Ok([ours, theirs, memory, at_least(image, IMAGE + 1)?, at_least(null, IMAGE + 1)?].map(ThreadsFd::new))
        })?;
        let memory = Memory::map(&memory_fd, count * slot_size)?;
        let mut descriptors = [null.as_fd(); IMAGE as usize + 1];
        for (number, fd) in [(SOCKET, &theirs), (MEMORY, &memory_fd), (IMAGE, &image)] {
            descriptors[number as usize] = fd.as_fd();
        }
        let zygote = NewProcess {
            program: Executable::Descriptor(IMAGE),
            argv: &[c"tailrace-spawn"],
            envp: &[],
            cwd: None,
            descriptors: &descriptors,
            open_files: None,
        };
        // Before it is made, so that a change meanwhile is seen as one.
        let (inherited, inherited_in_files) = (Inherited::now(), InheritedInFiles::now());
        let (_, pidfd) = zygote.start_with(libc::CLONE_FS)?;
        between_forks(|| drop([theirs, memory_fd, image, null]));
        Ok(Self {
            socket,
            pidfd: ThreadsFd::new(pidfd),
            memory: Arc::new(memory),
            slot_size,
            users: (0..count).map(|_| None).collect(),
            inherited,
            inherited_in_files,
        })
    }

    /// Whether what it makes would inherit what it would from us.
    pub fn is_current(&mut self) -> bool {
        self.inherited == Inherited::now() && self.inherited_in_files.is_current()
    }

    /// Make a process, whose descriptors 1 and 2 become `pipes`; the others of `process` count for nothing.
    pub fn make(
        &mut self,
        process: &NewProcess,
        pipes: [BorrowedFd; 2],
        cgroup: Option<BorrowedFd>,
    ) -> Result<Made, Refusal> {
        let free = self.users.iter().position(|user| user.as_ref().is_none_or(|user| user.give_up_slot()));
        let index = free.filter(|_| room_for(process) <= self.slot_size).ok_or(Refusal::Exhausted)?;
        let offset = index * self.slot_size;
        // SAFETY: nobody has this slot.
        unsafe { self.write(offset, process) };
        let progress = Progress::InSlot(Arc::clone(&self.memory), offset);
        let loading = Arc::new(Loading(Mutex::new(progress)));
        self.users[index] = Some(Arc::clone(&loading));
        let (pid, pidfd) = match self.send(offset, pipes, cgroup).and_then(|()| self.receive()) {
            Ok(made) => made,
            // It is gone, and so is whatever it made and had not yet said so: the socket would still be open there.
            Err(Refusal::Exhausted) => {
                let pid = Pid::from_raw(self.memory.slot(offset).pid.load(Ordering::Acquire));
                (pid.ok_or(Refusal::Exhausted)?, None)
            }
            Err(refusal) => {
                self.users[index] = None;
                return Err(refusal);
            }
        };
        let pidfd = pidfd.map_or_else(|| take_over(pid), Ok).map_err(Refusal::Failed)?;
        Ok(Made { pid, pidfd, loading, in_cgroup: cgroup.is_some() })
    }

    /// # Safety
    ///
    /// Nobody else uses this slot, and what is to be written fits.
    unsafe fn write(&self, offset: usize, process: &NewProcess) {
        // SAFETY: the caller's promise; `room_for` counts what is written here.
        unsafe {
            let start = self.memory.start.as_ptr().add(offset);
            let mut writer = Writer { start, at: size_of::<Slot>(), address: BASE + offset };
            let files: &[&CStr] = if let Executable::Files(files) = process.program { files } else { &[] };
            let program = Program {
                files: writer.list(files),
                image: -1,
                argv: writer.list(process.argv),
                envp: writer.list(process.envp),
                cwd: process.cwd.map_or(std::ptr::null(), |cwd| writer.string(cwd)),
                descriptors: writer.pointer(std::mem::offset_of!(Slot, descriptors)),
                descriptor_count: 3,
                open_files: match process.open_files {
                    Some(_) => writer.pointer(std::mem::offset_of!(Slot, open_files)),
                    None => std::ptr::null(),
                },
                made_by_host: false,
            };
            start.cast::<Slot>().write(Slot {
                state: State { loading: AtomicU32::new(1), pid: AtomicI32::new(0), failure: AtomicU32::new(0) },
                open_files: process.open_files.unwrap_or_default(),
                descriptors: [0; 3],
                program,
            });
        }
    }

    fn send(&self, offset: usize, pipes: [BorrowedFd; 2], cgroup: Option<BorrowedFd>) -> Result<(), Refusal> {
        let descriptors: Vec<BorrowedFd> = pipes.into_iter().chain(cgroup).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        let order = Order { offset, size: self.slot_size };
        let bytes = [order.offset.to_ne_bytes(), order.size.to_ne_bytes()].concat();
        // It is waiting, so there is room. Without it there is nobody to send to.
        sendmsg(&self.socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL).map_err(
            |errno| match errno {
                Errno::TOOMANYREFS | Errno::NOMEM | Errno::NOBUFS => Refusal::Failed(errno),
                _ => Refusal::Exhausted,
            },
        )?;
        Ok(())
    }

    /// The number of the new process, and its pidfd if we could have one more descriptor.
    fn receive(&self) -> Result<(Pid, Option<ThreadsFd>), Refusal> {
        if !is_ready(&self.socket, PATIENCE) {
            // Then it has made the process, or never will. If it cannot die now, nobody knows which.
            let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
            if !is_ready(&self.socket, PATIENCE) {
                return Err(Refusal::Failed(Errno::TIMEDOUT));
            }
        }
        between_forks(|| {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut bytes = [0; size_of::<Answer>()];
            let flags = RecvFlags::CMSG_CLOEXEC;
            let received = recvmsg(&self.socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags);
            if received.map_or(0, |received| received.bytes) < bytes.len() {
                return Err(Refusal::Exhausted);
            }
            let pidfd = control.drain().find_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
                _ => None,
            });
            let [pid, errno] =
                [0, 4].map(|at| i32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]));
            let Some(pid) = Pid::from_raw(pid) else {
                return Err(Refusal::Failed(Errno::from_raw_os_error(errno)));
            };
            Ok((pid, pidfd.map(ThreadsFd::new)))
        })
    }
}

impl State {
    fn failure(&self) -> Option<Failure> {
        Failure::from_bits(self.failure.load(Ordering::Acquire))
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        // A command may run for days; the memory is for those alone that are still loading.
        self.users.iter().flatten().for_each(|user| _ = user.give_up_slot());
        // It may be another user's by now, whom we cannot signal.
        let _ = shutdown(&self.socket, Shutdown::Both);
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        // Longer than that only if it is kept from dying, as by a frozen cgroup: then it stays a zombie of ours.
        is_ready(&self.pidfd, LAST_MOMENTS);
        let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    }
}

/// A descriptor for a process of ours. If none can be had the process is killed, since it could not be ended later.
fn take_over(pid: Pid) -> Result<ThreadsFd, Errno> {
    let open = || between_forks(|| pidfd_open(pid, PidfdFlags::empty()).map(ThreadsFd::new));
    let pidfd = match open() {
        Err(Errno::MFILE) if open_files_limit::raise() => open(),
        pidfd => pidfd,
    };
    pidfd.inspect_err(|_| {
        let _ = kill_process(pid, Signal::KILL);
        let began = Instant::now();
        while matches!(waitpid(Some(pid), WaitOptions::NOHANG), Ok(None)) && began.elapsed() < LAST_MOMENTS {
            std::thread::sleep(Duration::from_millis(1));
        }
    })
}

fn is_ready(fd: &ThreadsFd, patience: Duration) -> bool {
    let patience = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: 0 };
    // Nothing interrupts it: our threads get no signals.
    poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&patience)).is_ok_and(|ready| ready > 0)
}

fn open_executable() -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC;
    let image = match memfd_create(c"tailrace-spawn", flags | MemfdFlags::EXEC) {
        // Older than Linux 6.3.
        Err(Errno::INVAL) => memfd_create(c"tailrace-spawn", flags)?,
        image => image?,
    };
    let mut image = File::from(image);
    image.write_all(EXECUTABLE).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(image.into())
}

/// How large a slot it takes.
fn room_for(process: &NewProcess) -> usize {
    let list = |strings: &[&CStr]| {
        let bytes: usize = strings.iter().map(|string| string.count_bytes() + 1 + size_of::<*const c_char>()).sum();
        bytes + 2 * size_of::<*const c_char>()
    };
    let files = if let Executable::Files(files) = process.program { list(files) } else { list(&[]) };
    let cwd = process.cwd.map_or(0, |cwd| cwd.count_bytes() + 1);
    size_of::<Slot>() + files + list(process.argv) + list(process.envp) + cwd + STACK
}

/// Whether the kernel might take so many arguments: otherwise it need not be asked.
pub fn fits(process: &NewProcess) -> bool {
    room_for(process) <= LARGE_SLOT
}

/// Writes what is to be read at another address.
struct Writer {
    start: *mut u8,
    at: usize,
    address: usize,
}

impl Writer {
    fn pointer<T>(&self, at: usize) -> *const T {
        std::ptr::without_provenance(self.address + at)
    }

    /// # Safety
    ///
    /// There is room.
    unsafe fn string(&mut self, string: &CStr) -> *const c_char {
        let bytes = string.to_bytes_with_nul();
        let pointer = self.pointer(self.at);
        // SAFETY: the caller's promise.
        unsafe { self.start.add(self.at).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        self.at += bytes.len();
        pointer
    }

    /// # Safety
    ///
    /// There is room.
    unsafe fn list(&mut self, strings: &[&CStr]) -> *const *const c_char {
        let list = self.at.next_multiple_of(align_of::<*const c_char>());
        let pointers = list..list + (strings.len() + 1) * size_of::<*const c_char>();
        self.at = pointers.end;
        let nothing = std::iter::once(None);
        for (at, string) in pointers.step_by(size_of::<*const c_char>()).zip(strings.iter().map(Some).chain(nothing)) {
            // SAFETY: the caller's promise; it is aligned.
            unsafe {
                let pointer = string.map_or(std::ptr::null(), |string| self.string(string));
                self.start.add(at).cast::<*const c_char>().write(pointer);
            }
        }
        self.pointer(list)
    }
}

/// What we share with a zygote.
struct Memory {
    start: NonNull<u8>,
    size: usize,
}

// SAFETY: it is used by way of atomics, but for slots that nobody has.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    fn map(file: &ThreadsFd, size: usize) -> Result<Self, Errno> {
        ftruncate(file, size as u64)?;
        let (prot, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
        let start = unsafe { mmap(std::ptr::null_mut(), size, prot, flags, file, 0)? };
        Ok(Self { start: NonNull::new(start.cast()).ok_or(Errno::NOMEM)?, size })
    }

    /// Of the slot at this offset, which has been written.
    fn slot(&self, offset: usize) -> &State {
        // SAFETY: it lies inside and is aligned, and is at the beginning of its slot.
        unsafe { self.start.add(offset).cast::<State>().as_ref() }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nobody can refer to it any more.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.size) };
    }
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn it_was_built_for_this_machine() {
        assert!(super::EXECUTABLE.starts_with(b"\x7fELF"));
    }
}
