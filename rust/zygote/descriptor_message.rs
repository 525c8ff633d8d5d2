//! Messages that carry descriptors from one process to another. Compiled into the zygote and into the first process of
//! containers.

use core::ffi::c_int;

use crate::system_call::{number, system_call};

/// How many descriptors a message can have.
pub const MOST: usize = 5;

const RECEIVE_CLOSE_ON_EXEC: usize = 0x4000_0000;
const NO_SIGNAL: usize = 0x4000;
const SOCKET_LEVEL: c_int = 1;
const RIGHTS: c_int = 1;
const CONTROL_HEADER: usize = 16;

#[repr(C)]
struct Vector {
    base: usize,
    length: usize,
}

/// `struct msghdr`.
#[repr(C)]
struct Message {
    name: usize,
    name_length: usize,
    vectors: usize,
    vector_count: usize,
    control: usize,
    control_length: usize,
    flags: usize,
}

/// `struct cmsghdr` with as many descriptors as there can be.
#[repr(C, align(8))]
struct Control {
    length: usize,
    level: c_int,
    kind: c_int,
    descriptors: [c_int; MOST],
}

/// What came with a message.
pub struct Received {
    /// Of the message, in bytes.
    pub length: Result<usize, c_int>,
    /// Those that did not come are -1.
    pub descriptors: [c_int; MOST],
    pub count: usize,
}

/// # Safety
///
/// There is room for so many bytes.
pub unsafe fn receive(socket: c_int, bytes: *mut u8, length: usize) -> Received {
    let mut control = Control { length: 0, level: 0, kind: 0, descriptors: [-1; MOST] };
    let vector = Vector { base: bytes as usize, length };
    let mut message = to_message(&vector, &mut control, size_of::<Control>());
    let arguments = [socket as usize, &raw mut message as usize, RECEIVE_CLOSE_ON_EXEC];
    // SAFETY: the kernel writes what the message refers to, which lives here, and the caller's bytes.
    unsafe {
        let length = system_call(number::RECVMSG, arguments);
        let control = (&raw const control).read_volatile();
        let count = control.length.saturating_sub(CONTROL_HEADER) / size_of::<c_int>();
        Received { length, descriptors: control.descriptors, count }
    }
}

/// Whoever cannot be told is not there any more.
///
/// # Safety
///
/// There are so many bytes, at least one, and at most `MOST` descriptors.
pub unsafe fn send(socket: c_int, bytes: *const u8, length: usize, descriptors: &[c_int]) {
    let control_length = CONTROL_HEADER + size_of_val(descriptors);
    let mut control = Control { length: control_length, level: SOCKET_LEVEL, kind: RIGHTS, descriptors: [0; MOST] };
    for (place, descriptor) in control.descriptors.iter_mut().zip(descriptors) {
        *place = *descriptor;
    }
    let vector = Vector { base: bytes as usize, length };
    let room = if descriptors.is_empty() { 0 } else { control_length.next_multiple_of(size_of::<usize>()) };
    let message = to_message(&vector, &mut control, room);
    // SAFETY: the message refers to what lives until then.
    let _ = unsafe { system_call(number::SENDMSG, [socket as usize, &raw const message as usize, NO_SIGNAL]) };
}

fn to_message(vector: &Vector, control: &mut Control, control_length: usize) -> Message {
    Message {
        name: 0,
        name_length: 0,
        vectors: &raw const *vector as usize,
        vector_count: 1,
        control: if control_length == 0 { 0 } else { &raw mut *control as usize },
        control_length,
        flags: 0,
    }
}
