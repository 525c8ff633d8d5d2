//! Connections by the socket in the folder that the host shares with the container.

use core::ffi::{CStr, c_int};

use crate::descriptor_message::{MOST, receive, send};
use crate::system_call::{number, system_call};

const UNIX: usize = 1;
const STREAM: usize = 1;
const CLOSE_ON_EXEC: usize = 0o2_000_000;
const WRITING: usize = 1;
const NAME_TOO_LONG: c_int = 36;

/// A `struct sockaddr_un`.
#[repr(C)]
struct Address {
    family: u16,
    path: [u8; 108],
}

pub fn connect(path: &CStr) -> Result<c_int, c_int> {
    let mut address = Address { family: UNIX as u16, path: [0; 108] };
    let path = path.to_bytes();
    if path.len() >= address.path.len() {
        return Err(NAME_TOO_LONG);
    }
    for (place, byte) in address.path.iter_mut().zip(path) {
        *place = *byte;
    }
    // SAFETY: the address is read alone.
    unsafe {
        let socket = system_call(number::SOCKET, [UNIX, STREAM | CLOSE_ON_EXEC, 0])?;
        system_call(number::CONNECT, [socket, &raw const address as usize, size_of::<Address>()])?;
        Ok(socket as c_int)
    }
}

/// Wait for the descriptors that the other end sends. None if it is gone before, or has sent fewer.
pub fn receive_descriptors(socket: c_int) -> Option<[c_int; MOST]> {
    let mut byte = 0_u8;
    // SAFETY: there is room for the byte.
    let received = unsafe { receive(socket, &raw mut byte, 1) };
    (received.length == Ok(1) && received.count == MOST).then_some(received.descriptors)
}

pub fn send_descriptors(socket: c_int, descriptors: &[c_int]) {
    let byte = 0_u8;
    // SAFETY: there is the byte.
    unsafe { send(socket, &raw const byte, 1, descriptors) };
}

/// Have the other end come to the end of what it reads, whoever else may have this one.
pub fn hang_up(socket: c_int) {
    // SAFETY: it touches no memory.
    let _ = unsafe { system_call(number::SHUTDOWN, [socket as usize, WRITING]) };
}
