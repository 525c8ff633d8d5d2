//! Each test runs in every order in which its threads can meet. Waiting for what never comes is a deadlock, which the
//! checker reports, and so are a read and a write of the same byte that nothing orders.

use std::cell::RefCell;
use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use loom::sync::{Arc, mpsc};
use loom::thread;

use crate::delivery::{Delivery, Listener, Round};
use crate::handle::{Handle, Outcome};
use crate::loan::Loan;
use crate::mailbox::Mailbox;
use crate::mapping::Mapping;
use crate::output_queue::{Flow, HIGH};
use crate::segment::{SegmentWriter, Slice};

/// Try all orders in which threads are interrupted, where they could go on, at most `preemptions` times.
fn check(name: &str, preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.max_branches = 10_000;
    let executions = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&executions);
    let started = Instant::now();
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    println!("{name}: {} executions in {:.1?}", executions.load(Ordering::Relaxed), started.elapsed());
}

fn write(writer: &mut SegmentWriter, bytes: &[u8]) -> Slice {
    let written = writer.write_with(|memory| {
        assert!(bytes.len() <= memory.len());
        memory.iter_mut().zip(bytes).for_each(|(to, from)| {
            to.write(*from);
        });
        Ok(bytes.len())
    });
    written.unwrap().unwrap()
}

#[test]
fn nothing_posted_is_lost_or_left_unannounced() {
    check("mailbox", 3, || {
        let mailbox = Arc::new(Mailbox::new().unwrap());
        for items in [&[1, 2][..], &[3]] {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || items.iter().for_each(|item| mailbox.post(*item)));
        }
        let mut taken = Vec::new();
        while taken.len() < 3 {
            mailbox.wait();
            taken.extend(mailbox.take());
        }
        assert_eq!(HashSet::from([1, 2, 3]), taken.iter().copied().collect());
        let place = |item| taken.iter().position(|other| *other == item);
        assert!(place(1) < place(2));
    });
}

#[test]
fn what_a_slice_sees_is_not_written_until_it_is_dropped() {
    check("segment", 3, || {
        let (sender, slices) = mpsc::channel::<Slice>();
        let reader = thread::spawn(move || {
            let mut held: Option<Slice> = None;
            for number in 0..5 {
                let slice = slices.recv().unwrap();
                assert_eq!(*slice, [number]);
                if let Some(held) = &held {
                    let mut joined = held.clone();
                    let adjacent = joined.try_append(&slice);
                    assert!(if adjacent { *joined == [number - 1, number] } else { *joined == **held });
                }
                if number % 2 == 0 {
                    held = Some(slice);
                }
            }
        });
        let mut writer = SegmentWriter::new(false);
        for number in 0..5 {
            sender.send(write(&mut writer, &[number])).unwrap();
        }
        drop(writer);
        reader.join().unwrap();
    });
}

#[test]
fn memory_goes_to_another_stream_only_when_nobody_sees_it() {
    check("pool", 3, || {
        let stream = |number| {
            let (sender, slices) = mpsc::channel::<Slice>();
            let reader = thread::spawn(move || assert_eq!(*slices.recv().unwrap(), [number; 2]));
            let mut writer = SegmentWriter::new(false);
            sender.send(write(&mut writer, &[number; 2])).unwrap();
            reader
        };
        // The first stream is over for its writer when the second starts; its reader may not have looked yet.
        let first = stream(1);
        let second = stream(2);
        first.join().unwrap();
        second.join().unwrap();
    });
}

#[test]
fn memory_that_was_lent_is_given_back_only_when_nobody_sees_it() {
    check("loan", 3, || {
        let loan = Arc::new(Loan::default());
        loan.ask(4);
        let (sender, slices) = mpsc::channel::<Slice>();
        let consumer = thread::spawn({
            let loan = Arc::clone(&loan);
            move || {
                let size = loan.wanted().unwrap();
                loan.lend(Mapping::lent(size, Box::new(7)).unwrap());
                assert_eq!(*slices.recv().unwrap(), [2]);
                assert_eq!(loan.wanted(), None);
            }
        });
        let mut writer = SegmentWriter::new(true);
        let mut kept = write(&mut writer, &[1]);
        let lent = loan.take();
        let was_lent = lent.is_some();
        if let Some(lent) = lent {
            kept = writer.move_to(lent, |memory| {
                memory[0].write(1);
                1
            });
        }
        let next = write(&mut writer, &[2]);
        assert!(kept.try_append(&next));
        assert!(kept.take_lent().is_none());
        sender.send(next).unwrap();
        drop(writer);
        let early = kept.take_lent();
        if early.is_none() {
            assert_eq!(*kept, [1, 2]);
        }
        consumer.join().unwrap();
        let given_back = early.or_else(|| kept.take_lent());
        assert_eq!(given_back.is_some(), was_lent);
        assert!(given_back.is_none_or(|(owner, count)| owner.is::<i32>() && count == 2));
    });
}

enum Message {
    Resume,
    Stop,
    /// So much has been heard.
    Heard(usize),
}

/// The part of the I/O thread for one stream of one command, as `RunningCommands::was_read` and what follows from it.
struct Reader {
    handle: Arc<Handle>,
    messages: Arc<Mailbox<Message>>,
    paused: bool,
    stopped: bool,
    heard: usize,
}

