//! What stands in for the command on the host: it has the two pipes of the command's output there, which it hands on to
//! the container, and is asked to terminate and killed in the command's place.

use core::ffi::CStr;

use crate::kernel::{self, exit};
use crate::link;

const STDOUT_AND_STDERR: [i32; 2] = [1, 2];

/// Be there for as long as the container is. The socket is where the host waits for the pipes, and for a link by which
/// each of the two ends of it learns that the other is gone; the host passes both on to the container.
pub fn stand_in(socket: &CStr) -> ! {
    let Ok(signals) = kernel::signals_as_descriptor() else { exit(125) };
    let Ok(link) = link::connect(socket) else { exit(125) };
    link::send_descriptors(link, &STDOUT_AND_STDERR);
    loop {
        let heard = kernel::wait(signals, link, None);
        if heard.end_of_link {
            exit(0);
        }
        if heard.request.is_some() {
            link::hang_up(link);
        }
    }
}
