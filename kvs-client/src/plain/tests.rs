use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use super::*;
use crate::batcher::tests::batch;

/// A task that counts how often it is woken.
#[derive(Debug, Default)]
struct Task(AtomicUsize);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Task {
    fn woken(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

fn task() -> (Arc<Task>, Waker) {
    let task = Arc::new(Task::default());
    (Arc::clone(&task), Waker::from(task))
}

fn queue() -> Queue {
    Queue(Mutex::new(Filling::new(batch(1, BATCH_OPERATIONS_MAX))))
}

fn get(key: &[u8]) -> Operation<'_> {
    Operation { key, action: Action::Get }
}

fn next() -> Option<Batch> {
    Some(batch(1, BATCH_OPERATIONS_MAX))
}

#[test]
fn what_waits_leaves_together_and_wakes_the_pump_once() {
    let queue = queue();
    let (pump, pump_waker) = task();
    let (_, caller) = task();
    assert!(queue.poll_depart(&mut next(), &Context::from_waker(&pump_waker)).is_pending());
    for index in 0..3 {
        let pushed = queue.poll_push(&get(b"key"), &Context::from_waker(&caller));
        assert!(matches!(pushed, Poll::Ready(Ok((_, at))) if at == index));
    }
    assert_eq!(pump.woken(), 1);
    let departed = queue.poll_depart(&mut next(), &Context::from_waker(&pump_waker));
    let Poll::Ready(Some((batch, _))) = departed else { panic!("a batch waits") };
    assert_eq!(batch.len(), 3);
    // The twin: nothing waits any more.
    assert!(queue.poll_depart(&mut next(), &Context::from_waker(&pump_waker)).is_pending());
}

#[test]
fn callers_without_room_wait_for_the_next_batch() {
    let large = vec![0; 600 << 10];
    let put = Operation { key: b"key", action: Action::Put { value: &large } };
    for (operation, fitting) in [(get(b"key"), BATCH_OPERATIONS_MAX), (put, 2)] {
        let queue = queue();
        let (task, waker) = task();
        let mut cx = Context::from_waker(&waker);
        for _ in 0..fitting {
            assert!(queue.poll_push(&operation, &cx).is_ready());
        }
        assert!(queue.poll_push(&operation, &cx).is_pending(), "there is no room");
        assert_eq!(task.woken(), 0);
        let departed = queue.poll_depart(&mut next(), &cx);
        assert!(matches!(departed, Poll::Ready(Some((batch, _))) if batch.len() == fitting));
        assert_eq!(task.woken(), 1);
        cx = Context::from_waker(&waker);
        assert!(queue.poll_push(&operation, &cx).is_ready());
    }
}

#[test]
fn a_closed_queue_takes_nothing_and_gives_what_it_has() {
    let queue = queue();
    let (_, waker) = task();
    let cx = Context::from_waker(&waker);
    let Poll::Ready(Ok((flight, index))) = queue.poll_push(&get(b"key"), &cx) else {
        panic!("there is room")
    };
    drop(queue.close());
    let refused = queue.poll_push(&get(b"key"), &cx);
    assert!(matches!(refused, Poll::Ready(Err(Error::Closed))));
    assert!(matches!(queue.poll_depart(&mut next(), &cx), Poll::Ready(Some(_))));
    assert!(matches!(queue.poll_depart(&mut next(), &cx), Poll::Ready(None)));
    assert!(flight.poll(index, &cx).is_pending());
    flight.land(None);
    assert_eq!(flight.poll(index, &cx), Poll::Ready(Err(Error::Closed)));
}

#[test]
fn the_task_that_polled_last_is_woken() {
    let queue = queue();
    let ((first, first_waker), (second, second_waker)) = (task(), task());
    let pushed = queue.poll_push(&get(b"key"), &Context::from_waker(&first_waker));
    let Poll::Ready(Ok((flight, index))) = pushed else { panic!("there is room") };
    assert!(flight.poll(index, &Context::from_waker(&second_waker)).is_pending());
    flight.land(None);
    assert_eq!((first.woken(), second.woken()), (0, 1));
}

#[test]
fn replies_that_come_late_are_seldom_looked_for() {
    let mut vigil = Vigil::default();
    let mut looked = 0;
    for _ in 0..1000 {
        if vigil.begins() {
            looked += 1;
            vigil.was_in_vain();
        }
    }
    assert!((9..20).contains(&looked), "{looked} of 1,000");
    // The twin: once they come in time again, all are looked for.
    for _ in 0..1000 {
        if vigil.begins() {
            vigil.was_worth_it();
        }
    }
    for _ in 0..10 {
        assert!(vigil.begins());
        vigil.was_worth_it();
    }
}