impl Reader {
    /// `patient`: the end does not come until everything has been heard, so that its news cannot make up for lost ones.
    fn run(mut self, pieces: &[&[u8]], patient: bool) {
        let mut writer = SegmentWriter::new(false);
        for piece in pieces {
            self.take_messages();
            self.wait_while(|reader| reader.paused);
            let (flow, unread) = self.handle.push(0, write(&mut writer, piece));
            assert!(unread < HIGH + piece.len());
            assert!(!self.stopped || unread == 0);
            if flow == Flow::Pause {
                self.handle.announce();
                self.paused = true;
            } else if unread > 0 {
                self.handle.announce();
            }
        }
        let count = pieces.concat().len();
        self.wait_while(|reader| patient && reader.heard < count);
        self.handle.end(0);
        self.wait_while(|reader| patient && reader.heard <= count);
        self.handle.complete(Outcome::Cancelled);
    }

    fn wait_while(&mut self, condition: impl Fn(&Self) -> bool) {
        while condition(self) {
            self.messages.wait();
            self.take_messages();
        }
    }

    fn take_messages(&mut self) {
        for message in self.messages.take() {
            match message {
                Message::Resume => self.paused = false,
                Message::Stop => (self.paused, self.stopped) = (false, true),
                Message::Heard(count) => self.heard = count,
            }
        }
    }
}

/// A command and its consumer's ends.
struct Running {
    handle: Arc<Handle>,
    news: Arc<Mailbox<u64>>,
    messages: Arc<Mailbox<Message>>,
    patient: bool,
    reader: thread::JoinHandle<()>,
}

fn run(pieces: &'static [&'static [u8]], patient: bool) -> Running {
    let news = Arc::new(Mailbox::new().unwrap());
    let messages = Arc::new(Mailbox::new().unwrap());
    let handle = Arc::new(Handle::new(7, Arc::clone(&news), [true, false]));
    let reader = Reader {
        handle: Arc::clone(&handle),
        messages: Arc::clone(&messages),
        paused: false,
        stopped: false,
        heard: 0,
    };
    let reader = thread::spawn(move || reader.run(pieces, patient));
    Running { handle, news, messages, patient, reader }
}

/// Hears everything, and can be interrupted after each piece.
struct Ear {
    interrupted: bool,
}

impl Listener<RefCell<Vec<u8>>> for Ear {
    type Awaitable = Infallible;
    type Error = Infallible;

    fn deliver(
        &mut self,
        heard: &RefCell<Vec<u8>>,
        mut next_slice: impl FnMut() -> Option<Slice>,
    ) -> Result<Round<Infallible>, Infallible> {
        while let Some(slice) = next_slice() {
            heard.borrow_mut().extend_from_slice(&slice);
            if self.interrupted {
                return Ok(Round::Interrupted);
            }
        }
        Ok(Round::Empty)
    }

    fn finish(&mut self, heard: &RefCell<Vec<u8>>) -> Result<Option<Infallible>, Infallible> {
        heard.borrow_mut().push(b'.');
        Ok(None)
    }
}

impl Running {
    /// As the Python side does for each command.
    fn deliver(&self, interrupted: bool) -> Vec<u8> {
        let heard = RefCell::default();
        let mut delivery = Delivery::new([Some(Ear { interrupted }), None]);
        loop {
            let Ok(None) = delivery.deliver(&self.handle, &heard, |_| self.messages.post(Message::Resume));
            if self.patient {
                self.messages.post(Message::Heard(heard.borrow().len()));
            }
            if delivery.finished {
                return heard.into_inner();
            }
            if !delivery.backlog {
                self.news.wait();
                assert!(self.news.take().iter().all(|id| *id == 7));
            }
        }
    }
}

#[test]
fn everything_is_heard_though_nothing_more_comes() {
    check("delivery without an end", 3, || {
        let running = run(&[b"a", b"b"], true);
        assert_eq!(running.deliver(false), b"ab.");
        running.reader.join().unwrap();
    });
}

#[test]
fn everything_is_heard_before_the_end() {
    for interrupted in [false, true] {
        check("delivery", 3, move || {
            let running = run(&[b"a", b"b"], false);
            assert_eq!(running.deliver(interrupted), b"ab.");
            running.reader.join().unwrap();
        });
    }
}

#[test]
fn reading_goes_on_when_a_full_queue_has_room_again() {
    for interrupted in [false, true] {
        check("pause and resume", 3, move || {
            let running = run(&[b"ab", b"cd", b"ef", b"gh"], false);
            assert_eq!(running.deliver(interrupted), b"abcdefgh.");
            running.reader.join().unwrap();
        });
    }
}

#[test]
fn a_command_that_is_stopped_is_read_to_its_end_and_keeps_nothing() {
    check("stop", 3, || {
        let running = run(&[b"ab", b"cd", b"ef"], false);
        let _ = running.handle.queue(0).unwrap().pop();
        running.handle.stop();
        running.messages.post(Message::Stop);
        while running.handle.outcome().is_none() {
            running.news.wait();
            running.news.take();
        }
        assert_eq!(running.handle.queue(0).unwrap().unread(), 0);
        running.reader.join().unwrap();
    });
}
